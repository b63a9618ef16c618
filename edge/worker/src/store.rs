//! Where keys are kept: in Durable Objects, or by a server elsewhere.

use futures_util::future::try_join_all;
use sealedge_core::config::Keystore;
use sealedge_core::metrics::{StoreFailure, StoreOperation};
use sealedge_core::name::Name;
use sealedge_core::platform::World;
use sealedge_core::store::remote::Remote;
use sealedge_core::store::{Renew, Store, StoreError};
use sealedge_core::time::Time;
use wasm_bindgen::JsValue;
use worker_sys::DurableObjectNamespace;
use zeroize::Zeroizing;

use crate::binding;
use crate::copies::Copies;
use crate::objects::keys::Part;
use crate::objects::{OBJECTS, Trouble, place};
use crate::outside::Outside;

/// What the objects are bound to.
const BINDING: &str = "KEYS";

/// The key store of an isolate.
pub struct Keys {
    place: Place,
    outside: Outside,
}

enum Place {
    Objects(Objects),
    /// Elsewhere, and copies here.
    Remote(Remote<Outside>, Copies),
}

impl Keys {
    /// The key store that the configuration names.
    ///
    /// # Errors
    /// It is not bound to the Worker.
    pub fn new(env: &JsValue, keystore: &Keystore, outside: &Outside) -> Result<Self, String> {
        let place = match Remote::new(keystore, outside.clone()) {
            Some(remote) => Place::Remote(remote, Copies::new(env)?),
            None => Place::Objects(Objects(binding::objects(env, BINDING)?)),
        };
        Ok(Self {
            place,
            outside: outside.clone(),
        })
    }

    /// Copies of the keys, if they are elsewhere.
    pub fn copies(&self) -> Option<&Copies> {
        match &self.place {
            Place::Objects(_) => None,
            Place::Remote(_, copies) => Some(copies),
        }
    }

    /// Counts an operation, and how it ends.
    async fn counted<T>(
        &self,
        what: StoreOperation,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut counted = Counted::begin(&self.outside, what);
        let outcome = work.await;
        counted.failure = match &outcome {
            Err(StoreError::Unreachable(_)) => Some(StoreFailure::Unreachable),
            Err(StoreError::Failed(_)) => Some(StoreFailure::Failed),
            _ => None,
        };
        outcome
    }
}

/// An operation that is under way, and is counted at its end: even if nobody waits for that any more, and the store
/// has not answered.
struct Counted<'o> {
    outside: &'o Outside,
    what: StoreOperation,
    begun: Time,
    failure: Option<StoreFailure>,
}

impl<'o> Counted<'o> {
    fn begin(outside: &'o Outside, what: StoreOperation) -> Self {
        outside.counters().store_begin();
        Self {
            outside,
            what,
            begun: outside.now(),
            failure: Some(StoreFailure::Unreachable),
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let took = self.outside.now().since(self.begun);
        let counters = self.outside.counters();
        counters.store_end(self.what, self.failure, took);
    }
}

impl Store for Keys {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.create(name, value).await,
                Place::Remote(remote, _) => remote.create(name, value).await,
            }
        };
        self.counted(StoreOperation::Create, work).await
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.read(name).await,
                Place::Remote(remote, _) => remote.get(name).await,
            }
        };
        self.counted(StoreOperation::Read, work).await
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.remove(name).await,
                Place::Remote(remote, _) => remote.delete(name).await,
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
                Place::Remote(remote, _) => remote.list(prefix, after, limit).await,
            }
        };
        self.counted(StoreOperation::List, work).await
    }

    async fn status(&self) -> Result<(), StoreError> {
        let work = async {
            match &self.place {
                Place::Objects(objects) => objects.status().await,
                Place::Remote(remote, _) => remote.status().await,
            }
        };
        self.counted(StoreOperation::Status, work).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        match &self.place {
            Place::Objects(_) => Ok(()),
            Place::Remote(remote, _) => remote.check().await,
        }
    }

    fn logs_outages(&self) -> bool {
        matches!(self.place, Place::Remote(..))
    }

    /// In the objects nobody else has a hand.
    fn renewing(&self) -> Option<&impl Renew> {
        match &self.place {
            Place::Objects(objects) => Some(objects),
            Place::Remote(..) => None,
        }
    }
}

impl Renew for Objects {
    async fn replace(&self, name: &Name, old: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match self.of(name)?.replace(name.as_str(), old, value).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Changed),
            Err(trouble) => Err(failure(&trouble)),
        }
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
        self.part(place(name))
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
