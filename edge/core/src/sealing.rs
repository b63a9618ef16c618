//! How this node seals what it stores, and opens what it finds, by the configuration.

use std::fmt;
use std::rc::Rc;

use zeroize::Zeroizing;

use crate::config::Seal;
use crate::crypto::{Crypto, NotSealed, Random};
use crate::key::Secret;
use crate::name::Name;
use crate::platform::Platform;
use crate::seal::{
    self, CannotOpen, CannotSeal, Fingerprint, Header, NodeIdentity, Opened, Recipient, cache,
};
use crate::time::Time;
use unsealed::Unsealed;

mod rewrap;
mod unsealed;

pub use rewrap::{CannotRewrap, Rewrapped, Rewrapper};

/// What the configuration wants, and the node's identity once it is there.
#[derive(Default)]
pub struct Sealing(Option<Configured>);

struct Configured {
    recipients: Vec<Recipient>,
    /// Theirs, in the order of a record.
    fingerprints: Vec<Fingerprint>,
    signers: Vec<Recipient>,
    accept_unsealed: bool,
    unsealed: Rc<Unsealed>,
}

/// Why a value was not sealed or opened: for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealingError {
    /// The node's identity is not to be had, and why.
    NoIdentity(String),
    /// The server that unwraps the node's identity is away: which one, and why. It is asked again, and
    /// the log has it already.
    Away(String),
    /// The value is sealed, and the configuration does not say how to open it.
    NotConfigured,
    /// This node is not among those that could open what it seals.
    NoRecipient(Fingerprint),
    /// This node is not among those whose records are opened.
    NoSigner(Fingerprint),
    /// It could not be sealed.
    Seal(CannotSeal),
    /// It could not be opened.
    Open(CannotOpen),
}

