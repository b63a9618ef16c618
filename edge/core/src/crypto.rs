//! The cryptographic primitives: those that a platform may lend, and our own fallback.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use chacha20::{R20, hchacha};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(test)]
mod wycheproof;

/// Bytes of the tag that both ciphers append.
pub const TAG_LENGTH: usize = 16;

/// The platform's source of randomness: fills the whole slice with unpredictable bytes.
///
/// A platform whose source fails must not return: keys made of what it left would be known.
pub type Random<'a> = dyn FnMut(&mut [u8]) + 'a;

/// The primitives that a platform may lend because it has them faster, in hardware.
///
/// `conformance::check` (feature `conformance`) proves that an implementation is right.
pub trait Crypto {
    /// HMAC-SHA-256 of the message (RFC 2104, FIPS 180-4).
    fn hmac_sha256(&self, key: &[u8; 32], message: &[u8]) -> [u8; 32];

    /// AES-256-GCM (NIST SP 800-38D): encrypts the buffer in place and appends the 16-byte tag.
    ///
    /// Within the buffer's capacity it does not reallocate, so that no plaintext is left behind.
    /// If it fails, the buffer is wiped and empty.
    fn aes256_gcm_seal(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed>;

    /// AES-256-GCM (NIST SP 800-38D): checks and removes the 16-byte tag at the buffer's end
    /// and decrypts the rest in place.
    ///
    /// It does not reallocate. If it fails, the buffer is wiped and empty.
    fn aes256_gcm_open(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic>;

    /// Whether an Ed25519 signature is that of the message by this key (RFC 8032, 5.1.7).
    fn ed25519_verifies(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;

    /// Whether an ECDSA signature over P-256 with SHA-256, as `r || s`, is that of the message by this key,
    /// a point that is not compressed (FIPS 186-5, 6.4.2).
    fn p256_verifies(&self, key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool;

    /// [`Crypto::aes256_gcm_seal`] under HMAC-SHA-256(key, IV): one call, for platforms on which
    /// each costs something.
    fn derive_and_seal(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed> {
        let subkey = Zeroizing::new(self.hmac_sha256(key, iv));
        self.aes256_gcm_seal(&subkey, nonce, aad, buffer)
    }

    /// [`Crypto::aes256_gcm_open`] under HMAC-SHA-256(key, IV).
    fn derive_and_open(
        &self,
        key: &[u8; 32],
        iv: &[u8; 16],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        let subkey = Zeroizing::new(self.hmac_sha256(key, iv));
        self.aes256_gcm_open(&subkey, nonce, aad, buffer)
    }
}

/// The ciphertext, its context or its key is not the one that it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

impl fmt::Display for NotAuthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ciphertext is not authentic: send it unchanged, with its key and context")
    }
}

impl std::error::Error for NotAuthentic {}

/// The cipher refused the plaintext: it or its context is longer than the cipher allows
/// (2^36 - 32 bytes, NIST SP 800-38D, 5.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSealed;

impl fmt::Display for NotSealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the plaintext is too long for its cipher: encrypt it in parts")
    }
}

impl std::error::Error for NotSealed {}

/// The primitives in portable Rust, for platforms that lend none.
#[derive(Clone, Copy, Debug, Default)]
pub struct RustCrypto;

impl Crypto for RustCrypto {
    fn hmac_sha256(&self, key: &[u8; 32], message: &[u8]) -> [u8; 32] {
        // A key shorter than a block is filled up with zeros (RFC 2104, section 2).
        let mut block = Zeroizing::new([0; 64]);
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn aes256_gcm_seal(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed> {
        seal(&Aes256Gcm::new(key.into()), nonce, aad, buffer)
    }

    fn aes256_gcm_open(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 12],
        aad: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        open(&Aes256Gcm::new(key.into()), nonce, aad, buffer)
    }

    fn ed25519_verifies(&self, key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        use ed25519_dalek::{Verifier, VerifyingKey};

        // A key of small order has signatures that are genuine for many messages. What a strict verification
        // asks beside that, of the signature's point, costs a tenth of it and refuses none that can be forged.
        VerifyingKey::from_bytes(key)
            .is_ok_and(|key| !key.is_weak() && key.verify(message, &signature.into()).is_ok())
    }

    fn p256_verifies(&self, key: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
        use p256::ecdsa::signature::Verifier;
        use p256::ecdsa::{Signature, VerifyingKey};

        let key = VerifyingKey::from_sec1_bytes(key);
        let signature = Signature::from_slice(signature);
        let both = key.ok().zip(signature.ok());
        both.is_some_and(|(key, signature)| key.verify(message, &signature).is_ok())
    }
}

/// HChaCha20: a subkey from a key and 16 bytes (draft-irtf-cfrg-xchacha-03, 2.2).
pub(crate) fn hchacha20(key: &[u8; 32], input: &[u8; 16]) -> [u8; 32] {
    hchacha::<R20>(key.into(), input.into()).into()
}

/// ChaCha20-Poly1305 (RFC 8439), in all else like [`Crypto::aes256_gcm_seal`].
pub(crate) fn chacha20_poly1305_seal(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), NotSealed> {
    seal(&ChaCha20Poly1305::new(key.into()), nonce, aad, buffer)
}

/// ChaCha20-Poly1305 (RFC 8439), in all else like [`Crypto::aes256_gcm_open`].
pub(crate) fn chacha20_poly1305_open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), NotAuthentic> {
    open(&ChaCha20Poly1305::new(key.into()), nonce, aad, buffer)
}

fn seal<A: AeadInOut<NonceSize = NonceSize>>(
    cipher: &A,
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), NotSealed> {
    let nonce: &Nonce<NonceSize> = nonce.into();
    if cipher.encrypt_in_place(nonce, aad, buffer).is_err() {
        buffer.zeroize();
        return Err(NotSealed);
    }
    Ok(())
}

fn open<A: AeadInOut<NonceSize = NonceSize>>(
    cipher: &A,
    nonce: &[u8; 12],
    aad: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<(), NotAuthentic> {
    let nonce: &Nonce<NonceSize> = nonce.into();
    if cipher.decrypt_in_place(nonce, aad, buffer).is_err() {
        buffer.zeroize();
        return Err(NotAuthentic);
    }
    Ok(())
}

/// Both ciphers take nonces of 12 bytes.
type NonceSize = aes_gcm::aead::consts::U12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_primitives_conform() {
        conformance::check(&RustCrypto);
    }

    /// draft-irtf-cfrg-xchacha-03, 2.2.1.
    #[test]
    fn hchacha20_of_the_draft() {
        let key = std::array::from_fn(|at| at as u8);
        let input = [
            0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0, 0x31, 0x41, 0x59, 0x27,
        ];
        assert_eq!(
            hchacha20(&key, &input).as_slice(),
            conformance::hex("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc")
        );
    }
}
