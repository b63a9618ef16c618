//! Keys that were read from the store, kept in this instance's memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::config::CacheExpiry;
use crate::key::Key;
use crate::name::Name;
use crate::time::Time;

/// The cache of one instance. Only what exists is kept: a negative answer never is.
pub struct Cache {
    expiry: CacheExpiry,
    entries: RefCell<BTreeMap<Name, Entry>>,
    generation: Cell<Generation>,
}

struct Entry {
    key: Rc<Key>,
    /// When the read that brought the key began.
    read: Time,
    used: Cell<Time>,
}

/// Counts the invalidations that this instance was told of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

impl Cache {
    /// An empty cache.
    pub fn new(expiry: CacheExpiry) -> Self {
        Self {
            expiry,
            entries: RefCell::default(),
            generation: Cell::new(Generation(0)),
        }
    }

    /// The key, unless it is too old or was not used for too long.
    pub fn get(&self, name: &Name, now: Time) -> Option<Rc<Key>> {
        let entries = self.entries.borrow();
        let entry = entries
            .get(name)
            .filter(|entry| self.is_fresh(entry, now))?;
        entry.used.set(now);
        Some(entry.key.clone())
    }

    /// The key while the store is away, however long it was not used, if it was read less than
    /// `offline` ago.
    pub fn get_offline(&self, name: &Name, now: Time) -> Option<Rc<Key>> {
        let entries = self.entries.borrow();
        let entry = entries
            .get(name)
            .filter(|entry| self.serves_offline(entry, now))?;
        entry.used.set(now);
        Some(entry.key.clone())
    }

    /// To be asked for before a read of the store begins, and given to [`Cache::fill`].
    pub fn generation(&self) -> Generation {
        self.generation.get()
    }

    /// Keeps a key that was read at `now`, unless anything was invalidated since the read began:
    /// it might have been this key.
    pub fn fill(&self, name: &Name, key: Rc<Key>, now: Time, begun: Generation) {
        if begun == self.generation.get() {
            let entry = Entry {
                key,
                read: now,
                used: Cell::new(now),
            };
            self.entries.borrow_mut().insert(name.clone(), entry);
        }
    }

    /// Drops a key that the store does not have any more.
    pub fn remove(&self, name: &Name) {
        self.entries.borrow_mut().remove(name);
    }

    /// Drops the key, and keeps every read that has begun from bringing it back.
    pub fn forget(&self, name: &Name) {
        let Generation(count) = self.generation.get();
        self.generation.set(Generation(count.wrapping_add(1)));
        self.remove(name);
    }

    /// Drops, and so wipes, what can serve no request any more.
    pub fn sweep(&self, now: Time) {
        self.entries
            .borrow_mut()
            .retain(|_, entry| self.is_fresh(entry, now) || self.serves_offline(entry, now));
    }

    fn is_fresh(&self, entry: &Entry, now: Time) -> bool {
        within(now.since(entry.read), self.expiry.any)
            && within(now.since(entry.used.get()), self.expiry.unused)
    }

    fn serves_offline(&self, entry: &Entry, now: Time) -> bool {
        now.since(entry.read) < self.expiry.offline
    }
}

/// Whether an age is inside a limit, of which zero is none.
fn within(age: Duration, limit: Duration) -> bool {
    limit.is_zero() || age < limit
}
