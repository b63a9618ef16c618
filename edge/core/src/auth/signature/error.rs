//! Why a signature proves nothing.

use std::fmt;

use super::input::MOST;
use super::{CHAIN, INPUT};
use crate::auth::BadHeader;
use crate::time::Time;

/// Why a signature proves nothing. What the client sent is said again only where it can't be long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// A header can't be read.
    Header(BadHeader),
    /// A header is no structured field (RFC 9651) of the right form.
    Malformed(&'static str),
    /// One of the two headers is not there.
    HalfSigned(&'static str),
    /// No signature is meant for this service.
    NoTag,
    /// More than one is.
    Several,
    /// `Signature` has no signature of the name that `Signature-Input` has.
    NoSignature,
    /// A parameter is missing, or of the wrong type.
    Parameter(&'static str),
    /// The signature does not cover what it must.
    NotCovered(&'static str),
    /// It covers what this service does not see, or covers something twice.
    Component,
    /// `keyid` is no public key.
    KeyId,
    /// `alg` is not that of the key.
    Algorithm(&'static str),
    /// The nonce is empty or too long.
    Nonce,
    /// The request is too old, or from the future.
    Clock {
        /// When it was signed, in seconds since the Unix epoch.
        created: i64,
        /// The server's time.
        now: Time,
        /// How far apart they may be, in seconds.
        window: u64,
    },
    /// The request was not to be valid for so long.
    Expired,
    /// The request is meant for another server than this one, whose names are in its certificate.
    NotNamed(String),
    /// The same, where they are in the configuration.
    NotListed(String),
    /// `Content-Digest` has no digest of a known algorithm.
    NoDigest,
    /// The body is another one.
    Body,
    /// The signature is not that of this request by this key.
    NotAuthentic {
        /// As this server sees it, and the others.
        method: String,
        /// For whom it is.
        authority: String,
        /// What it is about.
        path: String,
    },
    /// The certificate in `Client-Cert` is not that of the key.
    OtherCertificate,
    /// No trusted authority has issued that.
    Untrusted,
}

impl From<BadHeader> for SignatureError {
    fn from(why: BadHeader) -> Self {
        Self::Header(why)
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(why) => why.fmt(f),
            Self::Malformed(header) if *header == INPUT => write!(
                f,
                "the header '{header}' is not as RFC 9421 has it, or has more than {MOST} signatures, or one of \
                 them more than {MOST} components or parameters"
            ),
            Self::Malformed(header) if *header == CHAIN => write!(
                f,
                "the header '{header}' is not as RFC 9440 has it, or has more than four certificates"
            ),
            Self::Malformed(header) => {
                write!(f, "the header '{header}' is not as RFC 9421 and RFC 9530 have it")
            }
            Self::HalfSigned(header) => write!(f, "the header '{header}' is missing"),
            Self::NoTag => f.write_str("no signature has the parameter tag=\"sealedge\""),
            Self::Several => f.write_str("more than one signature has tag=\"sealedge\": send one"),
            Self::NoSignature => {
                f.write_str("'signature' has none of the name that 'signature-input' gives it")
            }
            Self::Parameter(name) => {
                write!(f, "the parameter '{name}' is missing or of the wrong type")
            }
            Self::NotCovered(name) => write!(f, "the signature does not cover \"{name}\""),
            Self::Component => f.write_str(
                "the signature covers something twice, or beside \"@method\", \"@authority\", \"@path\", \
                 \"@query\", \"content-digest\", \"client-cert\" and \"client-cert-chain\", without parameters",
            ),
            Self::KeyId => f.write_str(
                "'keyid' is not the base64 of an Ed25519 or P-256 public key (SubjectPublicKeyInfo in DER)",
            ),
            Self::Algorithm(expected) => write!(f, "'alg' is not that of the key, \"{expected}\""),
            Self::Nonce => f.write_str("'nonce' is empty or has more than 128 characters"),
            Self::Clock {
                created,
                now,
                window,
            } => write!(
                f,
                "'created' is {created}, more than {window} s from this server's time, {}: set the clock",
                now.as_nanos() / 1_000_000_000
            ),
            Self::Expired => f.write_str("the signature has expired"),
            Self::NotNamed(authority) => write!(
                f,
                "this server is not \"{authority}\": connect to it by a name of its certificate"
            ),
            Self::NotListed(authority) => write!(
                f,
                "this server is not \"{authority}\": connect to it by one of auth.authorities"
            ),
            Self::NoDigest => {
                f.write_str("'content-digest' has no digest by sha-256 or sha-512")
            }
            Self::Body => f.write_str("the body is not that of 'content-digest'"),
            Self::NotAuthentic {
                method,
                authority,
                path,
            } => write!(
                f,
                "the signature is not that of this request by this key: something was changed on the way, or \
                 the signature base is another one; here \"@method\" is {method}, \"@authority\" {authority}, \
                 \"@path\" {path}"
            ),
            Self::OtherCertificate => {
                f.write_str("the certificate in 'client-cert' is not that of the key in 'keyid'")
            }
            Self::Untrusted => f.write_str(
                "the certificate in 'client-cert' is not of a trusted authority, or not valid now, or one \
                 between is missing in 'client-cert-chain'",
            ),
        }
    }
}

impl std::error::Error for SignatureError {}
