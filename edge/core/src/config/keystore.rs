//! The section `keystore`: every store that KES knows, and those that are built here.

use super::known::Shape::{self, Group, Unread, Value};
use super::known::{Known, check, find, names};
use super::walk::{At, Fields, listed};
use super::{Keystore, Supported};

mod vault;

/// A name in the section: a store, or a vendor with stores.
enum Entry {
    Store(Known),
    Vendor(&'static [(&'static str, Entry)]),
}

use Entry::{Store, Vendor};

const TLS_CA: Shape = Group(&[("ca", Value)]);

const STORES: &[(&str, Entry)] = &[
    ("mem", Store(&[])),
    ("fs", Store(&[("path", Value)])),
    ("vault", Store(vault::FIELDS)),
    ("cloudflare", Vendor(&[("durableobjects", Store(&[]))])),
    (
        "spin",
        Vendor(&[("keyvalue", Store(&[("atomics", Value)]))]),
    ),
    (
        "fortanix",
        Vendor(&[(
            "sdkms",
            Store(&[
                ("endpoint", Value),
                ("group_id", Value),
                ("credentials", Group(&[("key", Value)])),
                ("tls", TLS_CA),
            ]),
        )]),
    ),
    (
        "gemalto",
        Vendor(&[(
            "keysecure",
            Store(&[
                ("endpoint", Value),
                (
                    "credentials",
                    Group(&[("token", Value), ("domain", Value), ("retry", Unread)]),
                ),
                ("retry", Unread),
                ("tls", TLS_CA),
            ]),
        )]),
    ),
    (
        "gcp",
        Vendor(&[(
            "secretmanager",
            Store(&[
                ("project_id", Value),
                ("endpoint", Value),
                ("scopes", Value),
                (
                    "credentials",
                    Group(&[
                        ("client_email", Value),
                        ("client_id", Value),
                        ("private_key_id", Value),
                        ("private_key", Value),
                    ]),
                ),
            ]),
        )]),
    ),
    (
        "aws",
        Vendor(&[(
            "secretsmanager",
            Store(&[
                ("endpoint", Value),
                ("region", Value),
                ("kmskey", Value),
                (
                    "credentials",
                    Group(&[("accesskey", Value), ("secretkey", Value), ("token", Value)]),
                ),
            ]),
        )]),
    ),
    (
        "azure",
        Vendor(&[(
            "keyvault",
            Store(&[
                ("endpoint", Value),
                (
                    "credentials",
                    Group(&[
                        ("tenant_id", Value),
                        ("client_id", Value),
                        ("client_secret", Value),
                    ]),
                ),
                ("managed_identity", Group(&[("client_id", Value)])),
            ]),
        )]),
    ),
    (
        "entrust",
        Vendor(&[(
            "keycontrol",
            Store(&[
                ("endpoint", Value),
                ("vault_id", Value),
                ("box_id", Value),
                (
                    "credentials",
                    Group(&[("username", Value), ("password", Value)]),
                ),
                ("tls", TLS_CA),
            ]),
        )]),
    ),
];

/// The one key store; `None` is noted.
pub(super) fn keystore(
    root: &At<'_>,
    section: Option<&At<'_>>,
    supported: &Supported<'_>,
) -> Option<Keystore> {
    let none = format!(
        "no keystore specified; name one of {}",
        listed(supported.keystores)
    );
    let Some(section) = section else {
        root.missing("keystore", none);
        return None;
    };
    let mut choice = Choice {
        supported,
        first: None,
        keystore: None,
    };
    choice.visit(section, STORES);
    if choice.first.is_none() {
        section.error(none);
    }
    choice.keystore
}

/// Those that some platform has.
const BUILT: [&str; 5] = [
    "mem",
    "fs",
    "vault",
    "cloudflare.durableobjects",
    "spin.keyvalue",
];

struct Choice<'s> {
    supported: &'s Supported<'s>,
    /// The field path of the first store.
    first: Option<String>,
    keystore: Option<Keystore>,
}

impl Choice<'_> {
    fn visit(&mut self, at: &At<'_>, entries: &[(&'static str, Entry)]) {
        let fields = at.fields(&names(entries));
        for field in fields.iter() {
            match find(entries, field.name()) {
                Some(Vendor(stores)) => self.visit(field, stores),
                Some(Store(known)) => {
                    self.take(&field.fields(&names(known)), known);
                }
                None => {}
            }
        }
    }

    fn take(&mut self, store: &Fields<'_>, known: Known) {
        match &self.first {
            Some(first) => {
                store.at.error(format!(
                    "this key store comes after `{first}`; keep one of them"
                ));
                check(store, known);
            }
            None => {
                self.first = Some(store.at.to_string());
                self.keystore = self.read(store, known);
            }
        }
    }

    /// The store, if this platform has it. Whatever is read of its fields, all are checked.
    fn read(&self, store: &Fields<'_>, known: Known) -> Option<Keystore> {
        let supported = self.supported.keystores;
        let field = store.at.to_string();
        let name = field.strip_prefix("keystore.").unwrap_or(&field);
        let built = BUILT.contains(&name);
        if !built || !supported.contains(&name) {
            let who = if built { "on this platform" } else { "yet" };
            let others = listed(supported);
            store.at.error(format!(
                "this key store is not supported {who}; use {others}"
            ));
            check(store, known);
            return None;
        }
        match name {
            "mem" => Some(Keystore::Memory),
            "cloudflare.durableobjects" => Some(Keystore::DurableObjects),
            "spin.keyvalue" => Some(Keystore::SpinKeyValue {
                atomics: store.read("atomics", At::switch).unwrap_or(true),
            }),
            "vault" => vault::vault(store).map(|settings| Keystore::Vault(Box::new(settings))),
            _ => {
                let path = store
                    .required_path("path", "write the path of the folder that holds the keys")?;
                Some(Keystore::Fs { path })
            }
        }
    }
}
