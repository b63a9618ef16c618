//! Runs the service's futures without ever waiting.
//!
//! A call is polled when it starts, and again each time an operation of its own has ended. Between
//! the two it is parked: a future in a table, that holds nothing up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sealedge_core::audit::Record;
use sealedge_core::config::Config;
use sealedge_core::log::Subscription;
use sealedge_core::name::Name;
use sealedge_core::platform::{Body, BodyError, Platform, System};
use sealedge_core::response::{Answer, Response};
use sealedge_core::service::{Request, Service};
use sealedge_core::store::{Store, StoreError};
use sealedge_core::time::Time;
use zeroize::Zeroizing;

use crate::lent::{Lent, Operation, Outcome};

#[cfg(test)]
mod tests;

/// How a call ended.
pub enum Finished {
    /// A request's answer.
    Response(Response),
    /// The client may read a log.
    Subscribed(Subscription),
    /// The end of [`Door::prepare`]; an error says what the operator should know.
    Prepared(Result<(), String>),
}

type Task = Pin<Box<dyn Future<Output = Finished>>>;

/// One instance of the service, and the calls that are parked in it.
pub struct Door<L: Lent> {
    service: Rc<Service<Host<L>>>,
    /// What the service becomes by [`Door::adopt`].
    next: Option<Rc<Service<Host<L>>>>,
    shared: Rc<Shared<L>>,
    parked: BTreeMap<u64, Task>,
}

impl<L: Lent> Door<L> {
    /// An instance as the configuration wants it.
    pub fn new(config: Config, lent: L) -> Self {
        let shared = Rc::new(Shared {
            lent,
            next: Cell::new(0),
            call: Cell::new(0),
            waiting: RefCell::default(),
            entropy: RefCell::default(),
        });
        let service = Rc::new(Service::new(config, host(&shared)));
        Self {
            service,
            next: None,
            shared,
            parked: BTreeMap::new(),
        }
    }

    /// Reads in another configuration, which [`Door::adopt`] puts in force: the service as it will be.
    pub fn propose(&mut self, config: Config) -> &Service<impl Platform> {
        let next = self.service.successor(config, host(&self.shared));
        self.next.insert(Rc::new(next))
    }

    /// Puts the proposed configuration in force, if there is one. Calls that are parked end under the
    /// one that they began under.
    pub fn adopt(&mut self) -> bool {
        let Some(next) = self.next.take() else {
            return false;
        };
        next.come_into_force();
        self.service = next;
        true
    }

    /// The service behind the door.
    pub fn service(&self) -> &Service<impl Platform> {
        &self.service
    }

    /// A body that is still on its way to the call.
    pub fn body(&self, call: u64) -> LentBody<L> {
        LentBody {
            call,
            shared: self.shared.clone(),
        }
    }

    /// Begins a request; `None` if it is parked.
    pub fn start(&mut self, call: u64, request: Request<LentBody<L>>) -> Option<Finished> {
        let service = self.service.clone();
        // Made inside the task: one made before would be copied into it, and be there twice.
        self.begin(call, async move {
            match service.serve(request).await {
                Answer::Response(response) => Finished::Response(response),
                Answer::Subscription(subscription) => Finished::Subscribed(subscription),
            }
        })
    }

    /// Records a request that was lost with another instance.
    pub fn lost(&self, request: &Request<LentBody<L>>) {
        self.service.lost(request);
    }

    /// Begins to create the keys that the configuration wants to exist.
    pub fn prepare(&mut self, call: u64) -> Option<Finished> {
        let service = self.service.clone();
        self.begin(call, async move {
            let prepared = service.prepare().await;
            Finished::Prepared(
                prepared.map_err(|error| error.detail().unwrap_or(error.to_string())),
            )
        })
    }

    fn begin(
        &mut self,
        call: u64,
        task: impl Future<Output = Finished> + 'static,
    ) -> Option<Finished> {
        let mut task: Task = Box::pin(task);
        match self.poll(call, &mut task) {
            Poll::Ready(finished) => Some(finished),
            Poll::Pending => {
                self.parked.insert(call, task);
                None
            }
        }
    }

