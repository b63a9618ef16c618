//! Why a value could not be sealed or opened: for the log, and without a secret.

use std::fmt;

use super::identity::Fingerprint;
use super::record::{MAX_PLAINTEXT, MAX_RECIPIENTS};
use crate::name::Name;

/// Why a value was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CannotSeal {
    /// There is nobody to seal for.
    NoRecipient,
    /// There are more recipients than a record may have: so many.
    TooManyRecipients(usize),
    /// The value is longer than a record may hold: so many bytes.
    TooLong(usize),
    /// What this recipient has for its keys are none.
    NoKeys(Fingerprint),
    /// A primitive refused its input; with inputs of these sizes it has no reason to.
    Primitive,
}

impl fmt::Display for CannotSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecipient => f.write_str("there is no recipient to seal for: name one"),
            Self::TooManyRecipients(count) => write!(
                f,
                "a record has at most {MAX_RECIPIENTS} recipients, and these are {count}"
            ),
            Self::TooLong(length) => write!(
                f,
                "a record holds at most {MAX_PLAINTEXT} bytes, and the value has {length}"
            ),
            Self::NoKeys(recipient) => write!(
                f,
                "the recipient {recipient} was not written by sealedge, its keys can't be read: remove it"
            ),
            Self::Primitive => f.write_str("a cryptographic primitive failed: report this"),
        }
    }
}

impl std::error::Error for CannotSeal {}

/// Why a sealed value was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CannotOpen {
    /// The value is something else.
    NotSealed,
    /// The value says that it is a sealed record, of a format that this version does not know.
    LaterFormat,
    /// It is no record that anyone has written: how it differs from one.
    Damaged(&'static str),
    /// It has an identifier that this version does not know: of what, and which.
    Unknown(&'static str, u32),
    /// It names a signer who is not among those allowed.
    Stranger(Fingerprint),
    /// It names this signer, whose signature it does not have.
    Forged(Fingerprint),
    /// It was sealed under this other name.
    OtherName(Name),
    /// This node is not among the recipients.
    NotForThisNode {
        /// The node's own recipient.
        node: Fingerprint,
        /// Those that the record was sealed for.
        recipients: Vec<Fingerprint>,
    },
    /// Its key or its content does not decrypt.
    NotAuthentic,
}

impl fmt::Display for CannotOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSealed => f.write_str("the value is not sealed: seal it before it is used"),
            Self::LaterFormat => f.write_str(
                "the record has a format that this version does not know: update sealedge",
            ),
            Self::Damaged(how) => write!(f, "the record is damaged: {how}; restore it"),
            Self::Unknown(what, id) => write!(
                f,
                "the record has {what} {id:#06x}, which this version does not know: update sealedge"
            ),
            Self::Stranger(signer) => write!(
                f,
                "the record is signed by {signer}, who is no allowed signer: name that recipient \
                 as one if you trust it, or else find out who wrote this"
            ),
            Self::Forged(signer) => write!(
                f,
                "the record is not what {signer} signed: it is damaged or forged; restore it"
            ),
            Self::OtherName(name) => {
                write!(
                    f,
                    "the record belongs to the name `{name}`: somebody has moved it"
                )
            }
            Self::NotForThisNode { node, recipients } => {
                write!(
                    f,
                    "the record is not sealed for this node, {node}, but for "
                )?;
                for (at, recipient) in recipients.iter().enumerate() {
                    write!(f, "{}{recipient}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str(": seal it again with this node among the recipients")
            }
            Self::NotAuthentic => f.write_str(
                "the record does not decrypt with its key: it was sealed wrongly; restore it",
            ),
        }
    }
}

impl std::error::Error for CannotOpen {}
