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

use sealedge_core::config::{Config, Keystore, Unseal};
use sealedge_core::log::Subscription;
use sealedge_core::name::Name;
use sealedge_core::platform::Platform;
use sealedge_core::response::{Answer, Response};
use sealedge_core::service::{Request, Service};
use sealedge_core::store::remote::Remote;
use sealedge_core::store::{Store, StoreError};
use zeroize::Zeroizing;

use crate::lent::{KeptKey, Lent, Operation, Outcome, StoreOperation};

mod host;
#[cfg(test)]
mod tests;

use host::Host;
pub use host::LentBody;

/// How a call ended.
pub enum Finished {
    /// A request's answer.
    Response(Response),
    /// The client may read a log.
    Subscribed(Subscription),
    /// The end of [`Door::prepare`]; an error or a warning says what the operator should know.
    Prepared(Result<Option<String>, String>),
    /// The end of [`Door::in_store`].
    Stored(Result<Stored, StoreError>),
}

/// What a key store has answered.
pub enum Stored {
    /// It is done, and there is nothing to tell.
    Done,
    /// A stored value.
    Value(Zeroizing<Vec<u8>>),
    /// Names.
    Names(Vec<String>),
}

type Task = Pin<Box<dyn Future<Output = Finished>>>;

/// One instance of the service, and the calls that are parked in it.
pub struct Door<L: Lent> {
    service: Rc<Service<Host<L>>>,
    /// What the service becomes by [`Door::adopt`].
    next: Option<Rc<Service<Host<L>>>>,
    keystore: Keystore,
    /// Where the node has its identity from.
    unseal: Option<Unseal>,
    /// The key store, if it is elsewhere.
    remote: Option<Rc<Remote<Host<L>>>>,
    shared: Rc<Shared<L>>,
    parked: BTreeMap<u64, Task>,
}

impl<L: Lent> Door<L> {
    /// An instance as the configuration wants it.
    pub fn new(config: Config, lent: L) -> Self {
        let shared = Rc::new(Shared {
            lent,
            is_elsewhere: !config.keystore.destinations().is_empty(),
            next: Cell::new(0),
            call: Cell::new(0),
            waiting: RefCell::default(),
            entropy: RefCell::default(),
        });
        let keystore = config.keystore.clone();
        let unseal = config.seal.as_ref().map(|seal| seal.unseal.clone());
        let remote = Remote::new(&keystore, Host::new(&shared)).map(Rc::new);
        let service = Rc::new(Service::new(config, Host::new(&shared)));
        Self {
            service,
            next: None,
            keystore,
            unseal,
            remote,
            shared,
            parked: BTreeMap::new(),
        }
    }

    /// Reads in another configuration, which [`Door::adopt`] puts in force: the service as it will be.
    ///
    /// # Errors
    /// It has another key store: policies that were written for that must not open this one. Or the
    /// node's identity comes from elsewhere.
    pub fn propose(&mut self, config: Config) -> Result<&Service<impl Platform>, String> {
        if config.keystore != self.keystore {
            return Err("keystore: restart the server to change it".to_owned());
        }
        let unseal = config.seal.as_ref().map(|seal| &seal.unseal);
        if unseal != self.unseal.as_ref() {
            return Err("seal.unseal: restart the server to change it".to_owned());
        }
        let next = self.service.successor(config, Host::new(&self.shared));
        Ok(self.next.insert(Rc::new(next)))
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
        LentBody::new(call, &self.shared)
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
        self.begin(
            call,
            async move { Finished::Prepared(service.prepare().await) },
        )
    }

    /// Begins something in the key store elsewhere.
    pub fn in_store(&mut self, call: u64, what: StoreOperation) -> Option<Finished> {
        let remote = self.remote.clone();
        self.begin(call, async move {
            Finished::Stored(match remote {
                Some(remote) => in_store(&*remote, what).await,
                None => Err(StoreError::Failed("it is not elsewhere".to_owned())),
            })
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

    /// A key that is in the cache, and may be served while the key store is away.
    pub fn kept(&self, name: &str) -> Option<KeptKey> {
        let (mut value, read) = self.service.kept(&Name::new(name)?)?;
        Some(KeptKey {
            value: std::mem::take(&mut *value).into_bytes().into(),
            read_at: read.as_nanos(),
        })
    }

    /// Drops a key from the cache; a text that is no name can't be in it.
    pub fn forget(&self, name: &str) {
        if let Some(name) = Name::new(name) {
            self.service.forget(&name);
        }
    }
}

async fn in_store(store: &impl Store, what: StoreOperation) -> Result<Stored, StoreError> {
    let known = |name: &str| Name::new(name).ok_or(StoreError::NotFound);
    match what {
        StoreOperation::Create { name, value } => {
            let value = Zeroizing::new(value);
            store.create(&known(&name)?, &value).await?;
        }
        StoreOperation::Get(name) => {
            return store.get(&known(&name)?).await.map(Stored::Value);
        }
        StoreOperation::Delete(name) => store.delete(&known(&name)?).await?,
        StoreOperation::List {
            prefix,
            after,
            limit,
        } => {
            let names = store.list(&prefix, after.as_deref(), limit as usize);
            return names.await.map(Stored::Names);
        }
        StoreOperation::Status => store.status().await?,
        StoreOperation::Check => store.check().await?,
    }
    Ok(Stored::Done)
}

/// What the calls of one instance share.
struct Shared<L> {
    lent: L,
    /// Whether keys are kept by servers elsewhere.
    is_elsewhere: bool,
    /// The number of the next operation.
    next: Cell<u64>,
    /// The call that is being polled: the operations that begin are its.
    call: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    entropy: RefCell<host::Entropy>,
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