    /// Hands in an operation's outcome; the call that it ended, if it did.
    pub fn resume(&mut self, io: u64, outcome: Outcome) -> Option<(u64, Finished)> {
        let call = self.shared.end(io, outcome)?;
        let mut task = self.parked.remove(&call)?;
        match self.poll(call, &mut task) {
            Poll::Ready(finished) => Some((call, finished)),
            Poll::Pending => {
                self.parked.insert(call, task);
                None
            }
        }
    }

    /// Which call to poll is known without a waker: the one whose operation has ended.
    fn poll(&self, call: u64, task: &mut Task) -> Poll<Finished> {
        self.shared.call.set(call);
        task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Drops a key from the cache; a text that is no name can't be in it.
    pub fn forget(&self, name: &str) {
        if let Some(name) = Name::new(name) {
            self.service.forget(&name);
        }
    }
}

fn host<L: Lent>(shared: &Rc<Shared<L>>) -> Host<L> {
    Host {
        store: LentStore(shared.clone()),
    }
}

/// What the calls of one instance share.
struct Shared<L> {
    lent: L,
    /// The number of the next operation.
    next: Cell<u64>,
    /// The call that is being polled: the operations that begin are its.
    call: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    entropy: RefCell<Entropy>,
}

struct Waiting {
    call: u64,
    outcome: Option<Outcome>,
}

impl<L: Lent> Shared<L> {
    /// Begins an operation now and waits for its outcome.
    fn perform(
        self: &Rc<Self>,
        operation: Operation<'_>,
    ) -> impl Future<Output = Outcome> + use<L> {
        let io = self.next.get();
        self.next.set(io.wrapping_add(1));
        let waiting = Waiting {
            call: self.call.get(),
            outcome: None,
        };
        self.waiting.borrow_mut().insert(io, waiting);
        self.lent.begin(io, operation);
        let pending = Pending {
            io,
            shared: self.clone(),
        };
        poll_fn(move |_| match pending.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        })
    }
}

impl<L> Shared<L> {
    /// Keeps an operation's outcome for the call that waits for it, which is the answer.
    fn end(&self, io: u64, outcome: Outcome) -> Option<u64> {
        let mut waiting = self.waiting.borrow_mut();
        let waiting = waiting.get_mut(&io)?;
        waiting.outcome = Some(outcome);
        Some(waiting.call)
    }
}

/// An operation that somebody waits for. Dropped before its end, it is cancelled.
struct Pending<L: Lent> {
    io: u64,
    shared: Rc<Shared<L>>,
}

impl<L: Lent> Pending<L> {
    fn take(&self) -> Option<Outcome> {
        let mut waiting = self.shared.waiting.borrow_mut();
        let outcome = waiting.get_mut(&self.io)?.outcome.take()?;
        waiting.remove(&self.io);
        Some(outcome)
    }
}

impl<L: Lent> Drop for Pending<L> {
    fn drop(&mut self) {
        let waiting = self.shared.waiting.borrow_mut().remove(&self.io);
        if waiting.is_some_and(|waiting| waiting.outcome.is_none()) {
            self.shared.lent.cancel(self.io);
        }
    }
}

/// The platform that the host is.
struct Host<L: Lent> {
    store: LentStore<L>,
}

impl<L: Lent> Host<L> {
    fn shared(&self) -> &Rc<Shared<L>> {
        &self.store.0
    }
}

impl<L: Lent> Platform for Host<L> {
    type Store = LentStore<L>;
    type Crypto = L::Crypto;
    type Body = LentBody<L>;

    fn store(&self) -> &LentStore<L> {
        &self.store
    }

