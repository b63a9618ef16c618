//! A fake of where a platform keeps copies: what it promises, without a platform.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::*;
use crate::copies::{Burial, Copies, Found, Ticket};

/// All that is kept, by whomever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chest {
    /// Each with the time when it was read.
    pub copies: BTreeMap<Name, (Vec<u8>, Time)>,
    burials: Vec<(u64, Name, Time)>,
    number: u64,
    pub is_away: bool,
}

impl Chest {
    fn end_burials(&mut self, now: Time) {
        let before = self.burials.len();
        self.burials.retain(|(_, _, until)| *until >= now);
        if self.burials.len() < before {
            self.number += 1;
        }
    }

    fn is_buried(&self, name: &Name) -> bool {
        self.burials.iter().any(|(_, buried, _)| buried == name)
    }

    fn read(&mut self, name: &Name, now: Time) -> Found {
        self.end_burials(now);
        let copy = self.copies.get(name).filter(|_| !self.is_buried(name));
        Found {
            copy: copy.map(|(copy, _)| copy.clone()),
            used: None,
            ticket: Ticket(self.number),
        }
    }

    fn keep(&mut self, name: &Name, copy: &[u8], ticket: Ticket, read: Time, now: Time) {
        self.end_burials(now);
        let is_younger = self
            .copies
            .get(name)
            .is_none_or(|(_, other)| read >= *other);
        if ticket == Ticket(self.number) && !self.is_buried(name) && is_younger {
            self.copies.insert(name.clone(), (copy.to_vec(), read));
        }
    }

    fn bury(&mut self, name: &Name, until: Time) -> Burial {
        self.number += 1;
        self.burials.push((self.number, name.clone(), until));
        self.copies.remove(name);
        Burial(self.number)
    }

    fn dig_up(&mut self, name: &Name, Burial(burial): Burial) {
        self.number += 1;
        self.copies.remove(name);
        self.burials.retain(|(number, ..)| *number != burial);
    }
}

/// The way to it.
#[derive(Clone)]
pub struct Kept {
    pub chest: Rc<RefCell<Chest>>,
    pub clock: Fake,
    pub turns: Rc<Turns>,
}

impl Kept {
    async fn with<T: Debug>(&self, work: impl FnOnce(&mut Chest, Time) -> T) -> Result<T, String> {
        let done = self.turns.done(|| {
            let chest = &mut *self.chest.borrow_mut();
            match chest.is_away {
                true => Err("it is away".to_owned()),
                false => Ok(work(chest, self.clock.now())),
            }
        });
        done.await
    }
}

impl Copies for Kept {
    async fn read(&self, name: &Name) -> Result<Found, String> {
        self.with(|chest, now| chest.read(name, now)).await
    }

    async fn keep(
        &self,
        name: &Name,
        copy: &[u8],
        ticket: Ticket,
        read: Time,
        _until: Time,
    ) -> Result<(), String> {
        self.with(|chest, now| chest.keep(name, copy, ticket, read, now))
            .await
    }

    async fn bury(&self, name: &Name, until: Time) -> Result<Burial, String> {
        self.with(|chest, _| chest.bury(name, until)).await
    }

    async fn dig_up(&self, name: &Name, burial: Burial) -> Result<(), String> {
        self.with(|chest, _| chest.dig_up(name, burial)).await
    }
}

/// Who may go on in an instance: whatever is asked is done in one turn, and heard in a later one.
#[derive(Default)]
pub struct Turns {
    /// Whether nobody waits for a turn.
    pub is_open: Cell<bool>,
    /// Who is polled, and whether it has its turn.
    pub actor: Cell<usize>,
    pub has_turn: Cell<bool>,
    /// What was done and what was heard, and by whom.
    pub log: RefCell<BTreeMap<usize, String>>,
}

impl Turns {
    pub fn open() -> Rc<Self> {
        let turns = Self::default();
        turns.is_open.set(true);
        Rc::new(turns)
    }

    pub async fn done<T: Debug>(&self, work: impl FnOnce() -> T) -> T {
        let me = self.actor.get();
        self.turn(me).await;
        let done = work();
        self.note(me, &format!("{done:?}"));
        self.turn(me).await;
        done
    }

    pub fn note(&self, actor: usize, what: &str) {
        self.log
            .borrow_mut()
            .entry(actor)
            .or_default()
            .push_str(what);
    }

    async fn turn(&self, me: usize) {
        poll_fn(|_| {
            let is_mine = self.actor.get() == me && self.has_turn.replace(false);
            match is_mine || self.is_open.get() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}
