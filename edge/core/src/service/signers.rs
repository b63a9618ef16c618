//! The keys of clients who sign.

use std::cell::RefCell;
use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use crate::auth::public_key::PublicKey;
use crate::identity::Identity;

/// Keys by their `keyid`. To read one takes as long as all else of a signature, but for its verification.
///
/// Only those of identities with rights are kept, so their number is bounded by the configuration.
#[derive(Default)]
pub struct Signers(RefCell<HashMap<String, (PublicKey, Identity), FxBuildHasher>>);

impl Signers {
    /// The key that a `keyid` names, and whose it is; `None` if it names none.
    pub fn key(
        &self,
        key_id: &str,
        has_rights: impl FnOnce(&Identity) -> bool,
    ) -> Option<(PublicKey, Identity)> {
        if let Some(known) = self.0.borrow().get(key_id) {
            return Some(known.clone());
        }
        let (key, identity) = PublicKey::from_key_id(key_id)?;
        if has_rights(&identity) {
            let known = (key.clone(), identity);
            self.0.borrow_mut().insert(key_id.to_owned(), known);
        }
        Some((key, identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_key::ApiKey;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn keys_without_rights_are_read_and_not_kept() {
        let signers = Signers::default();
        let api_key = ApiKey::from_seed(&[7; 32]);
        let key_id = STANDARD.encode(api_key.public_key());
        for (has_rights, kept) in [(false, 0), (true, 1), (false, 1)] {
            let (_, identity) = signers.key(&key_id, |_| has_rights).unwrap();
            assert_eq!(identity, api_key.identity());
            assert_eq!(signers.0.borrow().len(), kept);
        }
        assert!(signers.key("AAAA", |_| true).is_none());
    }
}
