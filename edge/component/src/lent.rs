//! What the host lends, as plain Rust.

use std::time::Duration;

use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::crypto::Crypto;
use sealedge_core::outgoing::{Request, Response};
use sealedge_core::platform::System;
use zeroize::Zeroizing;

/// The host, seen from the door.
pub trait Lent: 'static {
    /// The primitives that it lends.
    type Crypto: Crypto;

    /// The primitives that it lends.
    fn crypto(&self) -> &Self::Crypto;
    /// Nanoseconds since the Unix epoch.
    fn now(&self) -> u64;
    /// Bytes from a secure generator.
    fn random(&self, length: usize) -> Vec<u8>;
    /// Begins an operation, whose outcome comes by [`crate::door::Door::resume`].
    fn begin(&self, io: u64, operation: Operation<'_>);
    /// Nobody waits for the operation any more.
    fn cancel(&self, io: u64);
    /// Remembers a signed request for all instances.
    ///
    /// # Errors
    /// It was seen before or is too old by now, or there is no room for it.
    fn remember(&self, identity: &[u8; 32], nonce: &Nonce, lives: Lifetime) -> Result<(), Replay>;
    /// Whether an authority of the configuration has issued the first of these certificates.
    fn trusts(&self, certificates: &[Vec<u8>]) -> bool;
    /// A line for the audit log, with its line's end.
    fn audit(&self, line: &[u8]);
    /// A line for the error log.
    fn error(&self, message: &str);
    /// The machine and the process.
    fn system(&self) -> System;
}

/// What the door can ask of the host.
pub enum Operation<'a> {
    /// Of the key store, wherever it is.
    Store(StoreOperation),
    /// Waits.
    Sleep(Duration),
    /// Calls [`crate::door::Door::forget`] in every instance.
    Invalidate(&'a str),
    /// Adds counters to those of all instances, whose sums are the outcome.
    Totals(&'a [u64]),
    /// Reads a call's body.
    ReadBody {
        /// The call.
        call: u64,
        /// The most bytes that it may have.
        limit: u32,
    },
    /// Sends a request to a server elsewhere.
    Fetch(Request),
    /// Reads a file.
    ReadFile(&'a str),
    /// Calls [`crate::door::Door::prepare`] in every instance.
    Prepare,
    /// Calls [`crate::door::Door::kept`] in the other instances.
    Kept(&'a str),
}

/// What a key store can do.
pub enum StoreOperation {
    /// Stores a value under a name that is free.
    Create {
        /// The key's name.
        name: String,
        /// Its stored form.
        value: Vec<u8>,
    },
    /// Reads what is under a name.
    Get(String),
    /// Removes what is under a name.
    Delete(String),
    /// Lists names in byte order.
    List {
        /// What they begin with.
        prefix: String,
        /// After which name the list begins.
        after: Option<String>,
        /// How many there may be.
        limit: u32,
    },
    /// Asks whether the store answers.
    Status,
    /// Asks whether it lets the service do what it has to.
    Check,
}

/// How an operation ended.
pub enum Outcome {
    /// It is done, and there is nothing to tell.
    Done,
    /// A stored value, a body or a file.
    Value(Zeroizing<Vec<u8>>),
    /// Names.
    Names(Vec<String>),
    /// Counters.
    Numbers(Vec<u64>),
    /// The answer of a server elsewhere.
    Answer(Response),
    /// A key of another instance.
    Kept(KeptKey),
    /// It is not done.
    Failed(Failure),
}

/// A key from a cache.
pub struct KeptKey {
    /// Its stored form, not sealed.
    pub value: Zeroizing<Vec<u8>>,
    /// When it was read from the key store, in nanoseconds since the Unix epoch.
    pub read_at: u64,
}

/// Why an operation is not done.
pub enum Failure {
    /// A create found something under the name.
    Exists,
    /// The store has nothing under the name.
    NotFound,
    /// The store or the server is away, and why.
    Unreachable(String),
    /// The store answers, but could not do it, and why; there is no such file.
    Failed(String),
    /// The server did not answer in time.
    TimedOut,
    /// The body has more bytes than it may.
    TooLarge,
    /// The client stopped sending its body.
    Broken,
}
