//! What does the operations of the key store.

use std::sync::Arc;
use std::time::Instant;

use sealedge_core::metrics::{self, StoreFailure};
use sealedge_core::name::Name;
use zeroize::{Zeroize, Zeroizing};

use crate::guest::Machine;
use crate::guest::types::{Entry, Failure, Outcome, Page, StoreOperation};
use crate::pool::Pool;
use crate::store::{KeyStore, StoreError};

/// Who keeps the keys.
#[derive(Clone)]
pub enum Keeper {
    /// This machine: work that blocks.
    Here(Arc<dyn KeyStore>),
    /// Servers elsewhere, to which the service itself speaks.
    Elsewhere,
}

/// Does an operation in a store of this machine.
pub fn perform(store: &dyn KeyStore, what: StoreOperation) -> Outcome {
    let done = match what {
        StoreOperation::Create(Entry { name, value }) => {
            let value = Zeroizing::new(value);
            with_name(&name, |name| store.create(name, &value)).map(|()| Outcome::Done)
        }
        StoreOperation::Get(name) => with_name(&name, |name| store.get(name))
            .map(|mut value| Outcome::Value(std::mem::take(&mut *value))),
        StoreOperation::Delete(name) => {
            with_name(&name, |name| store.delete(name)).map(|()| Outcome::Done)
        }
        StoreOperation::List(Page {
            prefix,
            after,
            limit,
        }) => store
            .list(&prefix, after.as_deref(), limit as usize)
            .map(Outcome::Names),
        StoreOperation::Status | StoreOperation::Check => store.status().map(|()| Outcome::Done),
    };
    done.unwrap_or_else(|error| Outcome::Failed(failure(&error)))
}

/// The service only ever asks for names that are valid; another one is a fault of the service.
fn with_name<T>(
    name: &str,
    work: impl FnOnce(&Name) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    Name::new(name).map_or(Err(StoreError::NotFound), |name| work(&name))
}

fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Exists => Failure::Exists,
        StoreError::NotFound => Failure::NotFound,
        StoreError::Unreachable { .. } => Failure::Unreachable(error.to_string()),
        // Nothing is replaced here, so that nothing has changed.
        StoreError::Changed | StoreError::Failed { .. } => Failure::Failed(error.to_string()),
    }
}

/// Does an operation in a key store elsewhere. One that was lost with its instance is done again, if
/// that changes nothing.
pub async fn ask(pool: &Arc<Pool>, mut what: StoreOperation) -> Outcome {
    let is_change = matches!(what, StoreOperation::Create(_) | StoreOperation::Delete(_));
    let outcome = match pool.store(&what).await {
        Err(_lost) if !is_change => pool.store(&what).await,
        outcome => outcome,
    };
    if let StoreOperation::Create(entry) = &mut what {
        entry.value.zeroize();
    }
    outcome.unwrap_or_else(|_lost| {
        let why = "the service died while it spoke to the key store: it may be done or not";
        Outcome::Failed(Failure::Failed(why.to_owned()))
    })
}

/// An operation that is measured: what the store does, and how long that takes it. Neither the wait for
/// a place among the operations at a time is in it, nor is a read counted twice that two requests wait
/// for.
pub struct Measured {
    operation: metrics::StoreOperation,
    machine: Arc<Machine>,
    begun: Instant,
}

impl Measured {
    /// It begins.
    pub fn begin(what: &StoreOperation, machine: &Arc<Machine>) -> Self {
        machine.count(|counters| counters.store_begin());
        Self {
            operation: match what {
                StoreOperation::Create(_) => metrics::StoreOperation::Create,
                StoreOperation::Get(_) => metrics::StoreOperation::Read,
                StoreOperation::Delete(_) => metrics::StoreOperation::Delete,
                StoreOperation::List(_) => metrics::StoreOperation::List,
                StoreOperation::Status | StoreOperation::Check => metrics::StoreOperation::Status,
            },
            machine: machine.clone(),
            begun: Instant::now(),
        }
    }

    /// It has ended so.
    pub fn end(self, outcome: &Outcome) {
        let took = self.begun.elapsed();
        let failure = match outcome {
            Outcome::Failed(Failure::Unreachable(_)) => Some(StoreFailure::Unreachable),
            Outcome::Failed(Failure::Failed(_)) => Some(StoreFailure::Failed),
            _ => None,
        };
        self.machine
            .count(|counters| counters.store_end(self.operation, failure, took));
    }
}
