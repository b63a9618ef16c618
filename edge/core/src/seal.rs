//! Sealed records: values of a key store that only chosen nodes can open, and nobody can plant.
//!
//! A record is encrypted once, its content key is wrapped for each [`Recipient`], and all of it is
//! signed by the [`NodeIdentity`] that made it. `docs/sealed-record.md` specifies every byte.

pub mod cache;
mod error;
mod format;
mod hpke;
mod identity;
mod record;
pub(crate) mod signature;
#[cfg(test)]
mod tests;

pub use error::{CannotOpen, CannotSeal};
pub use identity::{Fingerprint, InvalidText, NodeIdentity, Recipient, WrittenIdentity};
pub use record::{Header, MAX_PLAINTEXT, MAX_RECIPIENTS, Opened, is_sealed, open, seal};
