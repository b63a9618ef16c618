//! The guest's side of `wit/`: translates between the contract's records and the door's types.

use std::cell::RefCell;
use std::time::Duration;

use sealedge_core::client::Client;
use sealedge_core::config::{Config, Keystore};
use sealedge_core::crypto::{Crypto, NotAuthentic, NotSealed};
use sealedge_core::log::{Subscription, Topic};
use sealedge_core::platform::{BodyError, Platform, System};
use sealedge_core::response::{ContentType, Response};
use sealedge_core::service::{Incoming, Request, Service};
use sealedge_core::store::StoreError;
use sealedge_core::time::Time;
use zeroize::{Zeroize, Zeroizing};

use crate::configure;
use crate::door::{self, Door, LentBody};
use crate::lent::{Lent, Operation, Outcome};
use bindings::exports::sealedge::edge::service::Guest;
use bindings::sealedge::edge::{crypto, lent, types};

#[expect(
    clippy::all,
    clippy::restriction,
    reason = "generated from wit/, which has the comments"
)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "edge", pub_export_macro: true });
}

struct Component;

bindings::export!(Component with_types_in bindings);

thread_local! {
    static DOOR: RefCell<Option<Door<Imports>>> = const { RefCell::new(None) };
}

/// Runs `work` on the configured door. The host configures an instance before all else.
fn door<T>(work: impl FnOnce(&mut Door<Imports>) -> T) -> Option<T> {
    DOOR.with_borrow_mut(|door| door.as_mut().map(work))
}

impl Guest for Component {
    fn configure(document: String) -> Result<types::Settings, Vec<String>> {
        let (config, warnings) = configure::read(&document, &lent::variable)?;
        let mut settings = settings(&config);
        settings.warnings = warnings;
        DOOR.with_borrow_mut(|door| match door {
            Some(door) => complete(&mut settings, door.propose(config)),
            None => {
                let lent = Imports { crypto: LentCrypto };
                complete(
                    &mut settings,
                    door.insert(Door::new(config, lent)).service(),
                );
            }
        });
        Ok(settings)
    }

    fn adopt() -> bool {
        door(Door::adopt).unwrap_or_default()
    }

    fn prepare(call: u64) -> Option<types::Finished> {
        door(|door| door.prepare(call)).flatten().map(finished)
    }

    fn authenticate(chain: Vec<Vec<u8>>, ip: String, trusted: bool) -> Vec<u8> {
        Client::new(chain.iter().map(Vec::as_slice), &ip, trusted).into_bytes()
    }

    fn start(call: u64, what: types::Request) -> Option<types::Finished> {
        #[cfg(feature = "faults")]
        crate::faults::fail_if_asked(&what.line);
        door(|door| {
            let request = request(door, call, what);
            door.start(call, request)
        })
        .flatten()
        .map(finished)
    }

    fn lost(what: types::Request) {
        door(|door| {
            let request = request(door, 0, what);
            door.lost(&request);
        });
    }

    fn resume(io: u64, what: types::Outcome) -> Option<(u64, types::Finished)> {
        let (call, end) = door(|door| door.resume(io, outcome(what))).flatten()?;
        Some((call, finished(end)))
    }

    fn forget(name: String) {
        door(|door| door.forget(&name));
    }

    fn tick() {
        door(|door| door.service().tick());
    }

    fn take_counters() -> Vec<u64> {
        door(|door| door.service().take_counters()).unwrap_or_default()
    }
}

fn request(door: &Door<Imports>, call: u64, what: types::Request) -> Request<LentBody<Imports>> {
    Request {
        line: what.line,
        arrived: Time::from_nanos(what.arrived),
        client: Client::from_bytes(what.client),
        forwarded: what.forwarded.unwrap_or_default(),
        audited: what.audited,
        body: match what.body {
            types::Body::None => Incoming::Whole(Vec::new()),
            types::Body::Whole(body) => Incoming::Whole(body),
            types::Body::Later => Incoming::Later(door.body(call)),
        },
    }
}

