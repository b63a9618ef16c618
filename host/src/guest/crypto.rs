//! The primitives that the host lends, at the speed of the machine.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac::{self, HMAC_SHA256};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use sealedge_core::crypto::{Crypto, NotAuthentic, NotSealed, RustCrypto};
use zeroize::Zeroize;

/// The primitives by ring, but for one.
#[derive(Clone, Copy)]
pub struct RingCrypto;

impl Crypto for RingCrypto {
    fn hmac_sha256(&self, key: &[u8; 32], message: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, key), message);
        let mut sum = [0; 32];
        for (to, from) in sum.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        sum
    }

    fn aes256_gcm_seal(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let sealed = aes_key(key).ok_or(NotSealed).and_then(|key| {
            key.seal_in_place_append_tag(nonce, Aad::from(aad), buffer)
                .map_err(|_| NotSealed)
        });
        if sealed.is_err() {
            buffer.zeroize();
        }
        sealed
    }

    fn aes256_gcm_open(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = aes_key(key).and_then(|key| {
            key.open_in_place(nonce, Aad::from(aad), buffer)
                .ok()
                .map(|plain| plain.len())
        });
        match opened {
            Some(length) => {
                buffer.truncate(length);
                Ok(())
            }
            None => {
                buffer.zeroize();
                Err(NotAuthentic)
            }
        }
    }

    fn ed25519_verifies(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        // Measured: ring takes a third more than dalek's vectors (AVX2, where there is that).
        RustCrypto.ed25519_verifies(key, message, signature)
    }

    fn p256_verifies(&self, key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
        key.verify(message, signature).is_ok()
    }
}

/// The key; 32 bytes are always one.
fn aes_key(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key)
        .ok()
        .map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ring_gives_the_same_answers_as_the_core() {
        sealedge_core::crypto::conformance::check(&super::RingCrypto);
    }
}
