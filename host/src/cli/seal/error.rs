//! Why nothing is sealed, and what to do then.

use std::fmt;
use std::path::PathBuf;

use sealedge_core::seal::InvalidText;
use sealedge_core::sealing::{CannotRewrap, SealingError};
use sealedge_core::store::StoreError;

/// Why a command of `seal` failed, wholly or for one key. There is no secret in it.
#[derive(Debug)]
pub enum SealError {
    /// What should be an identity is none.
    NoIdentity {
        /// Where it is.
        source: String,
        /// What is wrong with it.
        reason: InvalidText,
    },
    /// An identity was given as an argument.
    Argument,
    /// The configuration has no section `seal`.
    NotConfigured {
        /// Its file.
        file: PathBuf,
    },
    /// The configured key store is the memory of a server.
    Memory,
    /// This node can't seal for the configured recipients.
    Node(SealingError),
    /// The keys can't be listed.
    List(StoreError),
    /// A value can't be sealed, or not be opened first.
    Value {
        /// The key's name.
        name: String,
        /// Why it is left as it was.
        reason: CannotRewrap,
    },
    /// A value can't be read or replaced.
    Store {
        /// The key's name.
        name: String,
        /// Why.
        reason: StoreError,
    },
    /// There are no keys to work on.
    NoKeys {
        /// Those that were asked for.
        pattern: String,
        /// Where they were looked for.
        place: String,
    },
    /// So many keys were not tried, since the key store was away.
    NotTried(usize),
}

impl SealError {
    /// The key that it is about.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Value { name, .. } | Self::Store { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether the key store is away.
    pub fn is_outage(&self) -> bool {
        let reason = match self {
            Self::List(reason) | Self::Store { reason, .. } => reason,
            _ => return false,
        };
        matches!(reason, StoreError::Unreachable(_))
    }

    /// What to do about it, where the message does not say it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Argument => {
                "give its file, or `-` for standard input; make a new one if others may have seen it"
            }
            Self::NotConfigured { .. } => {
                "add `seal` with `recipients` and `unseal`; `sealedge seal new` makes an identity"
            }
            Self::Memory => "configure the key store whose keys should be sealed",
            Self::NoKeys { .. } => {
                "check the key store of the configuration, and the pattern; `sealedge ls` shows what a \
                 server has"
            }
            Self::NotTried(_) => {
                "when the key store is there run this again: it goes on where it ended"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentity { source, reason } => write!(f, "`{source}`: {reason}"),
            Self::Argument => f.write_str(
                "an identity is secret: other users and the shell's history see an argument",
            ),
            Self::NotConfigured { file } => write!(
                f,
                "nothing says for whom to seal: `{}` has no section `seal`",
                file.display()
            ),
            Self::Memory => f.write_str("keys in a server's memory can't be sealed from outside"),
            Self::Node(reason) => reason.fmt(f),
            Self::List(reason) => write!(f, "cannot list the keys: {reason}"),
            Self::Value { name, reason } => write!(f, "`{name}`: {reason}"),
            Self::Store { name, reason } => write!(f, "`{name}`: {reason}"),
            Self::NoKeys { pattern, place } if pattern == "*" => {
                write!(f, "there are no keys in {place}")
            }
            Self::NoKeys { pattern, place } => {
                write!(f, "there is no key `{pattern}` in {place}")
            }
            Self::NotTried(1) => f.write_str("1 key was not tried"),
            Self::NotTried(count) => write!(f, "{count} keys were not tried"),
        }
    }
}
