//! Key stores that are servers elsewhere, and what they have in common.
//!
//! What is asked of such a store and what its answers mean are functions without a server: from a
//! key's name to a request, from a response to a value. Each store has one thin driver, which sends
//! the former by a [`Courier`] and reads the latter.

use zeroize::Zeroizing;

use super::vault::Vault;
use super::{Rewrite, Store, StoreError, Version, Versioned};
use crate::config::Keystore;
use crate::name::Name;
use crate::platform::World;

mod courier;
mod endpoint;
mod outage;
mod tokens;

#[cfg(test)]
pub(crate) mod fake;

pub(super) use courier::{Answer, Courier, Errand, Purpose, Repeat};
pub use endpoint::Endpoint;
pub(super) use tokens::{Grant, Token, Tokens};

/// The key store that a configuration names, if that is a server elsewhere.
pub enum Remote<W> {
    /// HashiCorp Vault or OpenBao.
    Vault(Box<Vault<W>>),
}

impl<W: World> Remote<W> {
    /// The store; `None` if the platform has it itself. What it knows of the server, such as a token,
    /// lives as long as this value.
    pub fn new(keystore: &Keystore, world: W) -> Option<Self> {
        match keystore {
            Keystore::Memory
            | Keystore::Fs { .. }
            | Keystore::DurableObjects
            | Keystore::SpinKeyValue { .. } => None,
            Keystore::Vault(settings) => {
                let settings = (**settings).clone();
                Some(Self::Vault(Box::new(Vault::new(settings, world))))
            }
        }
    }
}

impl<W: World> Store for Remote<W> {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Vault(vault) => vault.create(name, value).await,
        }
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        match self {
            Self::Vault(vault) => vault.get(name).await,
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        match self {
            Self::Vault(vault) => vault.delete(name).await,
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Vault(vault) => vault.list(prefix, after, limit).await,
        }
    }

    async fn status(&self) -> Result<(), StoreError> {
        match self {
            Self::Vault(vault) => vault.status().await,
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Vault(vault) => vault.check().await,
        }
    }

    fn logs_outages(&self) -> bool {
        true
    }
}

impl<W: World> Rewrite for Remote<W> {
    async fn read(&self, name: &Name) -> Result<Versioned, StoreError> {
        match self {
            Self::Vault(vault) => vault.read(name).await,
        }
    }

    async fn replace(
        &self,
        name: &Name,
        value: &[u8],
        version: &Version,
    ) -> Result<(), StoreError> {
        match self {
            Self::Vault(vault) => vault.replace(name, value, version).await,
        }
    }

    async fn tidy(&self, name: &Name, version: &Version) -> Result<(), StoreError> {
        match self {
            Self::Vault(vault) => vault.tidy(name, version).await,
        }
    }
}
