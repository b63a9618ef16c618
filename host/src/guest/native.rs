//! The same service without WebAssembly, linked into the host: what the benchmark compares with.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use sealedge_component::configure;
use sealedge_component::door::{self, Door, LentBody};
use sealedge_component::lent::{self, Lent};
use sealedge_core::client::Client;
use sealedge_core::config::{Config, Keystore};
use sealedge_core::log::{Subscription, Topic};
use sealedge_core::platform::{BodyError, Platform, System};
use sealedge_core::response::{ContentType, Response};
use sealedge_core::service;
use sealedge_core::store::StoreError;
use sealedge_core::time::Time;
use zeroize::Zeroizing;

use super::crypto::RingCrypto;
use super::types::{self, Failure, Finished, Operation, Outcome, Request, Settings};
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
        let (config, warnings) = match configure::read(document, &variable) {
            Ok(read) => read,
            Err(problems) => return Ok(Err(problems)),
        };
        let mut settings = settings(&config);
        settings.warnings = warnings;
        match &mut self.0.door {
            Some(door) => complete(&mut settings, door.propose(config)),
            none => {
                let lender = Lender {
                    machine: self.0.machine.clone(),
                    random: SystemRandom::new(),
                    begun: self.0.begun.clone(),
                };
                complete(
                    &mut settings,
                    none.insert(Door::new(config, lender)).service(),
                );
            }
        }
        Ok(Ok(settings))
    }

    fn adopt(&mut self) -> Result<bool, Trap> {
        Ok(self.0.door()?.adopt())
    }

    fn prepare(&mut self, call: u64) -> Result<Option<Finished>, Trap> {
        Ok(self.0.door()?.prepare(call).map(finished))
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
        let request = request(door, call, what);
        Ok(door.start(call, request).map(finished))
    }

    fn lost(&mut self, what: &Request) -> Result<(), Trap> {
        let door = self.0.door()?;
        door.lost(&request(door, 0, what));
        Ok(())
    }

    fn resume(&mut self, io: u64, what: &Outcome) -> Result<Option<(u64, Finished)>, Trap> {
        let ended = self.0.door()?.resume(io, outcome(what));
        Ok(ended.map(|(call, end)| (call, finished(end))))
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

fn request(door: &Door<Lender>, call: u64, what: &Request) -> service::Request<LentBody<Lender>> {
    service::Request {
        line: what.line.clone(),
        arrived: Time::from_nanos(what.arrived),
        client: Client::from_bytes(what.client.clone()),
        forwarded: what.forwarded.clone().unwrap_or_default(),
        audited: what.audited,
        body: match &what.body {
            types::Body::None => service::Incoming::Whole(Vec::new()),
            types::Body::Whole(body) => service::Incoming::Whole(body.clone()),
            types::Body::Later => service::Incoming::Later(door.body(call)),
        },
    }
}

fn settings(config: &Config) -> Settings {
    Settings {
        address: config.address.clone(),
        tls: types::Tls {
            key: config.tls.key.clone(),
            certificate: config.tls.cert.clone(),
            password: config
                .tls
                .password
                .as_ref()
                .map(|password| password.expose().to_owned()),
            authorities: config.tls.ca.clone(),
            verify_clients: config.tls.verify_clients,
            certificate_optional: false,
        },
        store: match &config.keystore {
            Keystore::Memory => types::Store::Memory,
            Keystore::Fs { path } => types::Store::Files(path.clone()),
        },
        forwarded_header: None,
        audit_log: config.log.audit,
        error_log: config.log.error,
        warnings: Vec::new(),
    }
}

/// Adds what the service makes of the configuration.
fn complete(settings: &mut Settings, service: &service::Service<impl Platform>) {
    settings.forwarded_header = service.forwarded_header().map(ToOwned::to_owned);
    settings.tls.certificate_optional = service.certificate_optional();
}

fn finished(end: door::Finished) -> Finished {
    match end {
        door::Finished::Response(response) => Finished::Response(response_of(response)),
        door::Finished::Subscribed(subscription) => {
            Finished::Subscribed(subscription_of(subscription))
        }
        door::Finished::Prepared(result) => Finished::Prepared(result),
    }
}

fn response_of(mut response: Response) -> types::Response {
    types::Response {
        status: response.status,
        content_type: match response.content_type {
            None => types::ContentType::None,
            Some(ContentType::Json) => types::ContentType::Json,
            Some(ContentType::Text) => types::ContentType::Text,
            Some(ContentType::Metrics) => types::ContentType::Metrics,
        },
        body: std::mem::take(&mut *response.body),
    }
}

fn subscription_of(subscription: Subscription) -> types::Subscription {
    types::Subscription {
        topic: match subscription.topic {
            Topic::Audit => types::Topic::Audit,
            Topic::Error => types::Topic::Error,
        },
        until: subscription.until.map(Time::as_nanos),
    }
}

fn outcome(what: &Outcome) -> lent::Outcome {
    match what {
        Outcome::Done => lent::Outcome::Done,
        Outcome::Value(value) => lent::Outcome::Value(Zeroizing::new(value.clone())),
        Outcome::Names(names) => lent::Outcome::Names(names.clone()),
        Outcome::Numbers(numbers) => lent::Outcome::Numbers(numbers.clone()),
        Outcome::Failed(failure) => match failure {
            Failure::Exists => lent::Outcome::Store(StoreError::Exists),
            Failure::NotFound => lent::Outcome::Store(StoreError::NotFound),
            Failure::Unreachable(why) => lent::Outcome::Store(StoreError::Unreachable(why.clone())),
            Failure::Failed(why) => lent::Outcome::Store(StoreError::Failed(why.clone())),
            Failure::TooLarge => lent::Outcome::Body(BodyError::TooLarge),
            Failure::Broken => lent::Outcome::Body(BodyError::Broken),
        },
    }
}

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
        let what = operation(what);
        self.begun.operations.borrow_mut().push((io, what));
    }

    fn cancel(&self, io: u64) {
        let mut cancelled = self.begun.cancelled.take();
        cancelled.push(io);
        self.begun.cancelled.set(cancelled);
    }

    fn audit(&self, line: &[u8]) {
        self.machine.audit(line.to_vec());
    }

    fn error(&self, message: &str) {
        self.machine.guest_error(message);
    }

    fn system(&self) -> System {
        let system = self.machine.system();
        System {
            commit: system.commit,
            os: system.os,
            arch: system.arch,
            started: Time::from_nanos(system.started),
            cpus: system.cpus,
            usable_cpus: system.usable_cpus,
            threads: system.threads,
            heap: system.heap,
            stack: system.stack,
        }
    }
}

fn operation(operation: lent::Operation<'_>) -> Operation {
    match operation {
        lent::Operation::StoreCreate { name, value } => Operation::StoreCreate(types::Entry {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        lent::Operation::StoreGet(name) => Operation::StoreGet(name.to_owned()),
        lent::Operation::StoreDelete(name) => Operation::StoreDelete(name.to_owned()),
        lent::Operation::StoreList {
            prefix,
            after,
            limit,
        } => Operation::StoreList(types::Page {
            prefix: prefix.to_owned(),
            after: after.map(ToOwned::to_owned),
            limit,
        }),
        lent::Operation::StoreStatus => Operation::StoreStatus,
        lent::Operation::Sleep(duration) => {
            Operation::Sleep(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
        }
        lent::Operation::Invalidate(name) => Operation::Invalidate(name.to_owned()),
        lent::Operation::Totals(increments) => Operation::Totals(increments.to_owned()),
        lent::Operation::ReadBody { call, limit } => {
            Operation::ReadBody(types::AwaitedBody { call, limit })
        }
    }
}
