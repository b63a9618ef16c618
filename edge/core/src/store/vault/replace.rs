//! Replacing values in a KV engine of version 2, beside others who replace, delete and create.
//!
//! The engine compares a write with the latest version's number, and that begins with 1 anew when a key is
//! deleted and another one takes its name. So whoever has looked at version 1 of the first may write over
//! version 1 of the second, and no look before the write can rule that out. What is done instead:
//!
//! 1. **No write takes away what it overwrites.** `max_versions` of a key that is replaced is 2: a write drops
//!    the version before the one that it overwrites. So a value is put in the place of another one by two
//!    writes of the same text. The first leaves the old value, the second drops it, and between them is a look.
//! 2. **Each of these texts says whose it is**, by the time when its key was created. The engine keeps that
//!    time beside the versions, and it is another one for a key that took the name. So whoever looks
//!    finds a text that was written over another key's: its writer after each write, and, where that was
//!    killed, the next one who replaces the key or finds it as it should be.
//! 3. **What was overwritten so is put back**: the latest version that says nothing, or says the right time.
//!    That takes a number of its own, so late writes that go by one of those before do not get through
//!    any more. While it is put back `max_versions` is left alone: a key that was created just now keeps more
//!    versions then, however many late writes come.
//! 4. **Nothing is destroyed by its number**, as that may be another key's by then.
//!
//! `max_versions` is set without comparing, and may hit a key that took the name meanwhile: that keeps two
//! versions then, and so stands one late write, which is found by (2). A value would be lost only if two writes
//! for the key that was deleted arrived late, with numbers that follow each other (of two commands, one
//! between its writes and one before), after a third command had set `max_versions` of the new key; or where
//! the engine's own `max_versions` is 1, as a new key has that.
//! `tests/interleavings.rs` tries all orders of two replaces, a delete and a create, with all kills.
//!
//! Until a late write is found and undone the key's readers get the deleted key.

use super::history::{self, History};
use super::kv::{self, Slot, Stored, Write};
use super::{Settings, Vault};
use crate::name::Name;
use crate::outgoing::Request;
use crate::platform::World;
use crate::store::remote::{Errand, Repeat};
use crate::store::{StoreError, Version};

/// How often a text is written until what was before it is dropped. An engine whose own `max_versions` is
/// greater than the key's keeps that many.
const WRITES: u64 = 100;

impl<W: World> Vault<W> {
    /// Puts a text in the place of the version that is there, and leaves nothing of that one.
    pub(super) async fn supersede(
        &self,
        errand: &Errand,
        name: &Name,
        text: &str,
        version: &Version,
    ) -> Result<(), StoreError> {
        self.settled(errand, name, version).await?;
        let old = kv::number(version);
        self.overwrite(errand, name, text, version, old).await
    }

