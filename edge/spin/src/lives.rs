//! Keys in a store that can neither create exactly once nor replace exactly.
//!
//! A name has **lives**, one after the other: a life begins by a create and ends by a delete, and none comes twice. So
//! the key of a life is written once, by the one that has the first claim to it, and nobody who comes late with a key
//! or a delete for an older life can touch a younger one.
//!
//! - **Claims.** Whoever finds no life claims the next one by `increment`. The first writes its key; the others wait a
//!   little, and then want that life never to begin, for the first may have stopped for good.
//! - **Agreement.** The first claimant and those who wait agree on one of the two ([`crate::agreement`]). What was
//!   agreed upon anybody writes down who learns it: `live` or `void`.
//! - **Ends.** `dead` is a number: the delete that has made it 1 has deleted the key.
//! - **The hint** is the last life that was seen to begin. It may be an older one, for a late writer may set it back:
//!   then the key is not there, and whoever reads goes on from life to life.
//!
//! What stays of an ended life are two small values. `lives/tests.rs` tries all orders of creates, deletes and
//! reads, with a stop at each step.

use std::collections::HashSet;

use sealedge_core::name::Name;

use crate::agreement::{self, Decision};
use crate::keyvalue::{KeyValue, Trouble, count};
use crate::places::{self, Mark};

#[cfg(test)]
mod tests;

const FIRST: u64 = 1;

/// No name gets so far.
const LAST: u64 = 1 << 53;

/// How many lives a create tries to begin: two that never wait could keep each other from it for ever.
const TRIES: u32 = 16;

/// The keys.
pub struct Lives<K> {
    store: K,
    tries: u32,
}

/// How far a life is.
enum Stage {
    /// It has not begun.
    Open,
    Live,
    /// It is over, or was void.
    Over,
}

impl<K: KeyValue> Lives<K> {
    /// The keys in a store.
    pub fn new(store: K) -> Self {
        Self {
            store,
            tries: TRIES,
        }
    }

    /// Creates a key: false if there is one of this name.
    pub fn create(&self, name: &Name, value: &[u8]) -> Result<bool, Trouble> {
        let hint = self.hint(name)?;
        let mut life = hint.unwrap_or(FIRST);
        let mut tries = 0;
        loop {
            match self.stage(name, life)? {
                Stage::Open if tries == self.tries => return Err(Trouble::Busy),
                Stage::Open if self.begin(name, life, value)? => return Ok(true),
                Stage::Open => tries += 1,
                Stage::Live => {
                    if hint != Some(life) {
                        self.point(name, life)?;
                    }
                    return Ok(false);
                }
                Stage::Over => life = self.next(name, life)?,
            }
        }
    }

    /// The key of this name.
    pub fn get(&self, name: &Name) -> Result<Option<Vec<u8>>, Trouble> {
        let Some(mut life) = self.hint(name)? else {
            // Whoever creates one sets the hint before anybody hears of it.
            return Ok(None);
        };
        let found = self.store.get(&places::value(name, life))?;
        if found.is_some() {
            return Ok(found);
        }
        loop {
            match self.stage(name, life)? {
                Stage::Open => return Ok(None),
                // If it is gone by now, there was none at some moment.
                Stage::Live => return self.store.get(&places::value(name, life)),
                Stage::Over => life = self.next(name, life)?,
            }
        }
    }

    /// Deletes the key of this name: false if there is none.
    pub fn delete(&self, name: &Name) -> Result<bool, Trouble> {
        let mut life = self.hint(name)?.unwrap_or(FIRST);
        loop {
            match self.stage(name, life)? {
                Stage::Open => return Ok(false),
                Stage::Live => {
                    let dead = places::mark(name, life, Mark::Dead);
                    let is_first = count(&self.store, &dead, 1)? == 1;
                    self.store.delete(&places::value(name, life))?;
                    self.store.delete(&places::mark(name, life, Mark::Live))?;
                    return Ok(is_first);
                }
                Stage::Over => life = self.next(name, life)?,
            }
        }
    }

