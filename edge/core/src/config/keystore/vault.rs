//! The section `keystore.vault`.

use super::super::known::Shape::{Group, Unread, Value};
use super::super::known::{Known, group};
use super::super::vault::{self, APPROLE, KUBERNETES, TLS, TRANSIT, path};
use super::super::walk::Fields;
use crate::store::vault::{EngineVersion, Settings};

pub(super) const FIELDS: Known = &[
    ("endpoint", Value),
    ("engine", Value),
    ("version", Value),
    ("namespace", Value),
    ("prefix", Value),
    ("transit", TRANSIT),
    ("approle", APPROLE),
    ("kubernetes", KUBERNETES),
    ("tls", TLS),
    ("status", Group(&[("ping", Unread)])),
];

/// The store; what keeps it from being used is noted.
pub(super) fn vault(store: &Fields<'_>) -> Option<Settings> {
    let version = store.read("version", |at| {
        at.one_of(&[("v1", EngineVersion::V1), ("v2", EngineVersion::V2)])
    });
    let engine = path(store, "engine").unwrap_or_else(|| "kv".into());
    let prefix = path(store, "prefix").unwrap_or_default();
    // Each of these notes what is wrong with it, so all of them have to be looked at.
    let transit = group(store, "transit", FIELDS).map(|fields| vault::transit(&fields));
    let access = vault::access(store, FIELDS, 0);
    group(store, "status", FIELDS);
    Some(Settings {
        access: access?,
        engine,
        version: version.unwrap_or(EngineVersion::V1),
        prefix,
        transit: match transit {
            Some(transit) => Some(transit?),
            None => None,
        },
    })
}
