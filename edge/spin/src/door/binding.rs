//! Spin's key-value store. The SDK has no `increment`, so that comes from WASI's draft, which Spin has as well.

use sealedge_core::config::Keystore;
use spin_sdk::key_value::{Error, Store};

use crate::keyvalue::{KeyValue, Trouble, number};

/// The label of the store, which `spin.toml` lists.
const LABEL: &str = "default";

/// How long an instance waits for others in all, and between two looks, in nanoseconds and times.
const PAUSE: u64 = 20_000_000;
const PAUSES: u32 = 25;

/// The store, as one instance has it.
#[derive(Clone, Copy)]
pub struct SpinStore {
    /// Whether its own numbers are to be used.
    #[cfg(feature = "atomics")]
    has_numbers: bool,
}

impl SpinStore {
    /// As the configuration wants it.
    #[cfg(feature = "atomics")]
    pub fn new(keystore: &Keystore) -> Self {
        let has_numbers = !matches!(keystore, Keystore::SpinKeyValue { atomics: false });
        Self { has_numbers }
    }

    /// Whatever the configuration wants: this was built without.
    #[cfg(not(feature = "atomics"))]
    pub fn new(_: &Keystore) -> Self {
        Self {}
    }

    fn with<T>(work: impl FnOnce(&Store) -> Result<T, Error>) -> Result<T, Trouble> {
        thread_local! {
            static STORE: std::cell::OnceCell<Store> = const { std::cell::OnceCell::new() };
        }
        STORE.with(|kept| {
            let store = match kept.get() {
                Some(store) => store,
                None => {
                    let opened = Store::open(LABEL).map_err(trouble)?;
                    kept.get_or_init(|| opened)
                }
            };
            work(store).map_err(trouble)
        })
    }
}

impl KeyValue for SpinStore {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Trouble> {
        Self::with(|store| store.get(key))
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Trouble> {
        Self::with(|store| store.set(key, value))
    }

    fn delete(&self, key: &str) -> Result<(), Trouble> {
        Self::with(|store| store.delete(key))
    }

    #[cfg(feature = "atomics")]
    fn delete_all(&self, keys: &[String]) -> Result<(), Trouble> {
        wasi_keyvalue::delete_all(LABEL, keys)
    }

    fn exists(&self, key: &str) -> Result<bool, Trouble> {
        Self::with(|store| store.exists(key))
    }

    fn keys(&self) -> Result<Vec<String>, Trouble> {
        Self::with(Store::get_keys)
    }

    fn increment(&self, key: &str, by: i64) -> Result<i64, Trouble> {
        #[cfg(feature = "atomics")]
        if self.has_numbers {
            return wasi_keyvalue::increment(LABEL, key, by);
        }
        // Two at the same moment have the same sum: that is what the configuration puts up with.
        let before = self.get(key)?;
        let is_text = before
            .as_ref()
            .is_some_and(|it| it.len() != size_of::<i64>());
        let number = before.and_then(|value| number(&value));
        let sum = number.unwrap_or_default().saturating_add(by);
        // In the form in which it was. A new one is as SQLite has it, which would be broken for good by another.
        match is_text {
            true => self.set(key, sum.to_string().as_bytes())?,
            false => self.set(key, &sum.to_le_bytes())?,
        }
        Ok(sum)
    }

    fn pause(&self, times: u32) -> bool {
        let is_of_use = times < PAUSES;
        if is_of_use {
            wasi::clocks::monotonic_clock::subscribe_duration(PAUSE).block();
        }
        is_of_use
    }
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::AccessDenied | Error::NoSuchStore => Trouble::Refused(format!(
            "the application has no key-value store `{LABEL}`: list it in `key_value_stores` of spin.toml"
        )),
        Error::StoreTableFull => Trouble::Away("too many stores are open".to_owned()),
        Error::Other(why) => Trouble::Away(why),
    }
}

/// What the SDK lacks.
#[cfg(feature = "atomics")]
mod wasi_keyvalue {
    use super::Trouble;
    use bindings::wasi::keyvalue::store::{self, Error};
    use bindings::wasi::keyvalue::{atomics, batch};

    #[allow(clippy::all, missing_docs, reason = "generated")]
    mod bindings {
        wit_bindgen::generate!({
            path: "../../wit/spin",
            world: "atomics",
            generate_all,
        });
    }

    /// SQLite takes as long for all as for one.
    pub fn delete_all(label: &str, keys: &[String]) -> Result<(), Trouble> {
        let bucket = store::open(label).map_err(trouble)?;
        batch::delete_many(&bucket, keys).map_err(trouble)
    }

    pub fn increment(label: &str, key: &str, by: i64) -> Result<i64, Trouble> {
        let bucket = store::open(label).map_err(trouble)?;
        atomics::increment(&bucket, key, by).map_err(|error| match error {
            Error::Other(why) => Trouble::Refused(format!(
                "the key-value store has no atomic `increment`, or it fails ({why}); if it has none, build the \
                 component with `--no-default-features`, and where keys are in this store configure \
                 `keystore.spin.keyvalue.atomics: off`: then creates and deletes that race are not exact"
            )),
            other => trouble(other),
        })
    }

    fn trouble(error: Error) -> Trouble {
        match error {
            Error::NoSuchStore | Error::AccessDenied => {
                Trouble::Refused("the application may not use its key-value store".to_owned())
            }
            Error::Other(why) => Trouble::Away(why),
        }
    }
}
