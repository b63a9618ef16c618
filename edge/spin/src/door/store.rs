//! Where keys are kept: in Spin's key-value store, or by a server elsewhere.

use sealedge_core::config::Keystore;
use sealedge_core::name::Name;
use sealedge_core::store::remote::Remote;
use sealedge_core::store::{Store, StoreError};
use zeroize::Zeroizing;

use super::binding::SpinStore;
use super::outside::Outside;
use crate::lives::Lives;

/// The key store of an instance.
pub enum Keys {
    /// Here.
    Here {
        /// The keys.
        lives: Lives<SpinStore>,
        /// Whether creates are exact, or need not be.
        creates: bool,
    },
    /// Elsewhere.
    Remote(Remote<Outside>),
}

/// Why no key is created.
const NOT_EXACT: &str = "this component was built without atomic increments, so that of racing creates none could be \
                         told from the others: `keystore.spin.keyvalue.atomics: off` takes creates all the same";

impl Keys {
    /// The key store that the configuration names.
    pub fn new(keystore: &Keystore, store: SpinStore, outside: &Outside) -> Self {
        match Remote::new(keystore, outside.clone()) {
            Some(remote) => Self::Remote(remote),
            None => Self::Here {
                lives: Lives::new(store),
                creates: cfg!(feature = "atomics")
                    || matches!(keystore, Keystore::SpinKeyValue { atomics: false }),
            },
        }
    }
}

impl Store for Keys {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Here { creates: false, .. } => Err(StoreError::Failed(NOT_EXACT.to_owned())),
            Self::Here { lives, .. } => match lives.create(name, value)? {
                true => Ok(()),
                false => Err(StoreError::Exists),
            },
            Self::Remote(remote) => remote.create(name, value).await,
        }
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        match self {
            Self::Here { lives, .. } => {
                let value = lives.get(name)?.ok_or(StoreError::NotFound)?;
                Ok(Zeroizing::new(value))
            }
            Self::Remote(remote) => remote.get(name).await,
        }
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        match self {
            Self::Here { lives, .. } => match lives.delete(name)? {
                true => Ok(()),
                false => Err(StoreError::NotFound),
            },
            Self::Remote(remote) => remote.delete(name).await,
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Here { lives, .. } => Ok(lives.list(prefix, after, limit)?),
            Self::Remote(remote) => remote.list(prefix, after, limit).await,
        }
    }

    async fn status(&self) -> Result<(), StoreError> {
        match self {
            Self::Here { lives, .. } => Ok(lives.status()?),
            Self::Remote(remote) => remote.status().await,
        }
    }
}