    fn crypto(&self) -> &L::Crypto {
        self.shared().lent.crypto()
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.shared().lent.now())
    }

    fn random(&self, buffer: &mut [u8]) {
        self.shared()
            .entropy
            .borrow_mut()
            .fill(buffer, &self.shared().lent);
    }

    async fn sleep(&self, duration: Duration) {
        self.shared().perform(Operation::Sleep(duration)).await;
    }

    async fn invalidate(&self, name: &Name) {
        self.shared()
            .perform(Operation::Invalidate(name.as_str()))
            .await;
    }

    async fn totals(&self, increments: Vec<u64>) -> Vec<u64> {
        match self.shared().perform(Operation::Totals(&increments)).await {
            Outcome::Numbers(sums) => sums,
            _ => increments,
        }
    }

    fn system(&self) -> System {
        self.shared().lent.system()
    }

    fn audit(&self, record: &Record<'_>) {
        self.shared().lent.audit(&record.to_json());
    }

    fn error(&self, message: &str) {
        self.shared().lent.error(message);
    }
}

/// The key store that the host lends.
struct LentStore<L>(Rc<Shared<L>>);

impl<L: Lent> Store for LentStore<L> {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        done(
            self.0
                .perform(Operation::StoreCreate {
                    name: name.as_str(),
                    value,
                })
                .await,
        )
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        match self.0.perform(Operation::StoreGet(name.as_str())).await {
            Outcome::Value(value) => Ok(value),
            other => Err(failure(other)),
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        done(self.0.perform(Operation::StoreDelete(name.as_str())).await)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self
            .0
            .perform(Operation::StoreList {
                prefix,
                after,
                limit,
            })
            .await
        {
            Outcome::Names(names) => Ok(names),
            other => Err(failure(other)),
        }
    }

    async fn status(&self) -> Result<(), StoreError> {
        done(self.0.perform(Operation::StoreStatus).await)
    }
}

fn done(outcome: Outcome) -> Result<(), StoreError> {
    match outcome {
        Outcome::Done => Ok(()),
        other => Err(failure(other)),
    }
}

fn failure(outcome: Outcome) -> StoreError {
    match outcome {
        Outcome::Store(error) => error,
        _ => StoreError::Failed("the host answered something else than was asked".to_owned()),
    }
}

/// A body that the host reads when it is asked to.
pub struct LentBody<L> {
    call: u64,
    shared: Rc<Shared<L>>,
}

impl<L: Lent> Body for LentBody<L> {
    async fn read(self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        match self
            .shared
            .perform(Operation::ReadBody {
                call: self.call,
                limit,
            })
            .await
        {
            Outcome::Value(mut body) => Ok(std::mem::take(&mut *body)),
            Outcome::Body(error) => Err(error),
            _ => Err(BodyError::Broken),
        }
    }
}

/// Random bytes in stock: asking the host for each few costs more than making them.
#[derive(Default)]
struct Entropy {
    stock: Zeroizing<Vec<u8>>,
}

/// How many bytes are asked for at a time.
const STOCK: usize = 4096;

impl Entropy {
    fn fill<L: Lent>(&mut self, buffer: &mut [u8], lent: &L) {
        if self.stock.len() < buffer.len() {
            self.stock = Zeroizing::new(lent.random(STOCK.max(buffer.len())));
        }
        let left = self.stock.len().checked_sub(buffer.len());
        let Some((left, taken)) = left.and_then(|left| self.stock.split_at_mut_checked(left))
        else {
            // A host that gives less than was asked for must not make keys of zeros.
            std::process::abort();
        };
        // Nothing that was handed out stays behind. Most is taken in words, few bytes are left of it.
        let ((to, to_rest), (from, from_rest)) =
            (buffer.as_chunks_mut::<4>(), taken.as_chunks_mut());
        for (to, from) in to.iter_mut().zip(from) {
            *to = std::mem::take(from);
        }
        for (to, from) in to_rest.iter_mut().zip(from_rest) {
            *to = std::mem::take(from);
        }
        let left = left.len();
        self.stock.truncate(left);
    }
}
