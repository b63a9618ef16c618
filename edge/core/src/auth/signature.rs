//! Signed requests (HTTP Message Signatures, RFC 9421), with the parameter `tag="sealedge"`.
//!
//! A client signs method, authority, path, query and its body's digest with the key that its identity is
//! the hash of, so nothing is registered and no secret is sent.

mod base;
mod error;
mod input;
mod sign;
#[cfg(test)]
mod tests;

pub use base::Message;
pub use error::SignatureError;
pub use sign::{Sign, Signer};

use std::borrow::Cow;
use std::time::Duration;

use sfv::BareItemFromInput;

use super::digest::{self, ContentDigest};
use super::fields::byte_sequences;
use super::nonces::{self, Lifetime, Nonce};
use super::public_key::PublicKey;
use super::{Presented, forwarded};
use crate::certificate;
use crate::identity::Identity;
use crate::time::Time;
use input::Input;

/// The header with what is signed.
pub const INPUT: &str = "signature-input";
/// The header with the signature.
pub const SIGNATURE: &str = "signature";
/// The header with the certificate of the key that has signed (RFC 9440).
pub const CERTIFICATE: &str = "client-cert";
/// The header with the certificates behind it (RFC 9440).
pub const CHAIN: &str = "client-cert-chain";

/// What a client that has proved nothing is asked for, in the header `Accept-Signature` (RFC 9421, 5.1).
pub const ACCEPT: &str = "sealedge=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\")\
                          ;created;nonce;alg=\"ed25519\";keyid;tag=\"sealedge\"";

/// The tag of a signature that is meant for this service.
const TAG: &str = "sealedge";

/// The longest nonce, in characters.
const LONGEST_NONCE: usize = 128;

/// A request whose signature is genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who has signed it.
    pub identity: Identity,
    /// By which it is known again.
    pub nonce: Nonce,
    /// How long it may be answered, and has its nonce to be remembered.
    pub lives: Lifetime,
    /// What its body has to be; `None` if there must be none.
    pub digest: Option<ContentDigest>,
    /// The certificate of its key in DER and those behind it, if it came with them.
    pub certificates: Vec<Vec<u8>>,
}

/// Whether a request has something of a signature.
pub fn is_presented(presented: &Presented) -> bool {
    [INPUT, SIGNATURE]
        .into_iter()
        .any(|name| presented.lines(name).next().is_some())
}

/// Verifies a request's signature by the `key` that its `keyid` names, as [`PublicKey::from_key_id`] has it, at
/// the time `now`, by a clock from which the client's may differ by `window`; `is_genuine` says of a key whether a
/// message has its signature ([`PublicKey::verifies`]). Whether its authority is the server's, it was seen before, and its body has that digest is the
/// caller's to ask; and what its certificates are worth.
///
/// # Errors
/// [`SignatureError`] says why it proves nothing.
pub async fn verify(
    is_genuine: impl AsyncFnOnce(&PublicKey, &[u8], &[u8]) -> bool,
    key: impl FnOnce(&str) -> Option<(PublicKey, Identity)>,
    message: &Message<'_>,
    presented: &Presented,
    window: Duration,
    now: Time,
) -> Result<Signed, SignatureError> {
    let required = |name| {
        presented
            .only(name)?
            .ok_or(SignatureError::HalfSigned(name))
    };
    let input = Input::ours(required(INPUT)?)?;
    let signature = bytes_of(required(SIGNATURE)?, input.label)?;
    let parameters = Parameters::of(&input)?;
    let lives = parameters.lives(window, now)?;
    let covered = Covered::of(&input)?;
    let (key, identity) = key(parameters.key_id).ok_or(SignatureError::KeyId)?;
    if parameters.algorithm != key.algorithm() {
        return Err(SignatureError::Algorithm(key.algorithm()));
    }
    let values = covered.values(message, presented)?;
    let base = base::base(values, |base| input.write_to(base));
    if !is_genuine(&key, base.as_bytes(), &signature).await {
        return Err(message.not_authentic());
    }
    Ok(Signed {
        identity,
        nonce: nonces::nonce(parameters.nonce),
        lives,
        digest: covered.digest(presented)?,
        certificates: covered.certificates(presented, identity)?,
    })
}

/// The bytes of the signature with this name.
fn bytes_of(value: &str, label: &str) -> Result<Vec<u8>, SignatureError> {
    let [signature] = byte_sequences(value, [label]).ok_or(SignatureError::Malformed(SIGNATURE))?;
    signature.ok_or(SignatureError::NoSignature)
}

/// The parameters of a signature (RFC 9421, 2.3).
struct Parameters<'a> {
    /// Seconds since the Unix epoch.
    created: i64,
    expires: Option<i64>,
    nonce: &'a str,
    key_id: &'a str,
    algorithm: &'a str,
}

