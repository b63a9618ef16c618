//! The host as the service's platform.

use std::rc::Rc;
use std::time::Duration;

use sealedge_core::audit::Record;
use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::identity::Identity;
use sealedge_core::name::Name;
use sealedge_core::outgoing::{Fault, Request, Response};
use sealedge_core::platform::{Body, BodyError, Platform, System, World};
use sealedge_core::store::{Store, StoreError};
use sealedge_core::time::Time;
use zeroize::Zeroizing;

use super::Shared;
use crate::lent::{Failure, Lent, Operation, Outcome, StoreOperation};

/// What is said of an outcome that does not fit its operation.
const OTHER: &str = "the host answered something else than was asked";

/// The platform that the host is.
pub struct Host<L: Lent> {
    store: LentStore<L>,
}

impl<L: Lent> Host<L> {
    /// The host, for the calls of one instance.
    pub fn new(shared: &Rc<Shared<L>>) -> Self {
        Self {
            store: LentStore(shared.clone()),
        }
    }

    fn shared(&self) -> &Rc<Shared<L>> {
        &self.store.0
    }
}

impl<L: Lent> World for Host<L> {
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

    async fn fetch(&self, request: Request) -> Result<Response, Fault> {
        match self.shared().perform(Operation::Fetch(request)).await {
            Outcome::Answer(response) => Ok(response),
            Outcome::Failed(Failure::TimedOut) => Err(Fault::TimedOut),
            Outcome::Failed(Failure::TooLarge) => Err(Fault::TooLarge),
            Outcome::Failed(Failure::Unreachable(why)) => Err(Fault::Unreachable(why)),
            _ => Err(Fault::Unreachable(OTHER.to_owned())),
        }
    }

    async fn file(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        match self.shared().perform(Operation::ReadFile(path)).await {
            Outcome::Value(content) => Ok(content),
            Outcome::Failed(Failure::Failed(why)) => Err(why),
            _ => Err(OTHER.to_owned()),
        }
    }

    fn log_error(&self, line: &str) {
        self.shared().lent.error(line);
    }

    async fn unsealed(&self) {
        self.shared().perform(Operation::Prepare).await;
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

    async fn invalidate(&self, name: &Name) {
        self.shared()
            .perform(Operation::Invalidate(name.as_str()))
            .await;
    }

    async fn kept(&self, name: &Name) -> Option<(Zeroizing<Vec<u8>>, Time)> {
        let name = Operation::Kept(name.as_str());
        match self.shared().perform(name).await {
            Outcome::Kept(key) => Some((key.value, Time::from_nanos(key.read_at))),
            _ => None,
        }
    }

    async fn remember(
        &self,
        identity: Identity,
        nonce: Nonce,
        lives: Lifetime,
    ) -> Result<(), Replay> {
        let lent = &self.shared().lent;
        lent.remember(identity.as_bytes(), &nonce, lives)
    }

    fn trusts(&self, certificates: &[Vec<u8>]) -> bool {
        self.shared().lent.trusts(certificates)
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
}

/// The key store that the host lends.
pub struct LentStore<L>(Rc<Shared<L>>);

impl<L: Lent> LentStore<L> {
    async fn perform(&self, what: StoreOperation) -> Outcome {
        self.0.perform(Operation::Store(what)).await
    }
}

impl<L: Lent> Store for LentStore<L> {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        let create = StoreOperation::Create {
            name: name.to_string(),
            value: value.to_owned(),
        };
        done(self.perform(create).await)
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        match self.perform(StoreOperation::Get(name.to_string())).await {
            Outcome::Value(value) => Ok(value),
            other => Err(failure(other)),
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        done(self.perform(StoreOperation::Delete(name.to_string())).await)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let list = StoreOperation::List {
            prefix: prefix.to_owned(),
            after: after.map(ToOwned::to_owned),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        match self.perform(list).await {
            Outcome::Names(names) => Ok(names),
            other => Err(failure(other)),
        }
    }

    async fn status(&self) -> Result<(), StoreError> {
        done(self.perform(StoreOperation::Status).await)
    }

    async fn check(&self) -> Result<(), StoreError> {
        done(self.perform(StoreOperation::Check).await)
    }

    /// The host asks the component, which has the log of what is elsewhere.
    fn logs_outages(&self) -> bool {
        self.0.is_elsewhere
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
        Outcome::Failed(Failure::Exists) => StoreError::Exists,
        Outcome::Failed(Failure::NotFound) => StoreError::NotFound,
        Outcome::Failed(Failure::Unreachable(why)) => StoreError::Unreachable(why),
        Outcome::Failed(Failure::Failed(why)) => StoreError::Failed(why),
        _ => StoreError::Failed(OTHER.to_owned()),
    }
}

/// A body that the host reads when it is asked to.
pub struct LentBody<L> {
    call: u64,
    shared: Rc<Shared<L>>,
}

impl<L> LentBody<L> {
    /// The body of this call.
    pub(super) fn new(call: u64, shared: &Rc<Shared<L>>) -> Self {
        Self {
            call,
            shared: shared.clone(),
        }
    }
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
            Outcome::Failed(Failure::TooLarge) => Err(BodyError::TooLarge),
            _ => Err(BodyError::Broken),
        }
    }
}

/// Random bytes in stock: asking the host for each few costs more than making them.
#[derive(Default)]
pub struct Entropy {
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
