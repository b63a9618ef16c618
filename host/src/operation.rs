//! What the service asks of the outside, done beside it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use sealedge_core::name::Name;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use zeroize::{Zeroize, Zeroizing};

use crate::guest::types::{Entry, Failure, Operation, Outcome, Page};
use crate::pool::{Address, Pool};
use crate::store::{KeyStore, StoreError};

/// A body that is still on its way.
pub struct PendingBody {
    /// What has come already.
    pub begun: Zeroizing<Vec<u8>>,
    /// What is to come; `None` if the client broke off, so that nothing will.
    pub rest: Option<Incoming>,
    /// Becomes true when all of it is read.
    pub is_read: Arc<AtomicBool>,
}

/// An operation that can be given up.
pub enum UnderWay {
    /// A task that ends with it.
    Task(AbortHandle),
    /// The read of a key, which others may wait for as well.
    Read(String),
}

/// Does what the service asks for.
pub struct Operations {
    store: Arc<dyn KeyStore>,
    /// A store that hangs takes these, and leaves the runtime's other threads to work that must go on.
    store_places: Arc<Semaphore>,
    flights: Flights,
}

impl Operations {
    /// Operations over a key store, of which so many are done at a time; the others wait.
    pub fn new(store: Arc<dyn KeyStore>, at_a_time: usize) -> Self {
        Self {
            store,
            store_places: Arc::new(Semaphore::new(at_a_time)),
            flights: Flights::default(),
        }
    }

    /// Begins an operation, whose outcome goes to `address`. What is given can be given up.
    pub fn perform(
        &self,
        pool: &Arc<Pool>,
        address: Address,
        operation: Operation,
    ) -> Option<UnderWay> {
        let pool = pool.clone();
        let store = self.store.clone();
        match operation {
            Operation::Sleep(nanos) => {
                let sleep = tokio::time::sleep(Duration::from_nanos(nanos));
                let task = tokio::spawn(async move {
                    sleep.await;
                    pool.resume(address, &Outcome::Done);
                });
                return Some(UnderWay::Task(task.abort_handle()));
            }
            Operation::StoreGet(name) => {
                self.get(pool, address, name.clone());
                return Some(UnderWay::Read(name));
            }
            Operation::StoreCreate(entry) => self.in_store(pool, address, move |pool| {
                let Entry { name, value } = entry;
                let value = Zeroizing::new(value);
                let created = with_name(&name, |name| store.create(name, &value));
                // A read that began before may have found nothing, and where a key of this name was
                // deleted a moment ago, a cache may have that one still: to seal with it would be to
                // lose what is sealed.
                pool.forget(&name);
                done(created)
            }),
            Operation::StoreDelete(name) => self.in_store(pool, address, move |pool| {
                let deleted = with_name(&name, |name| store.delete(name));
                // Here and not only when the service asks for it: a request that has run out of time,
                // or whose instance has died, does not ask any more.
                pool.forget(&name);
                done(deleted)
            }),
            Operation::StoreList(page) => self.in_store(pool, address, move |_| {
                let Page {
                    prefix,
                    after,
                    limit,
                } = page;
                match store.list(&prefix, after.as_deref(), limit as usize) {
                    Ok(names) => Outcome::Names(names),
                    Err(error) => failed(&error),
                }
            }),
            Operation::StoreStatus => self.in_store(pool, address, move |_| done(store.status())),
            Operation::Invalidate(name) => blocking(pool, address, move |pool| {
                pool.forget(&name);
                Outcome::Done
            }),
            Operation::Totals(increments) => blocking(pool, address, move |pool| {
                Outcome::Numbers(pool.totals(&increments))
            }),
            Operation::ReadBody(awaited) => {
                let task = tokio::spawn(async move {
                    let body = pool.take_body(address, awaited.call);
                    let mut outcome = read(body, awaited.limit as usize).await;
                    pool.resume(address, &outcome);
                    wipe(&mut outcome);
                });
                return Some(UnderWay::Task(task.abort_handle()));
            }
        }
        None
    }

    /// Reads a key, unless it is being read: then with that read.
    fn get(&self, pool: Arc<Pool>, address: Address, name: String) {
        let Some(flight) = self.flights.join(&name, address) else {
            return;
        };
        let store = self.store.clone();
        self.when_free(move || {
            let flights = &pool.operations().flights;
            if flights.is_abandoned(&name, &flight) {
                return;
            }
            let value = with_name(&name, |name| store.get(name));
            let mut outcome = match value {
                Ok(mut value) => Outcome::Value(std::mem::take(&mut *value)),
                Err(error) => failed(&error),
            };
            for address in flights.land(&name, &flight) {
                pool.resume(address, &outcome);
            }
            wipe(&mut outcome);
        });
    }

