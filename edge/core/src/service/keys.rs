//! Keys: from the cache, or else from the key store, and into it.

use std::cell::Cell;
use std::rc::Rc;

use zeroize::Zeroizing;

use super::Service;
use super::copies::Known;
use crate::error::{Action, Error, Kind};
use crate::identity::Identity;
use crate::key::Key;
use crate::name::Name;
use crate::platform::Platform;
use crate::store::{Renew, Store, StoreError};
use crate::time::Time;

impl<P: Platform> Service<P> {
    /// Creates a key under a name that is free.
    pub(crate) async fn create_key(
        &self,
        name: &Name,
        creator: Option<Identity>,
    ) -> Result<(), Error> {
        let now = self.platform.now().timestamp();
        let mut random = |buffer: &mut [u8]| self.platform.random(buffer);
        let key = Key::create(&mut random, now, creator);
        self.store_key(name, &key).await
    }

    /// Stores a new key under a name that is free.
    pub(crate) async fn store_key(&self, name: &Name, key: &Key) -> Result<(), Error> {
        let value = self.sealing.wrap(&self.platform, name, key.to_stored());
        let value = value.await.map_err(|source| Error::Sealing {
            action: Action::Create,
            name: name.clone(),
            source,
        })?;
        self.platform
            .store()
            .create(name, value.as_bytes())
            .await
            .map_err(|source| match source {
                StoreError::Exists => Error::KeyExists,
                source => Error::Store {
                    action: Action::Create,
                    source,
                },
            })
    }

    /// Deletes a key, and what is left of it anywhere else.
    pub(crate) async fn delete_key(&self, name: &Name) -> Result<(), Error> {
        // If the time of the request is over before the store has said anything, no cache may know better either.
        self.platform.invalidate(name).await;
        let _forgotten = Forgotten {
            service: self,
            name,
        };
        let deleted = self.delete_stored(name).await;
        // Nor what was read meanwhile, whatever the store said.
        self.platform.invalidate(name).await;
        deleted.map_err(|source| match source {
            StoreError::NotFound => Error::NotFound(Kind::Key),
            source => Error::Store {
                action: Action::Delete,
                source,
            },
        })
    }

    async fn delete_stored(&self, name: &Name) -> Result<(), StoreError> {
        let burial = self.bury(name).await?;
        let deleted = self.platform.store().delete(name).await;
        // If nobody knows what became of it, the burial stays.
        if let (Some(burial), Ok(()) | Err(StoreError::NotFound)) = (burial, &deleted) {
            self.dig_up(name, burial).await;
        }
        deleted
    }

    /// The key of this name: from the cache, or else from the store.
    ///
    /// `now` may be when the request arrived: each reading of the clock costs a call of the platform.
    pub(crate) async fn key(&self, name: &Name, now: Time) -> Result<Rc<Key>, Error> {
        if let Some(key) = self.cache.get(name, now) {
            self.counters.cache_hit();
            return Ok(key);
        }
        // In a box: else every request would have room for what few need.
        Box::pin(self.missing_key(name, now)).await
    }

    async fn missing_key(&self, name: &Name, now: Time) -> Result<Rc<Key>, Error> {
        self.counters.cache_miss();
        let begun = self.cache.generation();
        let known = self.known(name).await;
        if let Some(known) = &known
            && let Some(key) = self.fresh(name, known).await
        {
            return Ok(key);
        }
        // While the key store is away, one call at a time waits for it, which may take seconds.
        let is_away = self.is_away.get();
        let _try = match Try::begin(&self.is_tried) {
            None if is_away && let Some(key) = self.offline(name, known.as_ref()).await => {
                return Ok(key);
            }
            begun => begun,
        };
        let read = self.platform.now();
        let mut found = self.platform.store().get(name).await;
        if matches!(found, Err(StoreError::NotFound)) && self.owes_keys.get() {
            // It may be one of those; whether the node is unsealed is asked where it matters.
            let _ = self.unseal().await;
            found = self.platform.store().get(name).await;
        }
        self.is_away
            .set(matches!(found, Err(StoreError::Unreachable(_))));
        match found {
            Ok(value) => {
                // Whoever waited for the same read may have opened it already, which takes its time.
                if let Some(key) = self.cache.get(name, now) {
                    return Ok(key);
                }
                let opened = self.sealing.unwrap(&self.platform, name, &value).await;
                let opened = opened.map_err(|source| Error::Sealing {
                    action: Action::Read,
                    name: name.clone(),
                    source,
                })?;
                let key = Key::from_stored(&opened.value).map_err(|source| Error::Corrupt {
                    name: name.clone(),
                    source,
                })?;
                let key = Rc::new(key);
                self.cache.fill(name, key.clone(), now, begun);
                if !opened.is_wanted {
                    self.renew(name, &value, &opened.value).await;
                }
                if let Some(known) = &known {
                    self.keep(name, &opened.value, read, known).await;
                }
                Ok(key)
            }
            Err(StoreError::NotFound) => {
                self.cache.remove(name);
                if let Some(known) = &known {
                    self.drop_copy(name, known).await;
                }
                Err(Error::NotFound(Kind::Key))
            }
            Err(source) => {
                let cached = match source {
                    // It may have taken a while to find out.
                    StoreError::Unreachable(_) => {
                        let known = self.known(name).await;
                        self.offline(name, known.as_ref()).await
                    }
                    _ => None,
                };
                cached.ok_or(Error::Store {
                    action: Action::Read,
                    source,
                })
            }
        }
    }

