use crate::crypto::{
    Crypto, NotAuthentic, NotSealed, chacha20_poly1305_open, chacha20_poly1305_seal, hchacha20,
};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

use super::Secret;

/// How a key encrypts. Both ciphers derive a subkey from the key and a random IV for each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-256-GCM under HMAC-SHA-256(key, IV).
    Aes256,
    /// ChaCha20-Poly1305 under HChaCha20(key, IV).
    ChaCha20,
}

impl Cipher {
    /// The name that the protocol uses (KES protocol, section 3).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::ChaCha20 => "ChaCha20",
        }
    }

    /// Encrypts the buffer in place and appends the tag.
    pub(super) fn seal(
        self,
        crypto: &dyn Crypto,
        secret: &Secret,
        salt: &Salt,
        context: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotSealed> {
        let (key, Salt { iv, nonce }) = (secret.expose(), salt);
        match self {
            Self::Aes256 => crypto.derive_and_seal(key, iv, nonce, context, buffer),
            Self::ChaCha20 => {
                let subkey = Zeroizing::new(hchacha20(key, iv));
                chacha20_poly1305_seal(&subkey, nonce, context, buffer)
            }
        }
    }

    /// Checks and removes the tag and decrypts the buffer in place.
    pub(super) fn open(
        self,
        crypto: &dyn Crypto,
        secret: &Secret,
        salt: &Salt,
        context: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<(), NotAuthentic> {
        let (key, Salt { iv, nonce }) = (secret.expose(), salt);
        match self {
            Self::Aes256 => crypto.derive_and_open(key, iv, nonce, context, buffer),
            Self::ChaCha20 => {
                let subkey = Zeroizing::new(hchacha20(key, iv));
                chacha20_poly1305_open(&subkey, nonce, context, buffer)
            }
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no cipher of this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedCipher {
    /// The name asked for.
    pub name: Box<str>,
}

/// The message that clients compare (KES protocol, section 3).
impl fmt::Display for UnsupportedCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "algorithm '{}' is not supported", self.name)
    }
}

impl std::error::Error for UnsupportedCipher {}

impl FromStr for Cipher {
    type Err = UnsupportedCipher;

    fn from_str(name: &str) -> Result<Self, UnsupportedCipher> {
        match name {
            "AES256" | "AES256-GCM_SHA256" => Ok(Self::Aes256),
            "ChaCha20" | "XCHACHA20-POLY1305" => Ok(Self::ChaCha20),
            _ => Err(UnsupportedCipher { name: name.into() }),
        }
    }
}

/// What makes each ciphertext of a key differ. It is public.
#[derive(Clone, Copy, Default)]
pub(super) struct Salt {
    /// What the subkey is derived from.
    pub iv: [u8; 16],
    /// The cipher's nonce.
    pub nonce: [u8; 12],
}

impl Salt {
    /// Bytes of the IV and the nonce together.
    pub const LENGTH: usize = 28;

    /// A new salt.
    pub fn random(random: &mut crate::crypto::Random<'_>) -> Self {
        let mut salt = Self::default();
        random(&mut salt.iv);
        random(&mut salt.nonce);
        salt
    }
}
