//! What the service asks of the outside, done beside it.

mod flights;
mod keeper;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use zeroize::{Zeroize, Zeroizing};

use crate::guest::types::{Failure, Operation, Outcome, StoreOperation};
use crate::guest::{Machine, outgoing};
use crate::outside::Outside;
use crate::pool::{Address, Pool};
use flights::Flights;
use keeper::Measured;

pub use keeper::Keeper;

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

/// How many listings and questions for the key store's status are under way at a time.
const OTHERS_AT_A_TIME: usize = 8;

/// Does what the service asks for.
pub struct Operations {
    keeper: Keeper,
    outside: Arc<Outside>,
    machine: Arc<Machine>,
    /// A store that hangs takes these, and leaves the runtime's other threads to work that must go on.
    store_places: Arc<Semaphore>,
    /// What clients may ask for without a key, and what is long to read, leaves room for keys.
    other_places: Arc<Semaphore>,
    flights: Flights,
}

impl Operations {
    /// Operations over a key store, of which so many are done at a time; the others wait. Those that
    /// are done elsewhere reach no more than `outside`.
    pub fn new(keeper: Keeper, outside: Outside, machine: Arc<Machine>, at_a_time: usize) -> Self {
        Self {
            keeper,
            outside: Arc::new(outside),
            machine,
            store_places: Arc::new(Semaphore::new(at_a_time)),
            other_places: Arc::new(Semaphore::new(at_a_time.min(OTHERS_AT_A_TIME))),
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
        match operation {
            Operation::Store(what) => return self.in_store(pool, address, what),
            Operation::Invalidate(name) => blocking(pool, address, move |pool| {
                pool.forget(&name);
                Outcome::Done
            }),
            Operation::Totals(increments) => blocking(pool, address, move |pool| {
                Outcome::Numbers(pool.totals(&increments))
            }),
            Operation::Kept(name) => blocking(pool, address, move |pool| {
                let key = pool.kept(&name);
                key.map_or(Outcome::Failed(Failure::NotFound), Outcome::Kept)
            }),
            Operation::ReadFile(path) => {
                let outside = self.outside.clone();
                blocking(pool, address, move |_| outgoing::read(outside.read(&path)));
            }
            Operation::Sleep(nanos) => {
                // Now, and not when the task has its turn.
                let sleep = tokio::time::sleep(Duration::from_nanos(nanos));
                return Some(task(pool, address, async move {
                    sleep.await;
                    Outcome::Done
                }));
            }
            Operation::ReadBody(awaited) => {
                let limit = awaited.limit as usize;
                let body = pool.clone();
                return Some(task(pool, address, async move {
                    read(body.take_body(address, awaited.call), limit).await
                }));
            }
            Operation::Prepare => {
                let (all, machine) = (pool.clone(), self.machine.clone());
                return Some(task(pool, address, async move {
                    // What is wrong with one, that one has said.
                    if let Ok(Some(warning)) = all.prepare().await {
                        machine.say(&format!("warning: {warning}"));
                    }
                    Outcome::Done
                }));
            }
            Operation::Fetch(request) => {
                let outside = self.outside.clone();
                let fetch = async move {
                    outgoing::fetched(outside.fetch(outgoing::request(request)).await)
                };
                return Some(task(pool, address, fetch));
            }
        }
        None
    }

    /// Does an operation of the key store.
    fn in_store(
        &self,
        pool: Arc<Pool>,
        address: Address,
        what: StoreOperation,
    ) -> Option<UnderWay> {
        let changed = match &what {
            StoreOperation::Get(name) => {
                let name = name.clone();
                self.read(pool, address, name.clone());
                return Some(UnderWay::Read(name));
            }
            StoreOperation::Create(entry) => Some(entry.name.clone()),
            StoreOperation::Delete(name) => Some(name.clone()),
            StoreOperation::List(_) | StoreOperation::Status | StoreOperation::Check => None,
        };
        self.when_free(
            pool,
            what,
            || true,
            move |pool, outcome| {
                // Here and not only when the service asks for it: a request that has run out of time, or
                // whose instance has died, does not ask any more. After a create as well: a read that began
                // before may have found nothing, and where a key of this name was deleted a moment ago, a
                // cache may have that one still: to seal with it would be to lose what is sealed.
                if let Some(name) = changed {
                    pool.forget(&name);
                }
                pool.resume(address, outcome);
            },
        );
        None
    }

    /// Reads a key, unless it is being read: then with that read.
    fn read(&self, pool: Arc<Pool>, address: Address, name: String) {
        let Some(flight) = self.flights.join(&name, address) else {
            return;
        };
        let get = StoreOperation::Get(name.clone());
        let (waiting, wanted, of) = (pool.clone(), flight.clone(), name.clone());
        let is_wanted = move || !waiting.operations().flights.is_abandoned(&of, &wanted);
        self.when_free(pool, get, is_wanted, move |pool, outcome| {
            for address in pool.operations().flights.land(&name, &flight) {
                pool.resume(address, outcome);
            }
        });
    }

    /// Does an operation of the key store as soon as it has a place, if it is still wanted then; and
    /// something with its outcome, where waiting for an instance holds up nobody else.
    fn when_free(
        &self,
        pool: Arc<Pool>,
        what: StoreOperation,
        is_wanted: impl FnOnce() -> bool + Send + 'static,
        then: impl FnOnce(&Arc<Pool>, &Outcome) + Send + 'static,
    ) {
        let places = match what {
            StoreOperation::Status | StoreOperation::Check | StoreOperation::List(_) => {
                self.other_places.clone()
            }
            _ => self.store_places.clone(),
        };
        let keeper = self.keeper.clone();
        let machine = self.machine.clone();
        tokio::spawn(async move {
            // It is never closed, which would be an error.
            let place = places.acquire_owned().await;
            if !is_wanted() {
                return;
            }
            let measured = Measured::begin(&what, &machine);
            let asking = pool.clone();
            let end = move |mut outcome: Outcome| {
                measured.end(&outcome);
                then(&pool, &outcome);
                wipe(&mut outcome);
                drop(place);
            };
            match keeper {
                Keeper::Here(store) => {
                    tokio::task::spawn_blocking(move || end(keeper::perform(&*store, what)));
                }
                Keeper::Elsewhere => {
                    let outcome = keeper::ask(&asking, what).await;
                    tokio::task::spawn_blocking(move || end(outcome));
                }
            }
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
        let mut outcome = work(&pool);
        pool.resume(address, &outcome);
        wipe(&mut outcome);
    });
}

/// Runs work that waits for nothing but the outside, and hands in its outcome.
fn task(
    pool: Arc<Pool>,
    address: Address,
    work: impl Future<Output = Outcome> + Send + 'static,
) -> UnderWay {
    let task = tokio::spawn(async move {
        let mut outcome = work.await;
        pool.resume(address, &outcome);
        wipe(&mut outcome);
    });
    UnderWay::Task(task.abort_handle())
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

fn wipe(outcome: &mut Outcome) {
    match outcome {
        Outcome::Value(value) => value.zeroize(),
        Outcome::Answer(answer) => answer.body.zeroize(),
        Outcome::Kept(key) => key.value.zeroize(),
        Outcome::Done | Outcome::Names(_) | Outcome::Numbers(_) | Outcome::Failed(_) => {}
    }
}
