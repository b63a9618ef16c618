//! Sealed copies of keys ([`sealedge_core::copies`]), where each of the store's operations is done at once, and nothing
//! of several.
//!
//! A name has a number that counts its burials and their ends. A copy is kept under the number that its reader has found
//! before: so one that comes too late is where nobody looks any more, and nothing has to be compared and set at once. In
//! the number's lower half are the burials that have not ended.

use std::time::Duration;

use sealedge_core::copies::{self, Burial, Found, Ticket};
use sealedge_core::name::Name;
use sealedge_core::time::Time;

use crate::keyvalue::{KeyValue, Trouble, count, read_number};
use crate::places;

#[cfg(test)]
mod tests;

/// What a burial adds to the number, and what its end does.
const BEGUN: i64 = 1;
const ENDED: i64 = (1 << 32) - BEGUN;

/// How many are looked at in one go.
const AT_ONCE: usize = 16;

/// The copies.
pub struct Copies<K, C> {
    store: K,
    now: C,
}

/// What a name's number says.
#[derive(Clone, Copy)]
struct Burials(i64);

impl Burials {
    fn are_under_way(self) -> bool {
        self.0 & i64::from(u32::MAX) != 0
    }

    fn ticket(self) -> u64 {
        self.0.unsigned_abs()
    }
}

impl<K: KeyValue, C: Fn() -> Time> Copies<K, C> {
    /// Those in a store, by a clock.
    pub fn new(store: K, now: C) -> Self {
        Self { store, now }
    }

    fn burials(&self, name: &Name) -> Result<Burials, Trouble> {
        let burials = read_number(&self.store, &places::burials(name))?;
        Ok(Burials(burials.unwrap_or_default()))
    }

    /// Until when the name is buried, if burials have begun that have not ended. What was read before that may have been
    /// deleted since.
    fn until(&self, name: &Name, burials: Burials) -> Result<Option<Time>, Trouble> {
        if !burials.are_under_way() {
            return Ok(None);
        }
        let until = self.store.get(&places::buried(name))?;
        Ok(Some(until.and_then(|it| time(&it)).unwrap_or(FOR_EVER)))
    }

    /// While the name is buried there is nothing under its number: that is seen to where copies are kept.
    fn found(&self, name: &Name) -> Result<Found, Trouble> {
        let burials = self.burials(name)?;
        let kept = self.store.get(&places::copy(name, burials.ticket()))?;
        let kept = kept.as_deref().and_then(read);
        Ok(Found {
            copy: kept.map(|(_, _, copy)| copy.to_vec()),
            used: kept.map(|(_, used, _)| used),
            ticket: Ticket(burials.ticket()),
        })
    }

    fn kept(&self, name: &Name, copy: &[u8], ticket: Ticket, at: Time) -> Result<(), Trouble> {
        let burials = self.burials(name)?;
        let until = self.until(name, burials)?;
        if ticket != Ticket(burials.ticket()) || until.is_some_and(|until| at < until) {
            return Ok(());
        }
        let place = places::copy(name, burials.ticket());
        let before = self.store.get(&place)?;
        if before.is_some_and(|it| read(&it).is_some_and(|(other, ..)| other > at)) {
            return Ok(());
        }
        self.store.set(&place, &written(at, at, copy))
    }

    fn use_noted(&self, name: &Name, found: &Found, now: Time) -> Result<(), Trouble> {
        let place = places::copy(name, found.ticket.0);
        match self.store.get(&place)?.as_deref().and_then(read) {
            Some((at, _, copy)) => self.store.set(&place, &written(at, now, copy)),
            None => Ok(()),
        }
    }

    /// The time comes first: a burial whose number is seen is seen to last.
    fn buried(&self, name: &Name, until: Time) -> Result<Burial, Trouble> {
        let place = places::buried(name);
        let other = self.store.get(&place)?.and_then(|it| time(&it));
        let until = other.map_or(until, |other| other.max(until));
        self.store.set(&place, &until.as_nanos().to_be_bytes())?;
        let burials = Burials(count(&self.store, &places::burials(name), BEGUN)?);
        let before = Burials(burials.0.saturating_sub(BEGUN));
        self.store.delete(&places::copy(name, before.ticket()))?;
        Ok(Burial(burials.ticket()))
    }

    fn dug_up(&self, name: &Name) -> Result<(), Trouble> {
        let burials = Burials(count(&self.store, &places::burials(name), ENDED)?);
        let before = Burials(burials.0.saturating_sub(ENDED));
        // The second is there only if the store has no numbers that are told apart from each other.
        let places = [before, burials].map(|it| places::copy(name, it.ticket()));
        places.iter().try_for_each(|place| self.store.delete(place))
    }

    /// Drops copies that were read more than so long ago, which nobody takes: a few of these keys, beginning at some
    /// place.
    pub fn sweep(&self, keys: &[String], begin: usize, lasts: Duration) -> Result<(), Trouble> {
        let copies: Vec<&String> = keys
            .iter()
            .filter(|key| key.starts_with(places::COPIES))
            .collect();
        let begin = begin.checked_rem(copies.len()).unwrap_or_default();
        for key in copies
            .iter()
            .cycle()
            .skip(begin)
            .take(AT_ONCE.min(copies.len()))
        {
            let kept = self.store.get(key)?;
            let is_old = |(at, ..): (Time, _, _)| (self.now)().since(at) > lasts;
            if kept.as_deref().and_then(read).is_none_or(is_old) {
                self.store.delete(key)?;
            }
        }
        Ok(())
    }
}

/// Longer than anything lasts.
const FOR_EVER: Time = Time::from_nanos(u64::MAX);

/// A copy as it is kept: when it was read, when it was used last, and the copy.
fn written(at: Time, used: Time, copy: &[u8]) -> Vec<u8> {
    let times = [at, used].map(|time| time.as_nanos().to_be_bytes());
    [times.as_flattened(), copy].concat()
}

fn read(kept: &[u8]) -> Option<(Time, Time, &[u8])> {
    let (at, rest) = kept.split_at_checked(8)?;
    let (used, copy) = rest.split_at_checked(8)?;
    Some((time(at)?, time(used)?, copy))
}

fn time(value: &[u8]) -> Option<Time> {
    Some(Time::from_nanos(u64::from_be_bytes(value.try_into().ok()?)))
}

fn said<T>(outcome: Result<T, Trouble>) -> Result<T, String> {
    outcome.map_err(|trouble| trouble.to_string())
}

impl<K: KeyValue, C: Fn() -> Time> copies::Copies for Copies<K, C> {
    async fn read(&self, name: &Name) -> Result<Found, String> {
        said(self.found(name))
    }

    async fn keep(
        &self,
        name: &Name,
        copy: &[u8],
        ticket: Ticket,
        read: Time,
        _: Time,
    ) -> Result<(), String> {
        said(self.kept(name, copy, ticket, read))
    }

    async fn used(&self, name: &Name, found: &Found, now: Time) -> Result<(), String> {
        said(self.use_noted(name, found, now))
    }

    async fn bury(&self, name: &Name, until: Time) -> Result<Burial, String> {
        said(self.buried(name, until))
    }

    async fn dig_up(&self, name: &Name, _: Burial) -> Result<(), String> {
        said(self.dug_up(name))
    }
}
