//! Public keys by which clients sign, and what their signatures are worth.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::crypto::Crypto;
use crate::identity::Identity;

/// A public key of a kind that clients may sign by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519 (RFC 8032).
    Ed25519([u8; 32]),
    /// A point of P-256, not compressed (SEC 1, 2.3.3).
    P256([u8; 65]),
}

impl PublicKey {
    /// The key in a DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), and whose it is.
    pub fn from_spki(der: &[u8]) -> Option<(Self, Identity)> {
        let Ok(([], info)) = SubjectPublicKeyInfo::from_der(der) else {
            return None;
        };
        let bits = &info.subject_public_key;
        let bytes = (bits.unused_bits == 0).then_some(&*bits.data)?;
        let algorithm = &info.algorithm;
        let key = if algorithm.algorithm == OID_SIG_ED25519 {
            Self::ed25519(bytes.try_into().ok()?)?
        } else if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
            let point: [u8; 65] = bytes.try_into().ok()?;
            (curve == OID_EC_P256 && point.first() == Some(&4)).then_some(Self::P256(point))?
        } else {
            return None;
        };
        Some((key, Identity::of_public_key(der)))
    }

    /// The key, if it is one that proves something: of a point of small order anybody can make signatures, and not
    /// every implementation refuses those.
    fn ed25519(bytes: [u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(&bytes).ok()?;
        (!key.is_weak()).then_some(Self::Ed25519(bytes))
    }

    /// The same in base64 (RFC 4648, 4), as a signature's `keyid` names it.
    pub fn from_key_id(text: &str) -> Option<(Self, Identity)> {
        Self::from_spki(&STANDARD.decode(text).ok()?)
    }

    /// The algorithm of its signatures, as RFC 9421 (6.2.2) names it.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519",
            Self::P256(_) => "ecdsa-p256-sha256",
        }
    }

    /// Whether the signature is that of the message: by RFC 9421, 3.3.4 and 3.3.6, 64 bytes of either
    /// algorithm.
    pub fn verifies(&self, crypto: &dyn Crypto, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = signature.try_into() else {
            return false;
        };
        match self {
            Self::Ed25519(key) => crypto.ed25519_verifies(key, message, signature),
            Self::P256(key) => crypto.p256_verifies(key, message, signature),
        }
    }
}
