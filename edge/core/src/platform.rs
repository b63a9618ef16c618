//! What the service needs of the world around it. A door implements these traits and decides nothing.
//!
//! Futures need not be `Send`: one instance runs on one thread at a time, on every platform.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::audit;
use crate::auth::nonces::{Lifetime, Nonce, Replay};
use crate::auth::public_key::PublicKey;
use crate::conceal::conceal;
use crate::copies::Copies;
use crate::crypto::Crypto;
use crate::identity::Identity;
use crate::name::Name;
use crate::outgoing::{Fault, Request, Response};
use crate::store::Store;
use crate::time::Time;

/// What a platform lends to all of the service, key stores elsewhere among it.
pub trait World {
    /// The time now.
    fn now(&self) -> Time;

    /// Fills `buffer` from a cryptographically secure source.
    fn random(&self, buffer: &mut [u8]);

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// Sends a request to a server that the configuration names, and waits for its answer. It is sent
    /// once: only the caller knows whether it may be repeated. No redirection is followed.
    fn fetch(&self, request: Request) -> impl Future<Output = Result<Response, Fault>>;

    /// The content of a file that the configuration names, as it is now; an error says why there is
    /// none.
    fn file(&self, path: &str) -> impl Future<Output = Result<Zeroizing<Vec<u8>>, String>>;

    /// Takes a line for the operator's error log, if the configuration wants one, and for whoever reads
    /// it as a stream. The platform counts it
    /// ([`Counters::error_event`](crate::metrics::Counters::error_event)), for it knows of errors beside
    /// the service's.
    fn log_error(&self, line: &str);

    /// Says something in the operator's error log. It may name hosts and paths, and what looks like a
    /// secret in them is hidden.
    fn error(&self, message: &str) {
        self.log_error(&conceal(message));
    }

    /// The node's identity, which was not to be had at first, is there in this instance: has the others
    /// prepared again ([`Service::prepare`](crate::service::Service::prepare)), and waits for it.
    fn unsealed(&self) -> impl Future<Output = ()> {
        std::future::ready(())
    }
}

impl<W: World> World for &W {
    fn now(&self) -> Time {
        (**self).now()
    }

    fn random(&self, buffer: &mut [u8]) {
        (**self).random(buffer);
    }

    async fn sleep(&self, duration: Duration) {
        (**self).sleep(duration).await;
    }

    async fn fetch(&self, request: Request) -> Result<Response, Fault> {
        (**self).fetch(request).await
    }

    async fn file(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        (**self).file(path).await
    }

    fn log_error(&self, line: &str) {
        (**self).log_error(line);
    }

    async fn unsealed(&self) {
        (**self).unsealed().await;
    }
}

/// Everything that a platform lends to the service.
pub trait Platform: World + 'static {
    /// Whether clients can show a certificate in the handshake of their connection.
    const HANDSHAKES: bool = true;
    /// Whether it hands out logs as streams.
    const LOG_STREAMS: bool = true;
    /// Whether an instance's memory lasts from one request to the next. If not, copies are the only cache, and
    /// nothing is counted.
    const MEMORY: bool = true;

    /// The key store of the platform itself: files, memory, a database.
    type Store: Store;
    /// Fast symmetric primitives, or the service's own.
    type Crypto: Crypto;
    /// A request's body that has not arrived yet.
    type Body: Body;

    /// The key store.
    fn store(&self) -> &Self::Store;

    /// The primitives behind every key.
    fn crypto(&self) -> &Self::Crypto;

    /// Whether a signature is that of the message by this key: see [`PublicKey::verifies`], which is what there is
    /// where the platform has nothing faster.
    fn verifies(
        &self,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> impl Future<Output = bool> {
        std::future::ready(key.verifies(self.crypto(), message, signature))
    }

    /// Makes every instance of the service forget the key: done when no cache holds it any more,
    /// and no read that has begun will put it into one.
    fn invalidate(&self, name: &Name) -> impl Future<Output = ()>;

    /// A key that another instance of the service has in its cache ([`Service::kept`]): its stored form, and
    /// when it was read. Of several the one that was read last.
    ///
    /// [`Service::kept`]: crate::service::Service::kept
    fn kept(&self, name: &Name) -> impl Future<Output = Option<(Zeroizing<Vec<u8>>, Time)>> {
        let _ = name;
        std::future::ready(None)
    }

    /// Where the platform keeps sealed copies of keys, if the memory of an instance does not last, or not always.
    fn copies(&self) -> Option<&impl Copies> {
        None::<&Infallible>
    }

    /// Remembers a signed request as long as it lives: whether every instance that clients reach by the same
    /// name sees no other with this nonce is the platform's promise.
    ///
    /// # Errors
    /// It was seen before or is too old by now, or can't be remembered.
    fn remember(
        &self,
        identity: Identity,
        nonce: Nonce,
        lives: Lifetime,
    ) -> impl Future<Output = Result<(), Replay>>;

    /// Whether an authority that the configuration trusts has issued the first certificate (DER), by way of
    /// the others, for a client and for now. It is asked only while `tls.auth` is on.
    fn trusts(&self, certificates: &[Vec<u8>]) -> bool;

    /// Adds this instance's figures to those of all instances and gives the sums
    /// (see [`crate::metrics`] for what the numbers are).
    fn totals(&self, figures: Vec<u64>) -> impl Future<Output = Vec<u64>>;

    /// The machine and the process under the service.
    fn system(&self) -> System;

    /// Takes an audit record: for the audit log, if the configuration wants one, and for whoever reads
    /// it as a stream.
    fn audit(&self, record: &audit::Record<'_>);
}

/// The part of a request's body that the service has not seen.
pub trait Body {
    /// Reads the whole body, unless it is longer than `limit` bytes.
    fn read(self, limit: usize) -> impl Future<Output = Result<Vec<u8>, BodyError>>;
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is longer than the route allows.
    TooLarge,
    /// The client stopped sending it.
    Broken,
}

/// The machine and the process, as `/v1/status` and `/v1/metrics` show them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// The build's version control revision, or `unknown`.
    pub commit: String,
    /// The operating system, as Go names it (`linux`).
    pub os: String,
    /// The processor, as Go names it (`amd64`).
    pub arch: String,
    /// When the process started serving.
    pub started: Time,
    /// Logical processors of the machine.
    pub cpus: u32,
    /// Logical processors that the process may use.
    pub usable_cpus: u32,
    /// Threads of the process.
    pub threads: u32,
    /// Bytes of memory in use, stacks left out.
    pub heap: u64,
    /// Bytes of memory used by stacks.
    pub stack: u64,
}