    /// Whether the store answers.
    pub fn status(&self) -> Result<(), Trouble> {
        self.store.exists(places::SWEPT).map(drop)
    }

    /// At most `limit` names that begin with `prefix` and come after `after`, in byte order.
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Trouble> {
        let keys: HashSet<String> = self.store.keys()?.into_iter().collect();
        let mut names: Vec<String> = keys
            .iter()
            .filter_map(|key| places::read_value(key))
            .filter(|(name, _)| name.starts_with(prefix) && after.is_none_or(|it| *name > it))
            .filter(|(name, life)| {
                // As they are read: only with a hint, and a key that is to be deleted is there until it is gone.
                Name::new(name).is_some_and(|name| {
                    keys.contains(&places::hint(&name))
                        && keys.contains(&places::mark(&name, *life, Mark::Live))
                })
            })
            .map(|(name, _)| name.to_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(limit);
        Ok(names)
    }

    /// Begins a life, if this is the one to do it: false if it has to be looked at again.
    fn begin(&self, name: &Name, life: u64, value: &[u8]) -> Result<bool, Trouble> {
        let claims = places::mark(name, life, Mark::Claims);
        if count(&self.store, &claims, 1)? == 1 {
            self.store.set(&places::value(name, life), value)?;
            if self.settle(name, life, Decision::Live)? == Decision::Void {
                return Ok(false);
            }
            self.point(name, life)?;
            return Ok(true);
        }
        let mut times = 0;
        while self.store.pause(times) {
            if !matches!(self.stage(name, life)?, Stage::Open) {
                return Ok(false);
            }
            times += 1;
        }
        self.settle(name, life, Decision::Void)?;
        Ok(false)
    }

    /// Agrees on what becomes of a life, and writes it down.
    fn settle(&self, name: &Name, life: u64, wish: Decision) -> Result<Decision, Trouble> {
        let has = |mark| self.store.exists(&places::mark(name, life, mark));
        let (agreed, rounds) = agreement::agree(&self.store, name, life, wish)?;
        // The voices may have been taken away meanwhile: what was decided is written down then.
        let decision = match agreed {
            Decision::Live if has(Mark::Void)? => Decision::Void,
            Decision::Void if has(Mark::Live)? || has(Mark::Dead)? => Decision::Live,
            agreed => agreed,
        };
        let mark = match decision {
            Decision::Live => Mark::Live,
            Decision::Void => Mark::Void,
        };
        if decision == agreed {
            self.store.set(&places::mark(name, life, mark), b"1")?;
        }
        agreement::forget(&self.store, name, life, rounds)?;
        Ok(decision)
    }

    /// The life after one that is over, of which no key is left: whoever has ended it may have stopped before that.
    fn next(&self, name: &Name, life: u64) -> Result<u64, Trouble> {
        let value = places::value(name, life);
        if self.store.exists(&value)? {
            self.store.delete(&value)?;
        }
        Ok(life.saturating_add(1))
    }

    fn stage(&self, name: &Name, life: u64) -> Result<Stage, Trouble> {
        let has = |mark| self.store.exists(&places::mark(name, life, mark));
        Ok(if has(Mark::Void)? || has(Mark::Dead)? {
            Stage::Over
        } else if has(Mark::Live)? {
            Stage::Live
        } else {
            Stage::Open
        })
    }

    fn hint(&self, name: &Name) -> Result<Option<u64>, Trouble> {
        let place = places::hint(name);
        let Some(hint) = self.store.get(&place)? else {
            return Ok(None);
        };
        let life = std::str::from_utf8(&hint)
            .ok()
            .and_then(|it| it.parse().ok());
        let life = life.filter(|life| (FIRST..LAST).contains(life));
        life.map(Some).ok_or(Trouble::Damaged(place))
    }

    fn point(&self, name: &Name, life: u64) -> Result<(), Trouble> {
        self.store
            .set(&places::hint(name), life.to_string().as_bytes())
    }
}
