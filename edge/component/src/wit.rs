//! The guest's side of `wit/`: its exports are calls of the door, its imports what the host lends.

use std::cell::RefCell;

use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::client::Client;
use sealedge_core::platform::System;

use crate::crypto::LentCrypto;
use crate::door::Door;
use crate::lent::{Lent, Operation};

use bindings::exports::sealedge::edge::service::Guest;
use bindings::sealedge::edge::{lent, types};

#[expect(
    clippy::all,
    clippy::restriction,
    reason = "generated from wit/, which has the comments"
)]
pub(crate) mod bindings {
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
        let lent = || Imports { crypto: LentCrypto };
        DOOR.with_borrow_mut(|door| configure(door, &document, &lent::variable, lent))
    }

    fn adopt() -> bool {
        door(Door::adopt).unwrap_or_default()
    }

    fn prepare(call: u64) -> Option<types::Finished> {
        door(|door| door.prepare(call)).flatten().map(finished)
    }

    fn in_store(call: u64, what: types::StoreOperation) -> Option<types::Finished> {
        let what = store_operation(what);
        door(|door| door.in_store(call, what))
            .flatten()
            .map(finished)
    }

    fn node() -> Option<String> {
        door(|door| door.service().node()).flatten()
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

    fn kept(name: String) -> Option<types::KeptKey> {
        door(|door| door.kept(&name)).flatten().map(kept_key)
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

crate::translations!();

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
        lent::begin(io, &operation_of(operation));
    }

    fn cancel(&self, io: u64) {
        lent::cancel(io);
    }

    fn remember(&self, identity: &[u8; 32], nonce: &Nonce, lives: Lifetime) -> Result<(), Replay> {
        let (created, until) = (lives.created.as_nanos(), lives.until.as_nanos());
        match lent::remember(identity, nonce, created, until) {
            lent::Remembered::Fresh => Ok(()),
            lent::Remembered::Seen => Err(Replay::Seen),
            lent::Remembered::Full => Err(Replay::Full),
            lent::Remembered::Late => Err(Replay::Late),
        }
    }

    fn trusts(&self, certificates: &[Vec<u8>]) -> bool {
        lent::trusts(certificates)
    }

    fn audit(&self, line: &[u8]) {
        lent::audit(line);
    }

    fn error(&self, message: &str) {
        lent::error(message);
    }

    fn system(&self) -> System {
        system(lent::system())
    }
}
