//! Keys, what they encrypt, and their stored form: the one module that sees key bytes.
//!
//! A [`Key`] gives away its metadata and does its work; its bytes leave it only as the value for
//! the key store, [`Key::to_stored`].

mod cipher;
mod ciphertext;
mod secret;
mod stored;
#[cfg(test)]
mod tests;

pub use cipher::{Cipher, UnsupportedCipher};
pub use secret::Secret;
pub use stored::{CorruptKey, MAX_CREATED_BY};

use crate::crypto::{Crypto, NotAuthentic, NotSealed, Random};
use crate::identity::Identity;
use cipher::Salt;
use ciphertext::{Ciphertext, OVERHEAD};
use jiff::Timestamp;
use std::fmt;
use zeroize::Zeroizing;

/// The creation time of a key that was stored without one: the year 1, as KES shows it.
pub const UNKNOWN_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// A key encryption key with the key for HMAC that belongs to it.
pub struct Key {
    cipher: Cipher,
    secret: Secret,
    /// Keys of old versions have none.
    hmac_secret: Option<Secret>,
    created_at: Timestamp,
    created_by: Option<Box<str>>,
}

/// A data encryption key, which its owner uses and forgets, and its ciphertext, which is kept.
pub struct DataKey {
    /// The key.
    pub plaintext: Secret,
    /// The key under the key encryption key.
    pub ciphertext: Vec<u8>,
}

impl Key {
    /// A new random key for AES-256, with a random key for HMAC.
    ///
    /// `created_by` is `None` for keys that the service creates of its own accord.
    pub fn create(
        random: &mut Random<'_>,
        created_at: Timestamp,
        created_by: Option<Identity>,
    ) -> Self {
        let secret = Secret::random(random);
        Self::new(Cipher::Aes256, secret, random, created_at, created_by)
    }

    /// A key of these 32 bytes, with a random key for HMAC. Wiping `bytes` is up to the caller.
    pub fn import(
        bytes: &[u8],
        cipher: Cipher,
        random: &mut Random<'_>,
        created_at: Timestamp,
        created_by: Option<Identity>,
    ) -> Result<Self, InvalidKeySize> {
        let secret = Secret::copy_of(bytes).ok_or(InvalidKeySize { cipher })?;
        Ok(Self::new(cipher, secret, random, created_at, created_by))
    }

    fn new(
        cipher: Cipher,
        secret: Secret,
        random: &mut Random<'_>,
        created_at: Timestamp,
        created_by: Option<Identity>,
    ) -> Self {
        Self {
            cipher,
            secret,
            hmac_secret: Some(Secret::random(random)),
            created_at,
            created_by: created_by.map(|identity| identity.to_string().into()),
        }
    }

    /// The key in a value of the key store: of today's form or the JSON of old versions.
    pub fn from_stored(value: &[u8]) -> Result<Self, CorruptKey> {
        stored::read(value)
    }

    /// The value for the key store, the same as KES writes: base64 of a protobuf message.
    ///
    /// KES itself can't read a value without an HMAC key in this form. Only keys of old versions
    /// have none, so keep their stored value as it is.
    pub fn to_stored(&self) -> Zeroizing<String> {
        stored::write(self)
    }

    /// The cipher.
    pub const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// When the key was created, or [`UNKNOWN_TIME`]. It prints as RFC 3339 in UTC, with up to
    /// nine digits of a second's fraction.
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// Who created the key, if that is known: an [`Identity`], unless another program wrote
    /// something else.
    pub fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    /// Encrypts the plaintext, bound to the context, 44 bytes longer than it was.
    pub fn encrypt(
        &self,
        crypto: &dyn Crypto,
        random: &mut Random<'_>,
        plaintext: &[u8],
        context: &[u8],
    ) -> Result<Vec<u8>, NotSealed> {
        let salt = Salt::random(random);
        let mut buffer = Vec::with_capacity(plaintext.len() + OVERHEAD);
        buffer.extend_from_slice(plaintext);
        self.cipher
            .seal(crypto, &self.secret, &salt, context, &mut buffer)?;
        buffer.extend_from_slice(&salt.iv);
        buffer.extend_from_slice(&salt.nonce);
        Ok(buffer)
    }

    /// Decrypts a ciphertext of any form (KES protocol, section 6) under the context that it was
    /// encrypted with. One that names another cipher than the key's is not authentic.
    pub fn decrypt(
        &self,
        crypto: &dyn Crypto,
        ciphertext: &[u8],
        context: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let Ciphertext {
            cipher,
            salt,
            sealed: mut buffer,
        } = Ciphertext::parse(ciphertext).ok_or(NotAuthentic)?;
        if cipher.is_some_and(|cipher| cipher != self.cipher) {
            return Err(NotAuthentic);
        }
        self.cipher
            .open(crypto, &self.secret, &salt, context, &mut buffer)?;
        Ok(buffer)
    }

    /// A new random data encryption key, encrypted under this key and bound to the context.
    pub fn generate(
        &self,
        crypto: &dyn Crypto,
        random: &mut Random<'_>,
        context: &[u8],
    ) -> Result<DataKey, NotSealed> {
        let plaintext = Secret::random(random);
        let ciphertext = self.encrypt(crypto, random, plaintext.expose(), context)?;
        Ok(DataKey {
            plaintext,
            ciphertext,
        })
    }

    /// HMAC-SHA-256 of the message under the key's own key for HMAC.
    pub fn hmac(&self, crypto: &dyn Crypto, message: &[u8]) -> Result<[u8; 32], NoHmacKey> {
        let secret = self.hmac_secret.as_ref().ok_or(NoHmacKey)?;
        Ok(crypto.hmac_sha256(secret.expose(), message))
    }
}

/// The bytes given as a key are not 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeySize {
    /// The cipher that the key was to be for.
    pub cipher: Cipher,
}

/// The message that clients compare (KES protocol, section 3).
impl fmt::Display for InvalidKeySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid key size for '{}'", self.cipher)
    }
}

impl std::error::Error for InvalidKeySize {}

/// The key was made by an old version, which gave keys no key for HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHmacKey;

/// The message that clients compare (KES protocol, section 3).
impl fmt::Display for NoHmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key does not support HMAC")
    }
}

impl std::error::Error for NoHmacKey {}
