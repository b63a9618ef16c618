//! What the host lends, as plain Rust.

use std::time::Duration;

use sealedge_core::crypto::Crypto;
use sealedge_core::platform::{BodyError, System};
use sealedge_core::store::StoreError;
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
    /// A line for the audit log, with its line's end.
    fn audit(&self, line: &[u8]);
    /// A line for the error log.
    fn error(&self, message: &str);
    /// The machine and the process.
    fn system(&self) -> System;
}

/// What the door can ask of the host.
#[derive(Clone, Copy)]
pub enum Operation<'a> {
    /// Stores a value under a name that is free.
    StoreCreate {
        /// The key's name.
        name: &'a str,
        /// Its stored form.
        value: &'a [u8],
    },
    /// Reads what is under a name.
    StoreGet(&'a str),
    /// Removes what is under a name.
    StoreDelete(&'a str),
    /// Lists names in byte order.
    StoreList {
        /// What they begin with.
        prefix: &'a str,
        /// After which name the list begins.
        after: Option<&'a str>,
        /// How many there may be.
        limit: u32,
    },
    /// Asks whether the store answers.
    StoreStatus,
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
}

/// How an operation ended.
pub enum Outcome {
    /// It is done, and there is nothing to tell.
    Done,
    /// A stored value or a body.
    Value(Zeroizing<Vec<u8>>),
    /// Names.
    Names(Vec<String>),
    /// Counters.
    Numbers(Vec<u64>),
    /// The store did not do it.
    Store(StoreError),
    /// The body is not to be had.
    Body(BodyError),
}
