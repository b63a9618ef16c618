//! The key-value stores of an app, as components see them: what is allowed, counted, and made to fail.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::redis::{Redis, Watch};
use super::request::{Counts, Request};
use super::sqlite::Sqlite;

/// What a component may do with a store. Opening one is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Reads a value.
    Get,
    /// Writes a value.
    Set,
    /// Removes a key.
    Delete,
    /// Asks whether there is a key.
    Exists,
    /// Lists all keys.
    Keys,
    /// Reads values.
    GetMany,
    /// Writes values.
    SetMany,
    /// Removes keys.
    DeleteMany,
    /// Adds to a number.
    Increment,
    /// Makes a handle for a compare-and-swap.
    NewCas,
    /// Reads a value by such a handle.
    Current,
    /// Swaps it.
    Swap,
}

/// Why there is no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The label is not listed in the manifest.
    AccessDenied,
    /// The component is told this.
    Other(String),
    /// The instance ends, for this reason: what it is to Spin if its own code panics.
    Trap(String),
}

/// What is to go wrong with an operation.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The instance ends before it is done.
    KillBefore,
    /// It is done, and the instance ends.
    KillAfter,
    /// It is not done, and the component is told this.
    Fail(String),
}

/// When it is to go wrong: once, with the first request that comes so far.
#[derive(Clone, Debug, Default)]
pub struct Spot {
    /// A part of the request's line, such as `POST /v1/key/create/`.
    pub line: String,
    /// Only operations of this kind are counted, if there is one.
    pub operation: Option<Operation>,
    /// Which of a request's operations it is, from 1 on.
    pub nth: u64,
}

/// Operations that wait for a test, from when this is made until it is dropped.
pub struct Gate {
    waiting: mpsc::UnboundedReceiver<Waiting>,
}

/// An operation that waits. It goes on when this is dropped.
pub struct Waiting {
    /// The number of the request.
    pub request: u64,
    /// The request's line.
    pub line: String,
    /// What is to be done.
    pub operation: Operation,
    /// With what key; the first of several.
    pub key: String,
    _go: oneshot::Sender<()>,
}

impl Gate {
    /// The next operation that waits.
    ///
    /// # Panics
    /// If the app is gone.
    pub async fn next(&mut self) -> Waiting {
        self.waiting.recv().await.unwrap()
    }
}

/// Keys with their values.
pub type Found = Vec<(String, Option<Vec<u8>>)>;

/// Where the values are.
pub enum Store {
    /// What `spin up` uses by itself.
    Sqlite(Sqlite),
    /// A Redis.
    Redis(Redis),
}

/// A handle for a compare-and-swap.
pub struct Cas {
    /// The label of its store.
    pub(super) label: String,
    /// Of what.
    pub(super) key: String,
    /// What was read by it, where that decides.
    seen: Mutex<Option<Vec<u8>>>,
    watch: Option<Watch>,
}

/// What became of a swap.
pub enum Swap {
    /// The value is the new one.
    Done,
    /// The component is told that another was faster, and handed this.
    Failed(Cas),
}

/// The stores of an app.
pub struct KeyValue {
    pub(super) store: Store,
    labels: BTreeSet<String>,
    faults: Mutex<Vec<(Spot, Fault)>>,
    gate: Mutex<Option<mpsc::UnboundedSender<Waiting>>>,
    delay: AtomicU64,
    totals: Mutex<Counts>,
}

impl KeyValue {
    /// Stores by these labels; all values are in one.
    pub fn new(store: Store, labels: BTreeSet<String>) -> Self {
        Self {
            store,
            labels,
            faults: Mutex::default(),
            gate: Mutex::default(),
            delay: AtomicU64::new(0),
            totals: Mutex::default(),
        }
    }

    /// Opens a store.
    ///
    /// # Errors
    /// The manifest does not list it.
    pub fn open(&self, label: &str) -> Result<(), Failure> {
        let is_listed = self.labels.contains(label);
        is_listed.then_some(()).ok_or(Failure::AccessDenied)
    }

    /// Plans a fault.
    ///
    /// # Panics
    /// If another test has panicked.
    pub fn plan(&self, spot: Spot, fault: Fault) {
        self.faults.lock().unwrap().push((spot, fault));
    }

    /// Has every operation wait for the test.
    ///
    /// # Panics
    /// If another test has panicked.
    pub fn gate(&self) -> Gate {
        let (sender, waiting) = mpsc::unbounded_channel();
        *self.gate.lock().unwrap() = Some(sender);
        Gate { waiting }
    }

    /// Has every operation take so much longer.
    pub fn delay(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.delay.store(micros, Ordering::Relaxed);
    }

    /// The operations of all requests so far.
    ///
    /// # Panics
    /// If another test has panicked.
    pub fn totals(&self) -> Counts {
        self.totals.lock().unwrap().clone()
    }

    /// Does an operation of a request.
    pub(super) async fn perform<T>(
        &self,
        request: &Request,
        operation: Operation,
        key: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        *self.totals.lock().unwrap().entry(operation).or_default() += 1;
        let fault = self.fault(request, operation);
        self.wait(request, operation, key).await;
        let killed = || Failure::Trap("a test has killed the instance".into());
        match fault {
            None => work.await,
            Some(Fault::KillBefore) => Err(killed()),
            Some(Fault::KillAfter) => work.await.and(Err(killed())),
            Some(Fault::Fail(why)) => Err(Failure::Other(why)),
        }
    }

