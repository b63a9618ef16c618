//! The primitives that the host lends.

use sealedge_core::crypto::{Crypto, NotAuthentic, NotSealed, TAG_LENGTH};
use sealedge_core::words::{bytes, words};
use zeroize::{Zeroize, Zeroizing};

use crate::wit::bindings::sealedge::edge::crypto;

/// The host's primitives.
pub struct LentCrypto;

impl Crypto for LentCrypto {
    fn hmac_sha256(&self, key: &[u8; 32], message: &[u8]) -> [u8; 32] {
        let (a, b, c, d) = crypto::hmac_sha256(key, message);
        bytes(&[a, b, c, d])
    }

    fn aes256_gcm_seal(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed> {
        let sealed = crypto::aes256_gcm_seal(key, nonce, aad, buffer);
        replace(buffer, &sealed);
        Ok(())
    }

    fn aes256_gcm_open(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        opened(crypto::aes256_gcm_open(key, nonce, aad, buffer), buffer)
    }

    fn ed25519_verifies(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        crypto::ed25519_verifies(key, message, signature)
    }

    fn p256_verifies(&self, key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        crypto::p256_verifies(key, message, signature)
    }

    fn derive_and_seal(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed> {
        if buffer.len() == DEK {
            let (iv, nonce) = (words::<2>(iv).into(), words::<2>(nonce).into());
            let (a, b, c, d, e, f) = crypto::derive_and_seal_dek(key, iv, nonce, aad, buffer);
            replace(buffer, &bytes::<{ DEK + TAG_LENGTH }>(&[a, b, c, d, e, f]));
        } else {
            let sealed = crypto::derive_and_seal(key, iv, nonce, aad, buffer);
            replace(buffer, &sealed);
        }
        Ok(())
    }

    fn derive_and_open(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        opened(crypto::derive_and_open(key, iv, nonce, aad, buffer), buffer)
    }
}

/// Bytes of a DEK as the service generates them.
const DEK: usize = 32;

/// Puts an outcome into the buffer, which has room for what was appended.
fn replace(buffer: &mut Vec<u8>, outcome: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(outcome);
}

fn opened(plaintext: Option<Vec<u8>>, buffer: &mut Vec<u8>) -> Result<(), NotAuthentic> {
    let plaintext = plaintext.map(Zeroizing::new);
    buffer.zeroize();
    buffer.extend_from_slice(&plaintext.ok_or(NotAuthentic)?);
    Ok(())
}
