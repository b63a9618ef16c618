//! A store that fails for names that ask for it. For tests of the host alone (feature `faults`).

use std::sync::Once;
use std::time::Duration;

use sealedge_core::name::Name;
use zeroize::Zeroizing;

use super::{KeyStore, MemStore, StoreError};

/// A memory store in which a key named `hang-SECONDS-...` is read at once, but handed out so much
/// later; standard error says when such a read begins and ends. Deleting one named `linger-...` takes
/// a second more after the key is gone. With one named `leak-...` a leak begins.
pub struct Faulty(MemStore);

impl Faulty {
    /// A faulty store around a sound one.
    pub fn new(store: MemStore) -> Self {
        Self(store)
    }
}

static LEAK: Once = Once::new();

/// Loses memory and an open file again and again.
fn leak() {
    loop {
        std::mem::forget((vec![1_u8; 1 << 19], std::fs::File::open("/dev/null")));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// How long a key's name says that its read hangs.
fn hang(name: &Name) -> Option<Duration> {
    let (seconds, _) = name.as_str().strip_prefix("hang-")?.split_once('-')?;
    seconds.parse().ok().map(Duration::from_secs)
}

impl KeyStore for Faulty {
    fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        if name.as_str().starts_with("leak-") {
            LEAK.call_once(|| drop(std::thread::spawn(leak)));
        }
        self.0.create(name, value)
    }

    fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let value = self.0.get(name)?;
        if let Some(time) = hang(name) {
            eprintln!("the read of {name} begins");
            std::thread::sleep(time);
            eprintln!("the read of {name} ends");
        }
        Ok(value)
    }

    fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let deleted = self.0.delete(name);
        if name.as_str().starts_with("linger-") {
            std::thread::sleep(Duration::from_secs(1));
        }
        deleted
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.0.list(prefix, after, limit)
    }

    fn status(&self) -> Result<(), StoreError> {
        self.0.status()
    }
}
