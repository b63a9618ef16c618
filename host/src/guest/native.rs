//! The same service without WebAssembly, linked into the host: what the benchmark compares with.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use sealedge_component::door::Door;
use sealedge_component::lent::{self, Lent};
use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::client::Client;
use sealedge_core::platform::System;

use super::crypto::RingCrypto;
use super::types::{
    self, Finished, KeptKey, Operation, Outcome, Request, Settings, StoreOperation,
};
use super::{Instance, Machine, Trap};
use crate::pool::Factory;

/// Makes instances that are linked into this program.
pub fn factory(machine: Arc<Machine>) -> Factory {
    Box::new(move || Ok(Box::new(Confined(Native::new(machine.clone())))))
}

/// An instance that moves between threads as a whole.
struct Confined(Native);

#[expect(unsafe_code, reason = "the door counts its references without atomics")]
// SAFETY: every `Rc` that is in an instance was made by it and never leaves it: its calls take and
// give values that own what they hold, and it keeps nothing in a thread. So at any time one thread
// alone reaches all copies of each `Rc`: the one that has the instance (`&mut self`), and handing
// the instance over synchronises the two.
unsafe impl Send for Confined {}

struct Native {
    machine: Arc<Machine>,
    door: Option<Door<Lender>>,
    begun: Begun,
}

/// What an instance has begun and no longer wants, until the host takes it up.
#[derive(Clone, Default)]
struct Begun {
    operations: Rc<RefCell<Vec<(u64, Operation)>>>,
    cancelled: Rc<Cell<Vec<u64>>>,
}

impl Native {
    fn new(machine: Arc<Machine>) -> Self {
        Self {
            machine,
            door: None,
            begun: Begun::default(),
        }
    }

    fn door(&mut self) -> Result<&mut Door<Lender>, Trap> {
        self.door
            .as_mut()
            .ok_or_else(|| Trap("it was not configured".to_owned()))
    }
}

impl Instance for Confined {
    fn configure(&mut self, document: &str) -> Result<Result<Settings, Vec<String>>, Trap> {
        let variable = |name: &str| std::env::var(name).ok();
        let Native {
            machine,
            door,
            begun,
        } = &mut self.0;
        let lender = || Lender {
            machine: machine.clone(),
            random: SystemRandom::new(),
            begun: begun.clone(),
        };
        Ok(configure(door, document, &variable, lender))
    }

    fn adopt(&mut self) -> Result<bool, Trap> {
        Ok(self.0.door()?.adopt())
    }

    fn prepare(&mut self, call: u64) -> Result<Option<Finished>, Trap> {
        Ok(self.0.door()?.prepare(call).map(finished))
    }

    fn in_store(&mut self, call: u64, what: &StoreOperation) -> Result<Option<Finished>, Trap> {
        let what = store_operation(what.clone());
        Ok(self.0.door()?.in_store(call, what).map(finished))
    }

    fn node(&mut self) -> Result<Option<String>, Trap> {
        Ok(self.0.door()?.service().node())
    }

    fn authenticate(
        &mut self,
        chain: &[Vec<u8>],
        ip: &str,
        trusted: bool,
    ) -> Result<Vec<u8>, Trap> {
        Ok(Client::new(chain.iter().map(Vec::as_slice), ip, trusted).into_bytes())
    }

    fn start(&mut self, call: u64, what: &Request) -> Result<Option<Finished>, Trap> {
        let door = self.0.door()?;
        let request = request(door, call, what.clone());
        Ok(door.start(call, request).map(finished))
    }

    fn lost(&mut self, what: &Request) -> Result<(), Trap> {
        let door = self.0.door()?;
        door.lost(&request(door, 0, what.clone()));
        Ok(())
    }

    fn resume(&mut self, io: u64, what: &Outcome) -> Result<Option<(u64, Finished)>, Trap> {
        let ended = self.0.door()?.resume(io, outcome(what.clone()));
        Ok(ended.map(|(call, end)| (call, finished(end))))
    }

    fn kept(&mut self, name: &str) -> Result<Option<KeptKey>, Trap> {
        Ok(self.0.door()?.kept(name).map(kept_key))
    }

    fn forget(&mut self, name: &str) -> Result<(), Trap> {
        self.0.door()?.forget(name);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Trap> {
        self.0.door()?.service().tick();
        Ok(())
    }

    fn take_counters(&mut self) -> Result<Vec<u64>, Trap> {
        Ok(self.0.door()?.service().take_counters())
    }

    fn begun(&mut self) -> Vec<(u64, Operation)> {
        self.0.begun.operations.take()
    }

    fn cancelled(&mut self) -> Vec<u64> {
        self.0.begun.cancelled.take()
    }
}

sealedge_component::translations!();

/// The host, seen from one instance.
struct Lender {
    machine: Arc<Machine>,
    random: SystemRandom,
    begun: Begun,
}

impl Lent for Lender {
    type Crypto = RingCrypto;

    fn crypto(&self) -> &RingCrypto {
        &RingCrypto
    }

    fn now(&self) -> u64 {
        self.machine.now()
    }

    fn random(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        if self.random.fill(&mut bytes).is_err() {
            // The door takes fewer bytes than it asked for as its end.
            bytes.clear();
        }
        bytes
    }

    fn begin(&self, io: u64, what: lent::Operation<'_>) {
        let what = operation_of(what);
        self.begun.operations.borrow_mut().push((io, what));
    }

    fn cancel(&self, io: u64) {
        let mut cancelled = self.begun.cancelled.take();
        cancelled.push(io);
        self.begun.cancelled.set(cancelled);
    }

    fn remember(&self, identity: &[u8; 32], nonce: &Nonce, lives: Lifetime) -> Result<(), Replay> {
        self.machine.remember(identity, nonce, lives)
    }

    fn trusts(&self, certificates: &[Vec<u8>]) -> bool {
        self.machine.trusts(certificates)
    }

    fn audit(&self, line: &[u8]) {
        self.machine.audit(line.to_vec());
    }

    fn error(&self, message: &str) {
        self.machine.error(message);
    }

    fn system(&self) -> System {
        system(self.machine.system())
    }
}
