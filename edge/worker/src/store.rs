//! Where keys are kept: in Durable Objects, or by a server elsewhere.

use futures_util::future::try_join_all;
use sealedge_core::config::Keystore;
use sealedge_core::metrics::{StoreFailure, StoreOperation};
use sealedge_core::name::Name;
use sealedge_core::platform::World;
use sealedge_core::store::remote::Remote;
use sealedge_core::store::{Store, StoreError};
use sha2::{Digest, Sha256};
use wasm_bindgen::JsValue;
use worker_sys::DurableObjectNamespace;
use zeroize::Zeroizing;

use crate::binding;
use crate::objects::Trouble;
use crate::objects::keys::Part;
use crate::outside::Outside;

/// What the objects are bound to.
const BINDING: &str = "KEYS";

/// Over how many objects the keys are spread. With another number, keys would be looked for where they are not.
const OBJECTS: u8 = 16;

/// The key store of an isolate.
pub struct Keys {
    place: Place,
    outside: Outside,
}

enum Place {
    Objects(Objects),
    Remote(Remote<Outside>),
}

impl Keys {
    /// The key store that the configuration names.
    ///
    /// # Errors
    /// It is not bound to the Worker.
    pub fn new(env: &JsValue, keystore: &Keystore, outside: &Outside) -> Result<Self, String> {
        let place = match Remote::new(keystore, outside.clone()) {
            Some(remote) => Place::Remote(remote),
            None => Place::Objects(Objects(binding::objects(env, BINDING)?)),
        };
        Ok(Self {
            place,
            outside: outside.clone(),
        })
    }

    /// Counts an operation, and how it ends.
    async fn counted<T>(
        &self,
        what: StoreOperation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let counters = self.outside.counters();
        counters.store_begin();
        let begun = self.outside.now();
        let outcome = work.await;
        let failure = match &outcome {
            Err(StoreError::Unreachable(_)) => Some(StoreFailure::Unreachable),
            Err(StoreError::Failed(_)) => Some(StoreFailure::Failed),
            _ => None,
        };
        counters.store_end(what, failure, self.outside.now().since(begun));
        outcome
    }
}

impl Store for Keys {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.create(name, value).await,
                Place::Remote(remote) => remote.create(name, value).await,
            }
        };
        self.counted(StoreOperation::Create, work).await
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.read(name).await,
                Place::Remote(remote) => remote.get(name).await,
            }
        };
        self.counted(StoreOperation::Read, work).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.remove(name).await,
                Place::Remote(remote) => remote.delete(name).await,
            }
        };
        self.counted(StoreOperation::Delete, work).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.list(prefix, after, limit).await,
                Place::Remote(remote) => remote.list(prefix, after, limit).await,
            }
        };
        self.counted(StoreOperation::List, work).await
    }

    async fn status(&self) -> Result<(), StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.status().await,
                Place::Remote(remote) => remote.status().await,
            }
        };
        self.counted(StoreOperation::Status, work).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::Objects(_) => Ok(()),
            Place::Remote(remote) => remote.check().await,
        }
    }

    fn logs_outages(&self) -> bool {
        matches!(self.place, Place::Remote(_))
    }
}

/// The objects, over which the keys are spread by the hashes of their names.
struct Objects(DurableObjectNamespace);

impl Objects {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        match self.of(name)?.create(name.as_str(), value).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Exists),
            Err(trouble) => Err(failure(&trouble)),
        }
    }

    async fn read(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let value = self.of(name)?.read(name.as_str()).await;
        value
            .map_err(|trouble| failure(&trouble))?
            .ok_or(StoreError::NotFound)
    }

    async fn remove(&self, name: &Name) -> Result<(), StoreError> {
        match self.of(name)?.remove(name.as_str()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::NotFound),
            Err(trouble) => Err(failure(&trouble)),
        }
    }

    /// Each object gives the first of its names, and the first of all these are the first of all.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let most = u32::try_from(limit).unwrap_or(u32::MAX);
        let parts = (0..OBJECTS).map(|number| async move {
            let part = self.part(number)?;
            let names = part.list(prefix, after.unwrap_or_default(), most).await;
            names.map_err(|trouble| failure(&trouble))
        });
        let mut names = try_join_all(parts).await?.concat();
        names.sort_unstable();
        names.truncate(limit);
        Ok(names)
    }

    /// One answers for all: whoever asks every few seconds would keep all of them awake, and paid for.
    async fn status(&self) -> Result<(), StoreError> {
        let status = self.part(0)?.status().await;
        status.map_err(|trouble| failure(&trouble))
    }

    /// The object that has this key.
    fn of(&self, name: &Name) -> Result<Part, StoreError> {
        let [first, ..] = <[u8; 32]>::from(Sha256::digest(name.as_str()));
        self.part(first % OBJECTS)
    }

    fn part(&self, number: u8) -> Result<Part, StoreError> {
        Part::of(&self.0, &format!("keys-{number}")).map_err(|trouble| failure(&trouble))
    }
}

fn failure(trouble: &Trouble) -> StoreError {
    if trouble.is_its_own {
        StoreError::Failed(trouble.to_string())
    } else {
        StoreError::Unreachable(trouble.to_string())
    }
}