    /// Leaves nothing of other texts than the one that has this version.
    pub(super) async fn leave_alone(
        &self,
        errand: &Errand,
        name: &Name,
        version: &Version,
    ) -> Result<(), StoreError> {
        let stored = self.settled(errand, name, version).await?;
        let history = self.history(errand, name).await?;
        let number = kv::number(version);
        for earlier in history.kept.into_iter().filter(|kept| *kept < number) {
            match self.find_version(errand, name, earlier).await {
                Ok(Slot::Text(it)) if *it.text == *stored.text => {}
                Ok(_) => {
                    let text = &stored.text;
                    return self.overwrite(errand, name, text, version, earlier).await;
                }
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is there, if it has this version and is the value of the key that is there.
    async fn settled(
        &self,
        errand: &Errand,
        name: &Name,
        version: &Version,
    ) -> Result<Stored, StoreError> {
        let stored = self.find_text(errand, name).await?;
        if stored.version != *version {
            return Err(StoreError::Changed);
        }
        self.undo_late_write(errand, name, &stored).await?;
        Ok(stored)
    }

    /// Writes a text over a version, until nothing is left of those up to the number `old`.
    async fn overwrite(
        &self,
        errand: &Errand,
        name: &Name,
        text: &str,
        version: &Version,
        old: u64,
    ) -> Result<(), StoreError> {
        let shorten = |settings: &Settings, token: &str| history::shorten(settings, token, name);
        let answer = self.ask(errand, Repeat::Safe, shorten).await?;
        answer.read(history::parse_shorten)?;
        let before = self.history(errand, name).await?;
        if before.latest != *version {
            return Err(StoreError::Changed);
        }
        let mut latest = kv::number(version);
        for round in 0..WRITES {
            let of = Some(before.created.as_str());
            let write = Write { text, latest, of };
            latest = match self.put(errand, name, &write).await {
                Ok(()) => latest.saturating_add(1),
                // Somebody else finishes it as well, or has replaced it in turn.
                Err(StoreError::Changed) if round > 0 => self.number_of(errand, name, text).await?,
                Err(error) if round > 0 => return Err(left_over(name, error)),
                Err(error) => return Err(error),
            };
            let after = self.history(errand, name).await;
            let after = after.map_err(|error| left_over(name, error))?;
            if after.created != before.created {
                let stored = self.find_text(errand, name).await?;
                self.undo_late_write(errand, name, &stored).await?;
                return Err(StoreError::Changed);
            }
            if after.has_lost(old) {
                return Ok(());
            }
        }
        let why = "`max_versions` of the secrets engine is too great";
        Err(left_over(name, StoreError::Failed(why.into())))
    }

    /// The number of the latest version if it has this text; else it is [`StoreError::Changed`].
    async fn number_of(&self, errand: &Errand, name: &Name, text: &str) -> Result<u64, StoreError> {
        let there = self.find_text(errand, name).await?;
        match *there.text == *text {
            true => Ok(kv::number(&there.version)),
            false => Err(StoreError::Changed),
        }
    }

    /// Puts back what was overwritten by a text that is another key's: then it is [`StoreError::Changed`].
    async fn undo_late_write(
        &self,
        errand: &Errand,
        name: &Name,
        stored: &Stored,
    ) -> Result<(), StoreError> {
        let Some(of) = &stored.of else {
            return Ok(());
        };
        let history = self.history(errand, name).await?;
        if history.latest != stored.version {
            return Err(StoreError::Changed);
        }
        if history.created == *of {
            return Ok(());
        }
        // A text that was brought here from elsewhere has nothing before it, and is what there is.
        let Some(rightful) = self.rightful(errand, name, &history).await? else {
            return Ok(());
        };
        let write = Write {
            text: &rightful.text,
            latest: kv::number(&stored.version),
            of: Some(&history.created),
        };
        self.put(errand, name, &write).await?;
        Err(StoreError::Changed)
    }

    /// The latest version that is the value of the key that is there.
    async fn rightful(
        &self,
        errand: &Errand,
        name: &Name,
        history: &History,
    ) -> Result<Option<Stored>, StoreError> {
        for number in &history.kept {
            match self.find_version(errand, name, *number).await {
                Ok(Slot::Text(it)) if it.of.as_ref().is_none_or(|of| *of == history.created) => {
                    return Ok(Some(it));
                }
                Ok(_) | Err(StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn find_version(
        &self,
        errand: &Errand,
        name: &Name,
        number: u64,
    ) -> Result<Slot, StoreError> {
        let build = |settings: &Settings, token: &str| -> Request {
            kv::read_version(settings, token, name, number)
        };
        let answer = self.ask(errand, Repeat::Safe, build).await?;
        answer.read(|response| kv::parse_read(&self.settings, name, response))
    }

    async fn history(&self, errand: &Errand, name: &Name) -> Result<History, StoreError> {
        let build = |settings: &Settings, token: &str| history::read(settings, token, name);
        let answer = self.ask(errand, Repeat::Safe, build).await?;
        answer.read(history::parse)
    }
}

/// Says what it means that nobody knows whether versions are left.
fn left_over(name: &Name, error: StoreError) -> StoreError {
    let say = |why: String| {
        format!("'{name}' has its new value, but earlier versions may still be in Vault: {why}")
    };
    match error {
        StoreError::Unreachable(why) => StoreError::Unreachable(say(why)),
        StoreError::Failed(why) => StoreError::Failed(say(why)),
        error => error,
    }
}
