//! Where keys are kept: names with their stored form, an opaque text.

use std::fmt;
use std::future::Future;

use zeroize::Zeroizing;

use crate::name::Name;

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
}

/// Why a store did not do what it was asked for.
///
/// The texts are for the log: they may name hosts and paths and never reach a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A create found something under the name.
    Exists,
    /// Nothing is under the name.
    NotFound,
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
            Self::Unreachable(why) => write!(f, "the key store is not reachable: {why}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}