impl<'a> Parameters<'a> {
    fn of(input: &'a Input<'_>) -> Result<Self, SignatureError> {
        let missing = SignatureError::Parameter;
        let seconds = |name| match input.parameter(name) {
            Some(BareItemFromInput::Integer(seconds)) => Ok(Some(i64::from(*seconds))),
            Some(_) => Err(missing(name)),
            None => Ok(None),
        };
        let string = |name| input.text(name).ok_or(missing(name));
        let nonce = string("nonce")?;
        if nonce.is_empty() || nonce.len() > LONGEST_NONCE {
            return Err(SignatureError::Nonce);
        }
        Ok(Self {
            created: seconds("created")?.ok_or(missing("created"))?,
            expires: seconds("expires")?,
            nonce,
            key_id: string("keyid")?,
            algorithm: string("alg")?,
        })
    }

    /// How long the request may be answered, if it is of now.
    fn lives(&self, window: Duration, now: Time) -> Result<Lifetime, SignatureError> {
        let (now_s, window_s) = (now.as_nanos() / 1_000_000_000, window.as_secs());
        let created = u64::try_from(self.created).unwrap_or_default();
        if created.abs_diff(now_s) > window_s {
            return Err(SignatureError::Clock {
                created: self.created,
                now,
                window: window_s,
            });
        }
        let seconds = i64::try_from(now_s).unwrap_or(i64::MAX);
        if self.expires.is_some_and(|expires| expires < seconds) {
            return Err(SignatureError::Expired);
        }
        let created = Time::from_nanos(created.saturating_mul(1_000_000_000));
        Ok(Lifetime {
            created,
            until: created.after(window),
        })
    }
}

/// The components that a signature covers, by their names in its order.
struct Covered<'a>(Vec<&'a str>);

impl<'a> Covered<'a> {
    fn of(input: &'a Input<'_>) -> Result<Self, SignatureError> {
        input.components().map(Self)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Each with its value, if all are there that must be.
    fn values<'v>(
        &self,
        message: &'v Message<'_>,
        presented: &'v Presented,
    ) -> Result<Vec<(&'a str, Cow<'v, str>)>, SignatureError> {
        let mut required = vec!["@method", "@authority", "@path"];
        required.extend(message.query.map(|_| "@query"));
        for name in [CERTIFICATE, CHAIN] {
            required.extend(presented.lines(name).next().map(|_| name));
        }
        if let Some(missing) = required.into_iter().find(|name| !self.has(name)) {
            return Err(SignatureError::NotCovered(missing));
        }
        let header = |name| {
            let value = presented.only(name)?;
            value
                .map(Cow::Borrowed)
                .ok_or(SignatureError::HalfSigned(name))
        };
        let value = |name: &'a str| {
            Ok((
                name,
                match name {
                    "@method" => Cow::Borrowed(message.method),
                    "@authority" => Cow::Borrowed(message.authority),
                    "@path" => Cow::Borrowed(message.path),
                    // Without a query it is `?` (RFC 9421, 2.2.7).
                    "@query" => Cow::Owned(format!("?{}", message.query.unwrap_or_default())),
                    "content-digest" => header(digest::HEADER)?,
                    "client-cert" => header(CERTIFICATE)?,
                    "client-cert-chain" => header(CHAIN)?,
                    _ => return Err(SignatureError::Component),
                },
            ))
        };
        self.0.iter().copied().map(value).collect()
    }

    /// The digest, if it is signed: one that is not, anybody may have put there.
    fn digest(&self, presented: &Presented) -> Result<Option<ContentDigest>, SignatureError> {
        if !self.has(digest::HEADER) {
            return Ok(None);
        }
        let value = presented.only(digest::HEADER)?.unwrap_or_default();
        ContentDigest::parse(value)
            .map(Some)
            .ok_or(SignatureError::NoDigest)
    }

    /// The signed certificates, the first of which must be that of the key.
    fn certificates(
        &self,
        presented: &Presented,
        identity: Identity,
    ) -> Result<Vec<Vec<u8>>, SignatureError> {
        let Some(own) = presented.only(CERTIFICATE)? else {
            return match presented.lines(CHAIN).next() {
                Some(_) => Err(SignatureError::HalfSigned(CERTIFICATE)),
                None => Ok(Vec::new()),
            };
        };
        let own = forwarded::client_cert(own).ok_or(SignatureError::Malformed(CERTIFICATE))?;
        if certificate::identity_of(&own) != Some(identity) {
            return Err(SignatureError::OtherCertificate);
        }
        let mut certificates = vec![own];
        if let Some(others) = presented.only(CHAIN)? {
            let others = forwarded::client_cert_chain(others);
            certificates.extend(others.ok_or(SignatureError::Malformed(CHAIN))?);
        }
        Ok(certificates)
    }
}
