//! A store in memory, for development and tests: what it holds ends with the process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sealedge_core::name::Name;
use zeroize::Zeroizing;

use super::{KeyStore, MAX_VALUE, Operation, Reason, StoreError};

/// Keys in memory, wiped when deleted or when the store is dropped.
#[derive(Default)]
pub struct MemStore {
    keys: Mutex<Keys>,
}

type Keys = BTreeMap<Name, Zeroizing<Vec<u8>>>;

impl MemStore {
    /// A store without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// No call leaves the map half changed, so a panic elsewhere while it was locked does no harm.
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStore for MemStore {
    fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        if value.len() > MAX_VALUE {
            let path = PathBuf::from(name.as_str());
            return Err(StoreError::Failed {
                operation: Operation::Write,
                path,
                reason: Reason::TooLong,
            });
        }
        let mut keys = self.keys();
        if keys.contains_key(name) {
            return Err(StoreError::Exists);
        }
        keys.insert(name.clone(), Zeroizing::new(value.to_vec()));
        Ok(())
    }

    fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.keys().get(name).cloned().ok_or(StoreError::NotFound)
    }

    fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.keys()
            .remove(name)
            .map(drop)
            .ok_or(StoreError::NotFound)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let keys = self.keys();
        let names = keys.keys().map(Name::as_str);
        let wanted = names
            .filter(|name| name.starts_with(prefix) && after.is_none_or(|after| *name > after))
            .take(limit);
        Ok(wanted.map(str::to_owned).collect())
    }

    fn status(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
