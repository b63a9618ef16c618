//! Copies of keys that the platform keeps (see [`crate::copies`]): when they are made, served and dropped.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::Service;
use crate::cache::Generation;
use crate::copies::{Burial, Copies, Found};
use crate::key::Key;
use crate::name::Name;
use crate::platform::Platform;
use crate::store::StoreError;
use crate::time::Time;

/// How long a request waits for what it can do without.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much longer than any older copy a burial lasts: longer than a delete takes.
const LONGEST_DELETE: Duration = Duration::from_secs(60);

/// What the log has already.
#[derive(Default)]
pub(super) struct Said {
    unreadable: Cell<bool>,
    unkept: Cell<bool>,
    alien: Cell<bool>,
}

/// What the platform has of a key.
pub(super) struct Known {
    found: Found,
    copy: Option<Copy>,
    /// From before the platform was asked.
    begun: Generation,
}

/// A copy that has opened.
struct Copy {
    key: Rc<Key>,
    /// When the read of the key store began that brought it.
    read: Time,
    used: Time,
}

impl<P: Platform> Service<P> {
    /// How long copies of keys may be of use, if the platform keeps such; zero if none are made.
    pub fn copies_last(&self) -> Duration {
        self.copies_last
    }

    /// What the platform has of a key; `None` where it keeps no copies, or does not answer: then the key store
    /// decides alone.
    pub(super) async fn known(&self, name: &Name) -> Option<Known> {
        let copies = self
            .platform
            .copies()
            .filter(|_| !self.copies_last.is_zero())?;
        let begun = self.cache.generation();
        let found = self.patiently(copies.read(name)).await;
        let found = self.done(&self.said.unreadable, "read", found)?;
        let copy = match &found.copy {
            Some(copy) => self.opened(name, copy, found.used).await,
            None => None,
        };
        Some(Known { found, copy, begun })
    }

    async fn opened(&self, name: &Name, copy: &[u8], used: Option<Time>) -> Option<Copy> {
        let opened = self.sealing.open_copy(&self.platform, name, copy).await;
        let opened = opened.ok().and_then(|(read, value)| {
            let key = Rc::new(Key::from_stored(&value).ok()?);
            let used = used.map_or(read, |used| used.max(read));
            Some(Copy { key, read, used })
        });
        if opened.is_none() && !self.said.alien.replace(true) {
            self.platform.error(&format!(
                "what was kept as a copy of '{name}' does not open and counts as none: it is damaged, of another \
                 name or by another identity; further ones are not reported"
            ));
        }
        opened
    }

    /// The key of a copy that is young enough and in use: it goes into memory as if it had been read here.
    pub(super) async fn fresh(&self, name: &Name, known: &Known) -> Option<Rc<Key>> {
        let copy = known.copy.as_ref()?;
        let now = self.platform.now();
        if !self.cache.is_fresh(copy.read, copy.used, now) {
            return None;
        }
        let key = self.taken(name, copy, known)?;
        // From now on it is in use.
        self.cache.get(name, now);
        if let Some(copies) = self.platform.copies()
            && !P::MEMORY
            && self.cache.notes_use(copy.used, now)
        {
            let used = self.patiently(copies.used(name, &known.found, now)).await;
            self.done(&self.said.unkept, "kept", used);
        }
        Some(key)
    }

    /// The key of a copy that may be served while the key store is away, unless it was deleted here meanwhile.
    pub(super) fn copied(&self, name: &Name, known: &Known) -> Option<Rc<Key>> {
        let copy = known.copy.as_ref()?;
        let is_young = self.cache.serves_offline(copy.read, self.platform.now());
        self.taken(name, copy, known).filter(|_| is_young)
    }

    fn taken(&self, name: &Name, copy: &Copy, known: &Known) -> Option<Rc<Key>> {
        if known.begun != self.cache.generation() {
            return None;
        }
        self.cache
            .fill(name, copy.key.clone(), copy.read, known.begun);
        Some(copy.key.clone())
    }

    /// Has a copy kept of what a read has brought that began at the time `read`.
    pub(super) async fn keep(&self, name: &Name, value: &[u8], read: Time, known: &Known) {
        let Some(copies) = self.platform.copies() else {
            return;
        };
        let sealed = self.sealing.copy(&self.platform, name, value, read).await;
        let until = read.after(self.copies_last);
        let kept = match sealed {
            Ok(copy) => {
                let keep = copies.keep(name, &copy, known.found.ticket, read, until);
                self.patiently(keep).await
            }
            Err(why) => Err(why.to_string()),
        };
        self.done(&self.said.unkept, "kept", kept);
    }

    /// Drops the copy, if there is one, of a key that the key store does not have any more.
    pub(super) async fn drop_copy(&self, name: &Name, known: &Known) {
        let Some(copies) = self.platform.copies().filter(|_| known.copy.is_some()) else {
            return;
        };
        // It ends at once, and has ended what was read before.
        let buried = self.patiently(copies.bury(name, self.platform.now())).await;
        self.done(&self.said.unkept, "dropped", buried);
    }

    /// Sees to it that no copy brings a key back that is to be deleted, whatever this configuration says of copies:
    /// another one may have left some.
    ///
    /// # Errors
    /// That is not sure: then it must not be deleted.
    pub(super) async fn bury(&self, name: &Name) -> Result<Option<Burial>, StoreError> {
        let Some(copies) = self.platform.copies() else {
            return Ok(None);
        };
        let lasts = self.copies_last.saturating_add(LONGEST_DELETE);
        let until = self.platform.now().after(lasts);
        let buried = copies.bury(name, until).await;
        buried.map(Some).map_err(|why| {
            StoreError::Failed(format!(
                "copies of it can't be dropped, so it is kept: {why}"
            ))
        })
    }

    /// Ends a burial: the key is gone.
    pub(super) async fn dig_up(&self, name: &Name, burial: Burial) {
        let Some(copies) = self.platform.copies() else {
            return;
        };
        if let Err(why) = self.patiently(copies.dig_up(name, burial)).await {
            self.platform.error(&format!(
                "'{name}' is deleted, and there are no copies of a new key of that name until \
                 the longest of `cache.expiry` has passed: {why}"
            ));
        }
    }

    /// What was done; that it was not is said once, until it is done again.
    fn done<T>(&self, said: &Cell<bool>, what: &str, outcome: Result<T, String>) -> Option<T> {
        match outcome {
            Ok(done) => {
                said.set(false);
                Some(done)
            }
            Err(why) => {
                if !said.replace(true) {
                    self.platform.error(&format!(
                        "copies of keys can't be {what}, so while the key store is away some may be missing: {why}"
                    ));
                }
                None
            }
        }
    }

    /// The outcome of something without which a request goes on.
    pub(super) async fn patiently<T>(
        &self,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let work = pin!(work);
        let outcome = self
            .in_time(Some(PATIENCE), self.platform.now(), work)
            .await;
        outcome.unwrap_or_else(|| Err(format!("there is no answer in {PATIENCE:?}")))
    }
}
