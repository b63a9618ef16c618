//! A store that is measured.

use std::sync::Arc;
use std::time::Instant;

use sealedge_core::metrics::{StoreFailure, StoreOperation};
use sealedge_core::name::Name;
use zeroize::Zeroizing;

use super::{KeyStore, StoreError};
use crate::guest::Machine;

/// Counts what a store does and how long that takes it. Neither the wait for a place among the
/// operations at a time is in it, nor is a read counted twice that two requests wait for.
pub struct Measured {
    store: Arc<dyn KeyStore>,
    machine: Arc<Machine>,
}

impl Measured {
    /// Measures this store.
    pub fn new(store: Arc<dyn KeyStore>, machine: Arc<Machine>) -> Self {
        Self { store, machine }
    }

    fn measure<T>(
        &self,
        operation: StoreOperation,
        work: impl FnOnce(&dyn KeyStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.machine.count(|counters| counters.store_begin());
        let begun = Instant::now();
        let done = work(&*self.store);
        let took = begun.elapsed();
        let failure = match &done {
            Err(StoreError::Unreachable { .. }) => Some(StoreFailure::Unreachable),
            Err(StoreError::Failed { .. }) => Some(StoreFailure::Failed),
            Err(StoreError::Exists | StoreError::NotFound) | Ok(_) => None,
        };
        self.machine
            .count(|counters| counters.store_end(operation, failure, took));
        done
    }
}

impl KeyStore for Measured {
    fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        self.measure(StoreOperation::Create, |store| store.create(name, value))
    }

    fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.measure(StoreOperation::Read, |store| store.get(name))
    }

    fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.measure(StoreOperation::Delete, |store| store.delete(name))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.measure(StoreOperation::List, |store| {
            store.list(prefix, after, limit)
        })
    }

    fn status(&self) -> Result<(), StoreError> {
        self.measure(StoreOperation::Status, |store| store.status())
    }
}
