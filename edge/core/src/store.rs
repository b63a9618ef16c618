//! Where keys are kept: names with their stored form, an opaque text.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;

use zeroize::Zeroizing;

use crate::name::Name;

pub mod remote;
pub mod vault;

/// A key store. Every store shows the same behaviour, whatever is behind it.
pub trait Store {
    /// Stores `value` under `name` if nothing is there, else [`StoreError::Exists`].
    /// Of racing creates exactly one succeeds.
    fn create(&self, name: &Name, value: &[u8]) -> impl Future<Output = Result<(), StoreError>>;

    /// The value under `name`, else [`StoreError::NotFound`].
    fn get(&self, name: &Name) -> impl Future<Output = Result<Zeroizing<Vec<u8>>, StoreError>>;

    /// Removes what is under `name`, else [`StoreError::NotFound`].
    fn delete(&self, name: &Name) -> impl Future<Output = Result<(), StoreError>>;

    /// At most `limit` names that start with `prefix` and come after `after`, in byte order.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<String>, StoreError>>;

    /// Whether the store answers.
    fn status(&self) -> impl Future<Output = Result<(), StoreError>>;

    /// Whether the store lets the service do what it has to do with keys, as far as that shows without
    /// changing any: for the operator, at start.
    fn check(&self) -> impl Future<Output = Result<(), StoreError>> {
        std::future::ready(Ok(()))
    }

    /// Whether the store writes itself into the error log that it is away, and that it is back: then
    /// nobody else says it for each request.
    fn logs_outages(&self) -> bool {
        false
    }

    /// The store, if the service has it to itself: nobody can seal again from outside what is there, so the service
    /// does as it reads.
    fn renewing(&self) -> Option<&impl Renew> {
        None::<&Infallible>
    }
}

/// A store in which a value can be replaced if it is still there.
pub trait Renew {
    /// Puts `value` in the place of `old`, else [`StoreError::Changed`] if something else is under the name or
    /// nothing any more.
    fn replace(
        &self,
        name: &Name,
        old: &[u8],
        value: &[u8],
    ) -> impl Future<Output = Result<(), StoreError>>;
}

/// For stores that others reach as well.
impl Renew for Infallible {
    async fn replace(&self, _: &Name, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        match *self {}
    }
}

/// A store in which a value can be replaced by another one, without a moment in which the key is gone.
pub trait Rewrite: Store {
    /// The value under `name` and its version, else [`StoreError::NotFound`].
    fn read(&self, name: &Name) -> impl Future<Output = Result<Versioned, StoreError>>;

    /// Puts `value` in the place of the one that has this version, and leaves nothing of that one; else
    /// [`StoreError::Changed`], or [`StoreError::NotFound`] if nothing is there any more.
    ///
    /// After any other error the new value may be there, and something left of the old one:
    /// [`Rewrite::tidy`].
    fn replace(
        &self,
        name: &Name,
        value: &[u8],
        version: &Version,
    ) -> impl Future<Output = Result<(), StoreError>>;

    /// Leaves nothing of values older than the one that has this version, else [`StoreError::Changed`] or
    /// [`StoreError::NotFound`] as a replace: there are such only where a replace was interrupted.
    fn tidy(&self, name: &Name, version: &Version) -> impl Future<Output = Result<(), StoreError>>;
}

/// A value as it was at some moment.
pub struct Versioned {
    /// The stored form of a key.
    pub value: Zeroizing<Vec<u8>>,
    /// Which of the values under this name it is.
    pub version: Version,
}

/// Tells one value under a name from another one; only its store can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// Why a store did not do what it was asked for.
///
/// The texts are for the log: they may name hosts and paths and never reach a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A create found something under the name.
    Exists,
    /// Nothing is under the name.
    NotFound,
    /// A replace found another value under the name than the one that it was to replace.
    Changed,
    /// The store is away: not reachable, timed out or answering 5xx.
    Unreachable(String),
    /// The store answers, but could not do this.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("the key exists"),
            Self::NotFound => f.write_str("the key does not exist"),
            Self::Changed => f.write_str("the key was replaced or created anew meanwhile"),
            Self::Unreachable(why) => write!(f, "the key store is not reachable: {why}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}
