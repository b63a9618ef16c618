//! The algorithms by which authorities sign certificates, where ring does not run: those that rustls has by it,
//! but for RSA-PSS.

use ed25519_dalek::VerifyingKey as Ed25519Key;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{DerSignature as P256Signature, VerifyingKey as P256Key};
use p384::ecdsa::{DerSignature as P384Signature, VerifyingKey as P384Key};
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::{PublicKey, pkcs1v15};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// All of them.
pub const ALL: &[&dyn SignatureVerificationAlgorithm] = &[
    &by(alg_id::ECDSA_P256, alg_id::ECDSA_SHA256, p256::<Sha256>),
    &by(alg_id::ECDSA_P256, alg_id::ECDSA_SHA384, p256::<Sha384>),
    &by(alg_id::ECDSA_P384, alg_id::ECDSA_SHA256, p384::<Sha256>),
    &by(alg_id::ECDSA_P384, alg_id::ECDSA_SHA384, p384::<Sha384>),
    &by(alg_id::ED25519, alg_id::ED25519, ed25519),
    &by(RSA, alg_id::RSA_PKCS1_SHA256, rsa_pkcs1::<Sha256>),
    &by(RSA, alg_id::RSA_PKCS1_SHA384, rsa_pkcs1::<Sha384>),
    &by(RSA, alg_id::RSA_PKCS1_SHA512, rsa_pkcs1::<Sha512>),
];

const RSA: AlgorithmIdentifier = alg_id::RSA_ENCRYPTION;

/// The bits that an RSA key has at least; at most it may have 8192, which the crate sees to.
const LEAST_RSA_BITS: usize = 2048;

#[derive(Debug)]
struct Algorithm {
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verify: Verify,
}

/// By a key, of a message, a signature; `None` if it is not genuine.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

const fn by(key: AlgorithmIdentifier, signature: AlgorithmIdentifier, verify: Verify) -> Algorithm {
    Algorithm {
        key,
        signature,
        verify,
    }
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        (self.verify)(public_key, message, signature).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

fn p256<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = P256Key::from_sec1_bytes(key).ok()?;
    let signature = P256Signature::from_bytes(signature).ok()?;
    key.verify_prehash(&D::digest(message), &signature).ok()
}

fn p384<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = P384Key::from_sec1_bytes(key).ok()?;
    let signature = P384Signature::from_bytes(signature).ok()?;
    key.verify_prehash(&D::digest(message), &signature).ok()
}

fn ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = Ed25519Key::from_bytes(key.try_into().ok()?).ok()?;
    key.verify_strict(message, &signature.try_into().ok()?).ok()
}

fn rsa_key(der: &[u8]) -> Option<PublicKey> {
    use rsa::traits::PublicKeyParts;

    let key = PublicKey::from_pkcs1_der(der).ok()?;
    (key.size() * 8 >= LEAST_RSA_BITS).then_some(key)
}

fn rsa_pkcs1<D>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()>
where
    D: Digest + rsa::pkcs8::AssociatedOid,
{
    let key = pkcs1v15::VerifyingKey::<D>::new(rsa_key(key)?);
    let signature = pkcs1v15::Signature::try_from(signature).ok()?;
    key.verify(message, &signature).ok()
}