    /// Does work on the key store, and hands in its outcome.
    fn in_store(
        &self,
        pool: Arc<Pool>,
        address: Address,
        work: impl FnOnce(&Arc<Pool>) -> Outcome + Send + 'static,
    ) {
        self.when_free(move || {
            let outcome = work(&pool);
            pool.resume(address, &outcome);
        });
    }

    /// Does work on the key store as soon as it has a place.
    fn when_free(&self, work: impl FnOnce() + Send + 'static) {
        let places = self.store_places.clone();
        tokio::spawn(async move {
            // It is never closed, which would be an error.
            let place = places.acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                work();
                drop(place);
            });
        });
    }

    /// Gives up an operation that nobody waits for any more.
    pub fn give_up(&self, address: Address, operation: UnderWay) {
        match operation {
            UnderWay::Task(task) => task.abort(),
            UnderWay::Read(name) => self.flights.leave(&name, address),
        }
    }

    /// Keeps reads that are to come from joining one that has begun.
    pub fn detach(&self, name: &str) {
        self.flights.detach(name);
    }
}

/// Runs work that waits for instances beside the service, and hands in its outcome.
fn blocking(
    pool: Arc<Pool>,
    address: Address,
    work: impl FnOnce(&Arc<Pool>) -> Outcome + Send + 'static,
) {
    tokio::task::spawn_blocking(move || {
        let outcome = work(&pool);
        pool.resume(address, &outcome);
    });
}

async fn read(body: Option<PendingBody>, limit: usize) -> Outcome {
    let Some(PendingBody {
        mut begun,
        rest: Some(rest),
        is_read,
    }) = body
    else {
        return Outcome::Failed(Failure::Broken);
    };
    let Some(left) = limit.checked_sub(begun.len()) else {
        return Outcome::Failed(Failure::TooLarge);
    };
    match Limited::new(rest, left).collect().await {
        Ok(rest) => {
            is_read.store(true, Ordering::Relaxed);
            begun.extend_from_slice(&rest.to_bytes());
            Outcome::Value(std::mem::take(&mut *begun))
        }
        Err(error) if error.is::<LengthLimitError>() => Outcome::Failed(Failure::TooLarge),
        Err(_) => Outcome::Failed(Failure::Broken),
    }
}

/// The service only ever asks for names that are valid; another one is a fault of the service.
fn with_name<T>(
    name: &str,
    work: impl FnOnce(&Name) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    Name::new(name).map_or(Err(StoreError::NotFound), |name| work(&name))
}

fn done(result: Result<(), StoreError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) => failed(&error),
    }
}

fn failed(error: &StoreError) -> Outcome {
    Outcome::Failed(match error {
        StoreError::Exists => Failure::Exists,
        StoreError::NotFound => Failure::NotFound,
        StoreError::Unreachable { .. } => Failure::Unreachable(error.to_string()),
        StoreError::Failed { .. } => Failure::Failed(error.to_string()),
    })
}

fn wipe(outcome: &mut Outcome) {
    if let Outcome::Value(value) = outcome {
        value.zeroize();
    }
}

/// Reads under way: one for a key, however many wait for it.
#[derive(Default)]
struct Flights(Mutex<HashMap<String, Arc<Flight>>>);

/// One read, and who waits for it. Changed only under the lock of all flights.
#[derive(Default)]
struct Flight(Mutex<Vec<Address>>);

impl Flights {
    /// Waits for the read of a key; gives the flight if there was none, to be flown by the caller.
    fn join(&self, name: &str, address: Address) -> Option<Arc<Flight>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(name) {
            flight
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(address);
            return None;
        }
        let flight = Arc::new(Flight(Mutex::new(vec![address])));
        flights.insert(name.to_owned(), flight.clone());
        Some(flight)
    }

    /// Does not wait for the read of a key any more.
    fn leave(&self, name: &str, address: Address) {
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(name) {
            let mut waiting = flight.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|other| *other != address);
        }
    }

    /// Whether nobody waits for a read any more, which then ends before it has begun.
    fn is_abandoned(&self, name: &str, flight: &Arc<Flight>) -> bool {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = flight.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.is_empty() {
            return false;
        }
        remove(&mut flights, name, flight);
        true
    }

    /// Ends a flight; who has waited for it.
    fn land(&self, name: &str, flight: &Arc<Flight>) -> Vec<Address> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remove(&mut flights, name, flight);
        std::mem::take(&mut *flight.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps later reads of a key from joining its flight.
    fn detach(&self, name: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

/// Removes a flight, if no other one has taken its place.
fn remove(flights: &mut HashMap<String, Arc<Flight>>, name: &str, flight: &Arc<Flight>) {
    if flights
        .get(name)
        .is_some_and(|current| Arc::ptr_eq(current, flight))
    {
        flights.remove(name);
    }
}