fn settings(config: &Config) -> types::Settings {
    types::Settings {
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
fn complete(settings: &mut types::Settings, service: &Service<impl Platform>) {
    settings.forwarded_header = service.forwarded_header().map(ToOwned::to_owned);
    settings.tls.certificate_optional = service.certificate_optional();
}

fn finished(end: door::Finished) -> types::Finished {
    match end {
        door::Finished::Response(response) => types::Finished::Response(to_wit(response)),
        door::Finished::Subscribed(subscription) => {
            types::Finished::Subscribed(to_subscription(subscription))
        }
        door::Finished::Prepared(result) => types::Finished::Prepared(result),
    }
}

fn to_wit(mut response: Response) -> types::Response {
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

fn to_subscription(subscription: Subscription) -> types::Subscription {
    types::Subscription {
        topic: match subscription.topic {
            Topic::Audit => types::Topic::Audit,
            Topic::Error => types::Topic::Error,
        },
        until: subscription.until.map(Time::as_nanos),
    }
}

fn outcome(what: types::Outcome) -> Outcome {
    match what {
        types::Outcome::Done => Outcome::Done,
        types::Outcome::Value(value) => Outcome::Value(Zeroizing::new(value)),
        types::Outcome::Names(names) => Outcome::Names(names),
        types::Outcome::Numbers(numbers) => Outcome::Numbers(numbers),
        types::Outcome::Failed(failure) => match failure {
            types::Failure::Exists => Outcome::Store(StoreError::Exists),
            types::Failure::NotFound => Outcome::Store(StoreError::NotFound),
            types::Failure::Unreachable(why) => Outcome::Store(StoreError::Unreachable(why)),
            types::Failure::Failed(why) => Outcome::Store(StoreError::Failed(why)),
            types::Failure::TooLarge => Outcome::Body(BodyError::TooLarge),
            types::Failure::Broken => Outcome::Body(BodyError::Broken),
        },
    }
}

/// The host's imports.
struct Imports {
    crypto: LentCrypto,
}

impl Lent for Imports {
    type Crypto = LentCrypto;

    fn crypto(&self) -> &LentCrypto {
        &self.crypto
    }

    fn now(&self) -> u64 {
        lent::now()
    }

    fn random(&self, length: usize) -> Vec<u8> {
        lent::random(u32::try_from(length).unwrap_or(u32::MAX))
    }

    fn begin(&self, io: u64, operation: Operation<'_>) {
        lent::begin(io, &to_operation(operation));
    }

    fn cancel(&self, io: u64) {
        lent::cancel(io);
    }

    fn audit(&self, line: &[u8]) {
        lent::audit(line);
    }

    fn error(&self, message: &str) {
        lent::error(message);
    }

    fn system(&self) -> System {
        let system = lent::system();
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

fn to_operation(operation: Operation<'_>) -> lent::Operation {
    use types::{AwaitedBody, Entry, Page};

    match operation {
        Operation::StoreCreate { name, value } => lent::Operation::StoreCreate(Entry {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        Operation::StoreGet(name) => lent::Operation::StoreGet(name.to_owned()),
        Operation::StoreDelete(name) => lent::Operation::StoreDelete(name.to_owned()),
        Operation::StoreList {
            prefix,
            after,
            limit,
        } => lent::Operation::StoreList(Page {
            prefix: prefix.to_owned(),
            after: after.map(ToOwned::to_owned),
            limit,
        }),
        Operation::StoreStatus => lent::Operation::StoreStatus,
        Operation::Sleep(duration) => lent::Operation::Sleep(nanos(duration)),
        Operation::Invalidate(name) => lent::Operation::Invalidate(name.to_owned()),
        Operation::Totals(increments) => lent::Operation::Totals(increments.to_owned()),
        Operation::ReadBody { call, limit } => {
            lent::Operation::ReadBody(AwaitedBody { call, limit })
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The primitives that the host lends.
struct LentCrypto;

impl Crypto for LentCrypto {
    fn hmac_sha256(&self, key: &[u8; 32], message: &[u8]) -> [u8; 32] {
        let (a, b, c, d) = crypto::hmac_sha256(key, message);
        let mut sum = [0; 32];
        for (to, word) in sum.chunks_exact_mut(8).zip([a, b, c, d]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        sum
    }

    fn aes256_gcm_seal(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed> {
        sealed(crypto::aes256_gcm_seal(key, nonce, aad, buffer), buffer)
    }

    fn aes256_gcm_open(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        opened(crypto::aes256_gcm_open(key, nonce, aad, buffer), buffer)
    }

    fn derive_and_seal(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed> {
        sealed(crypto::derive_and_seal(key, iv, nonce, aad, buffer), buffer)
    }

    fn derive_and_open(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        opened(crypto::derive_and_open(key, iv, nonce, aad, buffer), buffer)
    }
}

/// Back into the buffer, which has room for what was appended.
fn sealed(ciphertext: Vec<u8>, buffer: &mut Vec<u8>) -> Result<(), NotSealed> {
    buffer.clear();
    buffer.extend_from_slice(&ciphertext);
    Ok(())
}

fn opened(plaintext: Option<Vec<u8>>, buffer: &mut Vec<u8>) -> Result<(), NotAuthentic> {
    let plaintext = plaintext.map(Zeroizing::new);
    buffer.zeroize();
    buffer.extend_from_slice(&plaintext.ok_or(NotAuthentic)?);
    Ok(())
}