    /// Counts an operation; the fault that is planned for it.
    fn fault(&self, request: &Request, operation: Operation) -> Option<Fault> {
        let (of_all, of_kind) = request.count(operation);
        let is_there = |spot: &Spot| {
            let nth = spot.operation.map_or(of_all, |_| of_kind);
            request.line.contains(&spot.line)
                && spot.operation.is_none_or(|it| it == operation)
                && spot.nth == nth
        };
        let mut faults = self.faults.lock().unwrap();
        let place = faults.iter().position(|(spot, _)| is_there(spot))?;
        Some(faults.remove(place).1)
    }

    async fn wait(&self, request: &Request, operation: Operation, key: &str) {
        let micros = self.delay.load(Ordering::Relaxed);
        if micros > 0 {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        let Some(gate) = self.gate.lock().unwrap().clone() else {
            return;
        };
        let (go, goes) = oneshot::channel();
        let waiting = Waiting {
            request: request.number,
            line: request.line.clone(),
            operation,
            key: key.to_owned(),
            _go: go,
        };
        // Fails once the gate is gone, or the test has dropped what waits: either way it goes on.
        if gate.send(waiting).is_ok() {
            let _ = goes.await;
        }
    }
}

impl Store {
    /// The value of a key.
    ///
    /// # Errors
    /// The store is broken, or away: of every operation.
    pub async fn get(&self, label: &str, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Sqlite(store) => store.get(label, key),
            Self::Redis(store) => store.get(key).await,
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn set(&self, label: &str, key: &str, value: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Sqlite(store) => store.set(label, key, value),
            Self::Redis(store) => store.set(key, value).await,
        }
    }

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn delete(&self, label: &str, key: &str) -> Result<(), Failure> {
        self.delete_many(label, &[key.to_owned()]).await
    }

    /// Whether there is a key.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn exists(&self, label: &str, key: &str) -> Result<bool, Failure> {
        match self {
            Self::Sqlite(store) => Ok(store.get(label, key)?.is_some()),
            Self::Redis(store) => store.exists(key).await,
        }
    }

    /// All keys. In Redis those of all labels.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn keys(&self, label: &str) -> Result<Vec<String>, Failure> {
        match self {
            Self::Sqlite(store) => store.keys(label),
            Self::Redis(store) => store.keys().await,
        }
    }

    /// The values of those keys that are there. Spin has them so from SQLite, and not at all from Redis, which it asks
    /// in a way that no Redis understands.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn get_many(&self, label: &str, keys: Vec<String>) -> Result<Found, Failure> {
        match self {
            Self::Sqlite(store) => store.get_many(label, keys),
            Self::Redis(store) => store.get_many(keys).await,
        }
    }

    /// Writes values, all or none.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn set_many(&self, label: &str, values: &[(String, Vec<u8>)]) -> Result<(), Failure> {
        match self {
            Self::Sqlite(store) => store.set_many(label, values),
            Self::Redis(store) => store.set_many(values).await,
        }
    }

    /// Removes keys, if they are there.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn delete_many(&self, label: &str, keys: &[String]) -> Result<(), Failure> {
        match self {
            Self::Sqlite(store) => store.delete_many(label, keys),
            Self::Redis(store) => store.delete_many(keys).await,
        }
    }

    /// Adds to a number, which is 0 if there is none.
    ///
    /// # Errors
    /// As [`Store::get`]; and the value is none: in SQLite nothing is done from then on.
    pub async fn increment(&self, label: &str, key: &str, delta: i64) -> Result<i64, Failure> {
        match self {
            Self::Sqlite(store) => store.increment(label, key, delta),
            Self::Redis(store) => store.increment(key, delta).await,
        }
    }

    /// A handle for a compare-and-swap.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn new_cas(&self, label: &str, key: &str) -> Result<Cas, Failure> {
        let watch = match self {
            Self::Sqlite(_) => None,
            Self::Redis(store) => Some(store.watch().await?),
        };
        Ok(Cas {
            label: label.to_owned(),
            key: key.to_owned(),
            seen: Mutex::default(),
            watch,
        })
    }

    /// The value that a swap is to replace.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn current(&self, cas: &Cas) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(watch) = &cas.watch {
            return watch.current(&cas.key).await;
        }
        let value = self.get(&cas.label, &cas.key).await?;
        *lock(&cas.seen) = value.clone();
        Ok(value)
    }

    /// Replaces the value that was read last.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn swap(&self, cas: Cas, value: &[u8]) -> Result<Swap, Failure> {
        let is_done = match (self, cas.watch) {
            (Self::Sqlite(store), _) => {
                let seen = lock(&cas.seen).take();
                store.swap(&cas.label, &cas.key, seen.as_deref(), value)?
            }
            (Self::Redis(_), Some(watch)) => watch.swap(&cas.key, value).await,
            (Self::Redis(_), None) => false,
        };
        if is_done {
            return Ok(Swap::Done);
        }
        let again = self.new_cas(&cas.label, &cas.key).await?;
        self.current(&again).await?;
        Ok(Swap::Failed(again))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
