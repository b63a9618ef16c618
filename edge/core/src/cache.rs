//! Keys that were read from the store, kept in this instance's memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;

use siphasher::sip::SipHasher13;

use crate::config::CacheExpiry;
use crate::crypto::Random;
use crate::key::Key;
use crate::name::Name;
use crate::time::Time;

/// The cache of one instance. Only what exists is kept: a negative answer never is.
pub struct Cache {
    expiry: Cell<CacheExpiry>,
    entries: RefCell<HashMap<Name, Entry, Seed>>,
    generation: Cell<Generation>,
}

struct Entry {
    key: Rc<Key>,
    /// When the read that brought the key began.
    read: Time,
    used: Cell<Time>,
}

/// What names are hashed with. Clients choose names, so none may know it: else they could choose
/// such as collide. WebAssembly has no random seed of its own.
#[derive(Clone, Copy)]
pub struct Seed([u8; 16]);

impl Seed {
    /// A random seed.
    pub fn random(random: &mut Random<'_>) -> Self {
        let mut seed = [0; 16];
        random(&mut seed);
        Self(seed)
    }
}

impl BuildHasher for Seed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

/// Counts the invalidations that this instance was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

impl Cache {
    /// An empty cache. The seed has to be random.
    pub fn new(expiry: CacheExpiry, seed: Seed) -> Self {
        Self {
            expiry: Cell::new(expiry),
            entries: RefCell::new(HashMap::with_hasher(seed)),
            generation: Cell::new(Generation(0)),
        }
    }

    /// Changes how long keys are kept: those that are in it, and those to come.
    pub fn set_expiry(&self, expiry: CacheExpiry) {
        self.expiry.set(expiry);
    }

    /// The key, unless it is too old or was not used for too long.
    pub fn get(&self, name: &Name, now: Time) -> Option<Rc<Key>> {
        let entries = self.entries.borrow();
        let entry = entries
            .get(name)
            .filter(|entry| self.is_fresh(entry.read, entry.used.get(), now))?;
        entry.used.set(now);
        Some(entry.key.clone())
    }

    /// The key while the store is away, however long it was not used, if it was read less than
    /// `offline` ago.
    pub fn get_offline(&self, name: &Name, now: Time) -> Option<Rc<Key>> {
        let entries = self.entries.borrow();
        let entry = entries
            .get(name)
            .filter(|entry| self.serves_offline(entry.read, now))?;
        entry.used.set(now);
        Some(entry.key.clone())
    }

    /// A key that [`Cache::get_offline`] would give, and when it was read: for another cache.
    pub fn kept(&self, name: &Name, now: Time) -> Option<(Rc<Key>, Time)> {
        let entries = self.entries.borrow();
        let entry = entries
            .get(name)
            .filter(|entry| self.serves_offline(entry.read, now))?;
        Some((entry.key.clone(), entry.read))
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

    /// How many keys are in it, with those that are too old and not swept out yet.
    pub fn count(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Drops, and so wipes, what can serve no request any more.
    pub fn sweep(&self, now: Time) {
        self.entries.borrow_mut().retain(|_, entry| {
            self.is_fresh(entry.read, entry.used.get(), now) || self.serves_offline(entry.read, now)
        });
    }

    /// Whether a key that was read and used last at these times is served without a read.
    pub fn is_fresh(&self, read: Time, used: Time, now: Time) -> bool {
        let expiry = self.expiry.get();
        // If the clock has stepped back to before the read, nobody knows how old the key is.
        read <= now && now.since(read) < expiry.any && now.since(used) < expiry.unused
    }

    /// Whether a use is to be noted where that takes a write: after a tenth of `unused`.
    pub fn notes_use(&self, used: Time, now: Time) -> bool {
        now.since(used) >= self.expiry.get().unused / 10
    }

    /// Whether any key is served while the store is away.
    pub fn serves_offline_at_all(&self) -> bool {
        !self.expiry.get().offline.is_zero()
    }

    /// Whether a key that was read at this time is served while the store is away.
    pub fn serves_offline(&self, read: Time, now: Time) -> bool {
        read <= now && now.since(read) < self.expiry.get().offline
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: u64 = 1_000_000_000_000_000_000;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(START + seconds * 1_000_000_000)
    }

    fn cache(any: u64, unused: u64, offline: u64) -> Cache {
        let [any, unused, offline] = [any, unused, offline].map(Duration::from_secs);
        let expiry = CacheExpiry {
            any,
            unused,
            offline,
        };
        Cache::new(expiry, Seed([7; 16]))
    }

    fn key() -> Rc<Key> {
        Rc::new(Key::create(
            &mut |bytes| bytes.fill(7),
            at(0).timestamp(),
            None,
        ))
    }

    fn name() -> Name {
        Name::new("k").unwrap()
    }

    fn filled(cache: &Cache, now: Time) {
        cache.fill(&name(), key(), now, cache.generation());
    }

    #[test]
    fn any_ends_a_key_however_much_it_is_used() {
        let cache = cache(10, 5, 0);
        filled(&cache, at(0));
        for second in [4, 8, 9] {
            assert!(cache.get(&name(), at(second)).is_some(), "{second}");
        }
        assert!(cache.get(&name(), at(10)).is_none());
    }

    #[test]
    fn unused_ends_a_key_that_is_not_used() {
        let cache = cache(100, 5, 0);
        filled(&cache, at(0));
        assert!(cache.get(&name(), at(4)).is_some());
        assert!(cache.get(&name(), at(9)).is_none());
    }

    #[test]
    fn a_new_expiry_holds_for_keys_that_are_there() {
        let cache = cache(100, 100, 0);
        filled(&cache, at(0));
        cache.set_expiry(CacheExpiry {
            any: Duration::from_secs(10),
            unused: Duration::from_secs(5),
            offline: Duration::ZERO,
        });
        assert!(cache.get(&name(), at(4)).is_some());
        assert!(cache.get(&name(), at(9)).is_none());
    }

    #[test]
    fn offline_counts_from_the_read() {
        let cache = cache(10, 5, 60);
        filled(&cache, at(0));
        cache.sweep(at(30));
        assert!(cache.get(&name(), at(30)).is_none());
        assert!(cache.get_offline(&name(), at(59)).is_some());
        assert!(cache.get_offline(&name(), at(60)).is_none());
    }

    #[test]
    fn nothing_is_served_offline_unless_that_is_on() {
        let cache = cache(10, 5, 0);
        filled(&cache, at(0));
        assert!(cache.get_offline(&name(), at(0)).is_none());
    }

    #[test]
    fn sweeping_drops_what_serves_nobody() {
        let cache = cache(10, 5, 0);
        filled(&cache, at(0));
        cache.sweep(at(4));
        assert_eq!(cache.entries.borrow().len(), 1);
        cache.sweep(at(5));
        assert_eq!(cache.entries.borrow().len(), 0);
    }

    #[test]
    fn a_read_that_began_before_an_invalidation_fills_nothing() {
        let cache = cache(10, 5, 60);
        let begun = cache.generation();
        cache.forget(&name());
        cache.fill(&name(), key(), at(0), begun);
        assert!(cache.get(&name(), at(0)).is_none());
        assert!(cache.get_offline(&name(), at(0)).is_none());
    }

    #[test]
    fn a_clock_that_steps_back_lengthens_no_life() {
        let cache = cache(10, 5, 60);
        filled(&cache, at(100));
        assert!(cache.get(&name(), at(99)).is_none());
        assert!(cache.get_offline(&name(), at(99)).is_none());
    }
}
