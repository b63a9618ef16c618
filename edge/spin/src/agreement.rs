//! How any number of instances agree on what becomes of a life, by nothing but `set` and `exists`, and though each may
//! stop for good at any moment.
//!
//! In each round an instance raises its voice for what it wishes, having changed its mind if all that it has heard in
//! that round are for the other side. Whoever is a round ahead of the other side has the decision: whoever comes later
//! to that round hears one side alone. Two that go in step may go on for long, so they give up after some rounds, and
//! nothing is decided by that. (J. Aspnes, "Fast deterministic consensus in a noisy environment", 2002.)

use sealedge_core::name::Name;

use crate::keyvalue::{KeyValue, Trouble};
use crate::places;

/// After how many rounds in which it has raised its voice first for its side an instance gives up. All orders of them
/// can be tried only if they are few.
const NEW_ROUNDS: u32 = if cfg!(test) { 2 } else { 32 };

/// What becomes of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It begins.
    Live,
    /// It never does.
    Void,
}

impl Decision {
    const BOTH: [Self; 2] = [Self::Live, Self::Void];

    const fn other(self) -> Self {
        match self {
            Self::Live => Self::Void,
            Self::Void => Self::Live,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Live => "for",
            Self::Void => "against",
        }
    }

    fn voice(self, name: &Name, life: u64, round: u32) -> String {
        places::voice(name, life, self.word(), round)
    }
}

/// What becomes of a life, if voices about it were not taken away meanwhile; and after how many rounds.
///
/// # Errors
/// Others go in step, or the store fails.
pub fn agree(
    store: &impl KeyValue,
    name: &Name,
    life: u64,
    mut wish: Decision,
) -> Result<(Decision, u32), Trouble> {
    let mut new = 0;
    for round in 1.. {
        let is_heard = |side: Decision| store.exists(&side.voice(name, life, round));
        match (is_heard(Decision::Live)?, is_heard(Decision::Void)?) {
            (true, false) => wish = Decision::Live,
            (false, true) => wish = Decision::Void,
            (true, true) => {}
            (false, false) if new == NEW_ROUNDS => break,
            (false, false) => {
                new += 1;
                store.set(&wish.voice(name, life, round), b"1")?;
            }
        }
        let before = round - 1;
        if before > 0 && !store.exists(&wish.other().voice(name, life, before))? {
            return Ok((wish, round));
        }
    }
    Err(Trouble::Busy)
}

/// Takes away the voices of these rounds: when what was decided is to be seen elsewhere.
pub fn forget(store: &impl KeyValue, name: &Name, life: u64, rounds: u32) -> Result<(), Trouble> {
    for round in 1..=rounds {
        for side in Decision::BOTH {
            store.delete(&side.voice(name, life, round))?;
        }
    }
    Ok(())
}
