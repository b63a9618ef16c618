//! Whose the bearer keys are.

use std::cell::RefCell;
use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use sha2::{Digest, Sha256};

use crate::api_key::{ApiKey, NotAnApiKey};
use crate::identity::Identity;

/// Identities by the hash of their API key: to work one out takes a multiplication on the curve.
///
/// Only those with rights are kept, so their number is bounded by the configuration; and no key is.
#[derive(Default)]
pub struct Bearers(RefCell<HashMap<[u8; 32], Identity, FxBuildHasher>>);

impl Bearers {
    /// Whose API key a token is.
    ///
    /// # Errors
    /// It is none.
    pub fn identity(
        &self,
        token: &str,
        has_rights: impl FnOnce(&Identity) -> bool,
    ) -> Result<Identity, NotAnApiKey> {
        let hash = Sha256::digest(token).into();
        if let Some(known) = self.0.borrow().get(&hash) {
            return Ok(*known);
        }
        let identity = token.parse::<ApiKey>()?.identity();
        if has_rights(&identity) {
            self.0.borrow_mut().insert(hash, identity);
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_rights_are_read_and_not_kept() {
        let bearers = Bearers::default();
        let key = ApiKey::from_seed(&[7; 32]);
        for (has_rights, kept) in [(false, 0), (true, 1), (false, 1)] {
            let identity = bearers.identity(&key.to_text(), |_| has_rights);
            assert_eq!(identity, Ok(key.identity()));
            assert_eq!(bearers.0.borrow().len(), kept);
        }
        assert!(bearers.identity("kes:v1:AAAA", |_| true).is_err());
        assert_eq!(bearers.0.borrow().len(), 1);
    }
}
