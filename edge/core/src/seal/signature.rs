//! ECDSA on P-256 with SHA-256 (FIPS 186-5), deterministic (RFC 6979), as `r || s` with a low `s`.
//!
//! Of the two signatures that anyone can make of one, `(r, s)` and `(r, n - s)`, only the one with
//! the lower `s` is taken: a record can't be turned into another valid one without the key.

use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};

/// Nothing if the message can't be signed, which the algorithm has no reason for.
pub(super) fn sign(key: &SigningKey, message: &[u8]) -> Option<[u8; 64]> {
    let signature: Signature = key.try_sign(message).ok()?;
    Some(signature.normalize_s().to_bytes().into())
}

pub(crate) fn is_valid(signature: &[u8], key: &VerifyingKey, message: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| {
        signature == signature.normalize_s() && key.verify(message, &signature).is_ok()
    })
}
