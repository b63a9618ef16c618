//! Where the native host keeps keys, and what it lends to the guest.
//!
//! A store keeps one opaque value for each name and never overwrites one. Its calls block: the server makes
//! them on threads where blocking is allowed.
#![forbid(unsafe_code)]

mod error;
#[cfg(feature = "faults")]
pub mod faults;
mod fs;
mod mem;
#[cfg(test)]
mod tests;

pub use error::{Operation, Reason, StoreError};
pub use fs::FsStore;
pub use mem::MemStore;

use sealedge_core::name::Name;
use zeroize::Zeroizing;

/// The longest value that a store takes or gives, in bytes (1 MiB, as in KES).
pub const MAX_VALUE: usize = 1 << 20;

/// A place that keeps the stored form of keys by name. The stored form is opaque to it.
pub trait KeyStore: Send + Sync {
    /// Keeps `value` under `name` unless the name is taken. Of racing creates exactly one succeeds.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken. After any other error the key may be there or not,
    /// but never in part.
    fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError>;

    /// The value kept under `name`, at most [`MAX_VALUE`] bytes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError>;

    /// Forgets `name` and its value.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    fn delete(&self, name: &Name) -> Result<(), StoreError>;

    /// The first `limit` names that start with `prefix` and are greater than `after`, in bytewise order.
    /// A walk over all names gives the last one of each page as `after` of the next.
    ///
    /// # Errors
    /// Those of the store; an empty page is none.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError>;

    /// Whether the store can be used.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when no request reaches it, [`StoreError::Failed`] when it answers with errors.
    fn status(&self) -> Result<(), StoreError>;
}