    /// Has a key sealed as the configuration wants it, in a store where nobody else can do that: if what was
    /// found of it, `stored`, is still there. The read from which it comes succeeds whatever becomes of this.
    async fn renew(&self, name: &Name, stored: &[u8], value: &[u8]) {
        let Some(store) = self.platform.store().renewing() else {
            return;
        };
        let renew = async {
            let sealed = self.sealing.renewed(&self.platform, name, value).await;
            let Some(sealed) = sealed.map_err(|why| why.to_string())? else {
                return Ok(());
            };
            match store.replace(name, stored, sealed.as_bytes()).await {
                // Somebody else has done it, or has deleted it.
                Ok(()) | Err(StoreError::Changed) => Ok(()),
                Err(why) => Err(why.to_string()),
            }
        };
        if let Err(why) = self.patiently(renew).await {
            self.platform.error(&format!(
                "'{name}' is not sealed as the configuration wants it, and can't be sealed anew: {why}"
            ));
        }
    }

    /// A key that may be served while the key store is away: from a copy, where the platform keeps such and
    /// answers, for it knows of every delete. Or else from this cache, or from another instance's, for each
    /// has only those that it was asked for.
    async fn offline(&self, name: &Name, known: Option<&Known>) -> Option<Rc<Key>> {
        let key = match known {
            Some(known) => self.copied(name, known),
            None => self.remembered(name).await,
        };
        if key.is_some() {
            self.counters.served_offline();
        }
        key
    }

    async fn remembered(&self, name: &Name) -> Option<Rc<Key>> {
        let mut key = self.cache.get_offline(name, self.platform.now());
        if key.is_none() && self.cache.serves_offline_at_all() {
            let begun = self.cache.generation();
            let (value, read) = self.platform.kept(name).await?;
            let found = Rc::new(Key::from_stored(&value).ok()?);
            // Not if it was deleted meanwhile.
            self.cache.fill(name, found, read, begun);
            key = self.cache.get_offline(name, self.platform.now());
        }
        key
    }

    /// A key in this instance's cache that may be served while the key store is away, in its stored form
    /// and not sealed, and when it was read: for another instance.
    pub fn kept(&self, name: &Name) -> Option<(Zeroizing<String>, Time)> {
        let (key, read) = self.cache.kept(name, self.platform.now())?;
        Some((key.to_stored(), read))
    }

    /// Drops the key from this instance's cache, and keeps reads that have begun from filling it.
    pub fn forget(&self, name: &Name) {
        self.cache.forget(name);
    }
}

/// A key that this instance forgets at the end, whatever ends it.
struct Forgotten<'s, P: Platform> {
    service: &'s Service<P>,
    name: &'s Name,
}

impl<P: Platform> Drop for Forgotten<'_, P> {
    fn drop(&mut self) {
        self.service.forget(self.name);
    }
}

/// A call that asks the key store for a key. Whoever drops it, even in the middle, lets another one ask.
struct Try<'t>(&'t Cell<bool>);

impl<'t> Try<'t> {
    /// `None` if there is such a call.
    fn begin(is_tried: &'t Cell<bool>) -> Option<Self> {
        (!is_tried.replace(true)).then(|| Self(is_tried))
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
