//! API keys: an Ed25519 key pair as one line of text.
//!
//! `kes:v1:` and the padded base64 of a zero byte (the kind: Ed25519) and the 32-byte seed
//! (RFC 8032, 5.1.5). A client turns it into a self-signed certificate; the server sees only
//! the public key, whose hash is the [`Identity`].

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::{self, EncodePrivateKey, KeypairBytes, SecretDocument};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use crate::identity::Identity;

const PREFIX: &str = "kes:v1:";
const KIND_ED25519: u8 = 0;
const SEED_LENGTH: usize = 32;
const DECODED_LENGTH: usize = 1 + SEED_LENGTH;
const BASE64_LENGTH: usize = DECODED_LENGTH.div_ceil(3) * 4;

/// The DER of an Ed25519 SubjectPublicKeyInfo up to the key itself (RFC 8410, 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A client's credential. It wipes itself and is never shown by accident: only
/// [`ApiKey::to_text`] and [`ApiKey::to_pkcs8`] hand the secret out.
pub struct ApiKey(SigningKey);

impl ApiKey {
    /// The API key with this seed. A new key's seed is 32 bytes from a cryptographic random source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The key as text, `kes:v1:…`.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([KIND_ED25519; DECODED_LENGTH]);
        for (to, from) in bytes.iter_mut().skip(1).zip(self.0.as_bytes()) {
            *to = *from;
        }
        // The whole capacity at once, so that no shorter buffer is left behind unwiped.
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + BASE64_LENGTH));
        text.push_str(PREFIX);
        STANDARD.encode_string(*bytes, &mut text);
        text
    }

    /// The public key as a DER SubjectPublicKeyInfo (RFC 8410, 4), 44 bytes.
    pub fn public_key(&self) -> [u8; 44] {
        let mut spki = [0; 44];
        let bytes = SPKI_PREFIX
            .into_iter()
            .chain(self.0.verifying_key().to_bytes());
        for (to, from) in spki.iter_mut().zip(bytes) {
            *to = from;
        }
        spki
    }

    /// Who the server will say the holder of this key is.
    pub fn identity(&self) -> Identity {
        Identity::of_public_key(&self.public_key())
    }

    /// The key's signature of the message (RFC 8032, 5.1.6).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The private key as PKCS#8 DER (RFC 5958), for a TLS library. The document wipes itself.
    ///
    /// It is of version 1, which has no public key: OpenSSL does not read version 2.
    ///
    /// # Errors
    /// If the encoder fails; with a key of a fixed size it has no reason to.
    pub fn to_pkcs8(&self) -> Result<SecretDocument, pkcs8::Error> {
        KeypairBytes {
            secret_key: self.0.to_bytes(),
            public_key: None,
        }
        .to_pkcs8_der()
    }
}

/// Why a text is not an API key. No part of the text is kept: it may be a secret with a typing error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAnApiKey {
    /// It does not begin with `kes:v1:`.
    Prefix,
    /// What follows the prefix is not padded standard base64 of 33 bytes.
    Encoding,
    /// The first byte names a kind of key other than Ed25519.
    Kind,
}

impl fmt::Display for NotAnApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "an API key begins with `kes:v1:`",
            Self::Encoding => "an API key is `kes:v1:` and 44 characters of base64",
            Self::Kind => "the API key is of an unknown kind",
        })
    }
}

impl std::error::Error for NotAnApiKey {}

impl FromStr for ApiKey {
    type Err = NotAnApiKey;

    fn from_str(text: &str) -> Result<Self, NotAnApiKey> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotAnApiKey::Prefix)?;
        // One block more than needed: the decoder asks for whole blocks of three bytes.
        let mut bytes = Zeroizing::new([0; DECODED_LENGTH + 3]);
        let length = STANDARD
            .decode_slice(encoded, bytes.as_mut_slice())
            .map_err(|_| NotAnApiKey::Encoding)?;
        match bytes.get(..length) {
            Some([kind, seed @ ..]) if seed.len() == SEED_LENGTH => {
                let seed = seed.first_chunk().ok_or(NotAnApiKey::Encoding)?;
                if *kind == KIND_ED25519 {
                    Ok(Self::from_seed(seed))
                } else {
                    Err(NotAnApiKey::Kind)
                }
            }
            _ => Err(NotAnApiKey::Encoding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::pkcs8::spki::EncodePublicKey;
    use proptest::prelude::*;

    /// The public test pair of the KES protocol.
    const KEY: &str = "kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc";
    const IDENTITY: &str = "3ecfcdf38fcbe141ae26a1030f81e96b753365a46760ae6b578698a97c59fd22";

    fn refusal(text: &str) -> Option<NotAnApiKey> {
        text.parse::<ApiKey>().err()
    }

    #[test]
    fn the_test_pair() {
        let key: ApiKey = KEY.parse().unwrap();
        assert_eq!(key.identity().to_string(), IDENTITY);
        assert_eq!(*key.to_text(), KEY);
    }

    #[test]
    fn refusals() {
        assert_eq!(refusal(""), Some(NotAnApiKey::Prefix));
        assert_eq!(
            refusal("AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc"),
            Some(NotAnApiKey::Prefix)
        );
        assert_eq!(
            refusal("kes:v2:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc"),
            Some(NotAnApiKey::Prefix)
        );
        assert_eq!(refusal("kes:v1:"), Some(NotAnApiKey::Encoding));
        assert_eq!(
            refusal("kes:v1:AD9E7FSYWrMD-VjhI6q545cYT9YOyFxZb7UnjEepYDRc"),
            Some(NotAnApiKey::Encoding)
        );
        assert_eq!(
            refusal("kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRcAAAA"),
            Some(NotAnApiKey::Encoding)
        );
        assert_eq!(
            refusal("kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDQ="),
            Some(NotAnApiKey::Encoding)
        );
        assert_eq!(
            refusal("kes:v1:AT9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc"),
            Some(NotAnApiKey::Kind)
        );
    }

    proptest! {
        #[test]
        fn text_round_trips(seed: [u8; 32]) {
            let key = ApiKey::from_seed(&seed);
            let again: ApiKey = key.to_text().parse().unwrap();
            prop_assert_eq!(again.identity(), key.identity());
            prop_assert_eq!(again.to_text(), key.to_text());
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "(kes:v1:)?[A-Za-z0-9+/=]{0,60}|.{0,80}") {
            if let Ok(key) = text.parse::<ApiKey>() {
                prop_assert_eq!(&*key.to_text(), &text);
            }
        }

        #[test]
        fn the_public_key_is_what_the_library_encodes(seed: [u8; 32]) {
            let expected = SigningKey::from_bytes(&seed).verifying_key().to_public_key_der().unwrap();
            prop_assert_eq!(&ApiKey::from_seed(&seed).public_key()[..], expected.as_bytes());
        }

        #[test]
        fn the_private_key_comes_back(seed: [u8; 32]) {
            let document = ApiKey::from_seed(&seed).to_pkcs8().unwrap();
            let pair = pkcs8::PrivateKeyInfoRef::try_from(document.as_bytes()).unwrap();
            prop_assert!(pair.public_key.is_none());
            prop_assert_eq!(SigningKey::try_from(pair).unwrap().to_bytes(), seed);
        }
    }
}