impl fmt::Display for SealingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentity(why) => write!(f, "this node's identity (`seal.unseal`) {why}"),
            Self::Away(why) => write!(f, "this node is not unsealed yet: {why}"),
            Self::NotConfigured => {
                f.write_str("it is sealed: configure `seal`, with the identity of a recipient")
            }
            Self::NoRecipient(node) => write!(
                f,
                "this node, {node}, is not among `seal.recipients`: it could not open what it seals"
            ),
            Self::NoSigner(node) => write!(
                f,
                "this node, {node}, is not among `seal.signers`: nobody would open what it seals"
            ),
            Self::Seal(why) => why.fmt(f),
            Self::Open(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for SealingError {}

/// What was found under the name of a key.
pub struct Unwrapped {
    /// The stored form of the key.
    pub value: Zeroizing<Vec<u8>>,
    /// Whether it was sealed as the configuration wants it.
    pub is_wanted: bool,
}

impl Sealing {
    /// As the configuration wants it.
    pub fn new(settings: Option<Seal>) -> Self {
        Self(settings.map(Configured::new))
    }

    /// As another configuration wants it, whose identity comes from the same place.
    pub fn successor(&self, settings: Option<Seal>) -> Self {
        let mut next = Self::new(settings);
        if let (Some(next), Some(before)) = (&mut next.0, &self.0) {
            next.unsealed = before.unsealed.clone();
        }
        next
    }

    /// Has the next call try to get the identity, if it is not there, whatever came of the last try.
    pub fn try_again(&self) {
        if let Some(configured) = &self.0 {
            configured.unsealed.try_again();
        }
    }

    /// Has the node's identity, if it needs one, read or unwrapped by now.
    ///
    /// # Errors
    /// It is not to be had, or not yet.
    pub async fn prepare<P: Platform>(&self, platform: &P) -> Result<(), SealingError> {
        match self.identity(platform).await {
            Ok(_) | Err(SealingError::NotConfigured) => Ok(()),
            Err(why) => Err(why),
        }
    }

    /// Whether an error tells what the log does not have yet: that the node's identity is not to be had
    /// is said once for each cause, and not for each request that needs it.
    pub fn is_news(&self, error: &SealingError) -> bool {
        match (error, &self.0) {
            (SealingError::Away(_), _) => false,
            (SealingError::NoIdentity(_), Some(configured)) => configured.unsealed.is_news(error),
            _ => true,
        }
    }

    /// What the operator should know of a node that has its identity: that it is no recipient or signer.
    pub async fn warning<P: Platform>(&self, platform: &P) -> Option<String> {
        let configured = self.0.as_ref()?;
        let identity = configured.unsealed.identity(platform).await.ok()?;
        let why = configured.admits(identity.recipient()).err()?;
        Some(format!("{why}, so it creates no keys"))
    }

    /// This node, if its identity is there.
    pub fn node(&self) -> Option<Fingerprint> {
        let identity = self.0.as_ref()?.unsealed.there()?;
        Some(identity.recipient().fingerprint())
    }

    /// What is stored of a key: sealed, if the configuration wants that.
    ///
    /// # Errors
    /// It can't be sealed so that this very node would open it.
    pub async fn wrap<P: Platform>(
        &self,
        platform: &P,
        name: &Name,
        value: Zeroizing<String>,
    ) -> Result<Zeroizing<String>, SealingError> {
        let Some(configured) = &self.0 else {
            return Ok(value);
        };
        let identity = configured.unsealed.identity(platform).await?;
        configured.admits(identity.recipient())?;
        let random = &mut |buffer: &mut [u8]| platform.random(buffer);
        let (crypto, now) = (platform.crypto(), platform.now());
        configured.seal(crypto, random, now, name, value.as_bytes(), &identity)
    }

    /// What is to be in the place of a value that is not sealed as the configuration wants it, by its stored form;
    /// `None` if this node could not open it then, which was said at its start.
    ///
    /// # Errors
    /// The node's identity is not to be had, or it can't be sealed.
    pub async fn renewed<P: Platform>(
        &self,
        platform: &P,
        name: &Name,
        value: &[u8],
    ) -> Result<Option<Zeroizing<String>>, SealingError> {
        let Some(configured) = &self.0 else {
            return Ok(None);
        };
        let identity = configured.unsealed.identity(platform).await?;
        if configured.admits(identity.recipient()).is_err() {
            return Ok(None);
        }
        let random = &mut |buffer: &mut [u8]| platform.random(buffer);
        let (crypto, now) = (platform.crypto(), platform.now());
        let sealed = configured.seal(crypto, random, now, name, value, &identity);
        sealed.map(Some)
    }

    /// What was found under the name of a key, opened.
    ///
    /// # Errors
    /// It does not open, or is not sealed though it should be.
    pub async fn unwrap<P: Platform>(
        &self,
        platform: &P,
        name: &Name,
        value: &[u8],
    ) -> Result<Unwrapped, SealingError> {
        let unsealed = |is_wanted| Unwrapped {
            value: Zeroizing::new(value.to_vec()),
            is_wanted,
        };
        match (&self.0, seal::is_sealed(value)) {
            (None, false) => Ok(unsealed(true)),
            (None, true) => Err(SealingError::NotConfigured),
            (Some(configured), false) if configured.accept_unsealed => Ok(unsealed(false)),
            (Some(_), false) => Err(SealingError::Open(CannotOpen::NotSealed)),
            (Some(configured), true) => {
                let identity = configured.unsealed.identity(platform).await?;
                let opened = configured.open(platform.crypto(), name, value, &identity)?;
                Ok(Unwrapped {
                    is_wanted: configured.wants(&opened),
                    value: opened.plaintext,
                })
            }
        }
    }

    /// A copy of a key's stored form, for this node alone to open, which says when the key was `read`.
    ///
    /// # Errors
    /// Nothing is configured to be sealed, the node's identity is not there, or it can't be sealed.
    pub async fn copy<P: Platform>(
        &self,
        platform: &P,
        name: &Name,
        value: &[u8],
        read: Time,
    ) -> Result<Vec<u8>, SealingError> {
        let header = Header {
            name: name.clone(),
            sealed_at: read,
        };
        let random = &mut |buffer: &mut [u8]| platform.random(buffer);
        let seal = |secret: &Secret| cache::seal(platform.crypto(), random, value, &header, secret);
        let sealed = self.unsealed()?.with_cache_secret(platform, seal).await?;
        sealed.map_err(|NotSealed| SealingError::Seal(CannotSeal::Primitive))
    }

    /// When the key in a copy was read, and its stored form.
    ///
    /// # Errors
    /// As [`Sealing::copy`], or it does not open under this name.
    pub async fn open_copy<P: Platform>(
        &self,
        platform: &P,
        name: &Name,
        copy: &[u8],
    ) -> Result<(Time, Zeroizing<Vec<u8>>), SealingError> {
        let open = |secret: &Secret| cache::open(platform.crypto(), copy, name, secret);
        let opened = self.unsealed()?.with_cache_secret(platform, open).await?;
        opened
            .map(|(header, value)| (header.sealed_at, value))
            .map_err(SealingError::Open)
    }

    fn unsealed(&self) -> Result<&Unsealed, SealingError> {
        let configured = self.0.as_ref();
        let unsealed = configured.map(|it| &*it.unsealed);
        unsealed.ok_or(SealingError::NotConfigured)
    }

    async fn identity<P: Platform>(&self, platform: &P) -> Result<Rc<NodeIdentity>, SealingError> {
        self.unsealed()?.identity(platform).await
    }
}

impl Configured {
    fn new(settings: Seal) -> Self {
        let unsealed = Rc::new(Unsealed::new(settings.unseal));
        let recipients = settings.recipients.iter();
        let mut fingerprints: Vec<_> = recipients.map(Recipient::fingerprint).collect();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        Self {
            recipients: settings.recipients,
            fingerprints,
            signers: settings.signers,
            accept_unsealed: settings.accept_unsealed,
            unsealed,
        }
    }

    /// Seals the stored form of a key for the recipients.
    fn seal(
        &self,
        crypto: &dyn Crypto,
        random: &mut Random<'_>,
        now: Time,
        name: &Name,
        value: &[u8],
        identity: &NodeIdentity,
    ) -> Result<Zeroizing<String>, SealingError> {
        let header = Header {
            name: name.clone(),
            sealed_at: now,
        };
        let sealed = seal::seal(crypto, random, value, &header, &self.recipients, identity);
        sealed.map(Zeroizing::new).map_err(SealingError::Seal)
    }

    /// Opens a record that one of the signers has made.
    fn open(
        &self,
        crypto: &dyn Crypto,
        name: &Name,
        value: &[u8],
        identity: &NodeIdentity,
    ) -> Result<Opened, SealingError> {
        seal::open(crypto, value, name, identity, &self.signers).map_err(SealingError::Open)
    }

    /// Whether a record is sealed for those that the configuration names.
    fn wants(&self, opened: &Opened) -> bool {
        opened.recipients == self.fingerprints
    }

    /// Whether what this node seals can be opened by it.
    fn admits(&self, node: &Recipient) -> Result<(), SealingError> {
        if !self.recipients.contains(node) {
            return Err(SealingError::NoRecipient(node.fingerprint()));
        }
        if !self.signers.contains(node) {
            return Err(SealingError::NoSigner(node.fingerprint()));
        }
        Ok(())
    }
}
