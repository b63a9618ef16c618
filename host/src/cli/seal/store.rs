//! The configured key store, of which the command line wants little: to list, read and replace.

use std::path::Path;
use std::sync::Arc;

use sealedge_core::config::Keystore;
use sealedge_core::name::Name;
use sealedge_core::store::remote::Remote;
use sealedge_core::store::{Rewrite, Store as _, StoreError, Version, Versioned};
use zeroize::Zeroizing;

use super::SealError;
use crate::cli::error::Error;
use crate::server::StartError;
use crate::store::{self, FsStore, KeyStore};
use crate::world::World;

/// A key store that outlives its servers.
pub enum Store {
    /// Files, whose calls block.
    Files(Arc<FsStore>),
    /// A server elsewhere.
    Remote(Remote<World>),
}

impl Store {
    /// Opens the key store.
    pub fn open(keystore: &Keystore, world: World) -> Result<Self, Error> {
        if let Keystore::Fs { path } = keystore {
            // A directory that is misspelt should not be made.
            let store = FsStore::open_existing(Path::new(path))
                .map_err(|reason| Error::Server(StartError::Store(reason)))?;
            return Ok(Self::Files(Arc::new(store)));
        }
        Remote::new(keystore, world)
            .map(Self::Remote)
            .ok_or(Error::Seal(SealError::Memory))
    }

    /// The names that begin with `prefix`.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Files(files) => {
                let prefix = prefix.to_owned();
                beside(files, move |files| files.list(&prefix, None, usize::MAX)).await
            }
            Self::Remote(remote) => remote.list(prefix, None, usize::MAX).await,
        }
    }

    /// See [`Rewrite::read`].
    pub async fn read(&self, name: &Name) -> Result<Versioned, StoreError> {
        match self {
            Self::Files(files) => {
                let name = name.clone();
                beside(files, move |files| files.read(&name)).await
            }
            Self::Remote(remote) => remote.read(name).await,
        }
    }

    /// See [`Rewrite::replace`].
    pub async fn replace(
        &self,
        name: &Name,
        value: Zeroizing<String>,
        version: Version,
    ) -> Result<(), StoreError> {
        match self {
            Self::Files(files) => {
                let name = name.clone();
                let replace =
                    move |files: &FsStore| files.replace(&name, value.as_bytes(), &version);
                beside(files, replace).await
            }
            Self::Remote(remote) => remote.replace(name, value.as_bytes(), &version).await,
        }
    }

    /// See [`Rewrite::tidy`]. A file that was replaced is gone at once.
    pub async fn tidy(&self, name: &Name, version: &Version) -> Result<(), StoreError> {
        match self {
            Self::Files(_) => Ok(()),
            Self::Remote(remote) => remote.tidy(name, version).await,
        }
    }
}

/// Where the keys are, for people.
pub fn place(keystore: &Keystore) -> String {
    match keystore {
        Keystore::Memory => "memory".to_owned(),
        Keystore::Fs { path } => format!("the directory {path}"),
        Keystore::Vault(settings) => settings.to_string(),
        Keystore::DurableObjects => "Durable Objects".to_owned(),
        Keystore::SpinKeyValue { .. } => "Spin's key-value store".to_owned(),
    }
}

/// Does work that blocks on another thread.
async fn beside<T: Send + 'static>(
    files: &Arc<FsStore>,
    work: impl FnOnce(&FsStore) -> Result<T, store::StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let files = files.clone();
    match tokio::task::spawn_blocking(move || work(&files)).await {
        Ok(done) => done.map_err(of_files),
        Err(reason) => Err(StoreError::Failed(reason.to_string())),
    }
}

fn of_files(error: store::StoreError) -> StoreError {
    match error {
        store::StoreError::Exists => StoreError::Exists,
        store::StoreError::NotFound => StoreError::NotFound,
        store::StoreError::Changed => StoreError::Changed,
        store::StoreError::Unreachable { .. } => StoreError::Unreachable(error.to_string()),
        store::StoreError::Failed { .. } => StoreError::Failed(error.to_string()),
    }
}
