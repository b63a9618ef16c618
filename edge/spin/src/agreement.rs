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
    let rounds = (1..=rounds).flat_map(|round| Decision::BOTH.map(|side| (side, round)));
    let voices = rounds.map(|(side, round)| side.voice(name, life, round));
    store.delete_all(&voices.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{self, Answered, Contents, Event, Plain, Play};

    /// Each call is for one of the two.
    struct Wishes;

    fn name() -> Name {
        Name::new("key").unwrap()
    }

    fn agreed(store: &impl KeyValue, wish: bool) -> Result<bool, Trouble> {
        let wish = if wish { Decision::Live } else { Decision::Void };
        Ok(agree(store, &name(), 1, wish)?.0 == Decision::Live)
    }

    impl Play for Wishes {
        type Call = bool;
        type Outcome = Option<bool>;

        fn run(&self, wish: bool, store: &Answered<'_>) -> Result<Option<bool>, Trouble> {
            match agreed(store, wish) {
                Err(Trouble::Busy) => Ok(None),
                other => other.map(Some),
            }
        }

        fn are_alike(&self, one: bool, other: bool) -> bool {
            one == other
        }

        /// All have the same decision, whoever comes later as well, whatever that one wishes.
        fn judge(
            &self,
            history: &[Event<Option<bool>>],
            contents: &Contents,
        ) -> Result<(), String> {
            let decided: Vec<bool> = history
                .iter()
                .filter_map(|it| it.outcome.flatten())
                .collect();
            for wish in [true, false] {
                let store = Plain(contents.clone().into());
                let later = agreed(&store, wish).map_err(|why| why.to_string())?;
                if decided.iter().any(|it| *it != later) {
                    return Err(format!("{decided:?} and later {later}"));
                }
            }
            Ok(())
        }
    }

    #[test]
    fn all_agree_in_any_order_whoever_stops() {
        for scripts in [
            &[&[true][..], &[false], &[false]][..],
            &[&[true], &[true], &[false]],
            &[&[true], &[false]],
        ] {
            let states = model::play(&Wishes, scripts, 2).unwrap_or_else(|why| panic!("{why}"));
            assert!(states > 100, "{states} states are not all");
        }
    }

    #[test]
    fn who_is_alone_has_its_wish() {
        for wish in [true, false] {
            assert_eq!(agreed(&Plain::default(), wish), Ok(wish));
        }
    }
}
