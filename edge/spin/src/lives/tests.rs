//! Creates, deletes and reads in all orders.

use super::*;
use crate::model::{self, Answered, Contents, Event, Plain, Play, is_orderly};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Creates a key with this value.
    Create(u8),
    Delete,
    Get,
    List,
}

use Call::{Create, Delete, Get, List};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Done(bool),
    Found(Option<Vec<u8>>),
    Failed,
}

fn name() -> Name {
    Name::new("key").unwrap()
}

fn call<K: KeyValue>(lives: &Lives<K>, call: Call) -> Result<Outcome, Trouble> {
    Ok(match call {
        Create(value) => Outcome::Done(lives.create(&name(), &[value])?),
        Delete => Outcome::Done(lives.delete(&name())?),
        Get => Outcome::Found(lives.get(&name())?),
        List => Outcome::Done(!lives.list("", None, 9)?.is_empty()),
    })
}

/// What instances do, of which each create tries to begin so many lives.
struct Scripts<'s>(&'s [&'s [Call]], u32);

impl Scripts<'_> {
    fn calls(&self) -> Vec<Call> {
        self.0.concat()
    }

    /// `least`: fewer states than that are not all.
    fn plays(&self, stops: usize, least: usize) {
        let states = model::play(self, self.0, stops).unwrap_or_else(|why| panic!("{why}"));
        assert!(states > least, "{states} states");
    }
}

/// What a store does that has a key or none: whether the call would say what it says.
fn at_once(key: &mut Option<u8>, call: Call, outcome: Option<&Outcome>) -> bool {
    let says = |expected: Outcome| outcome.is_none_or(|it| *it == expected);
    match call {
        Create(value) => {
            let is_free = key.is_none();
            key.get_or_insert(value);
            says(Outcome::Done(is_free))
        }
        Delete => says(Outcome::Done(key.take().is_some())),
        Get => says(Outcome::Found(key.map(|value| vec![value]))),
        List => says(Outcome::Done(key.is_some())),
    }
}

impl Play for Scripts<'_> {
    type Call = Call;
    type Outcome = Outcome;

    fn are_alike(&self, one: Call, other: Call) -> bool {
        one == other || matches!((one, other), (Create(_), Create(_)))
    }

    fn run(&self, what: Call, store: &Answered<'_>) -> Result<Outcome, Trouble> {
        let tries = self.1;
        match call(&Lives { store, tries }, what) {
            // It has given up: it may have been done or not.
            Err(Trouble::Busy) => Ok(Outcome::Failed),
            other => other,
        }
    }

    /// What is found afterwards has to follow from an order of all calls as well; and the name is of use.
    fn judge(&self, history: &[Event<Outcome>], contents: &Contents) -> Result<(), String> {
        let mut calls = self.calls();
        let mut history = history.to_vec();
        let has_failed = |event: &Event<Outcome>| event.outcome == Some(Outcome::Failed);
        let failed: Vec<usize> = history
            .iter()
            .filter(|it| has_failed(it))
            .map(|it| it.call)
            .collect();
        for event in &mut history {
            event.outcome = event.outcome.take().filter(|it| *it != Outcome::Failed);
            event.after.retain(|call| !failed.contains(call));
        }
        let store = Plain(contents.clone().into());
        let lives = Lives::new(&store);
        for later in [
            List,
            Get,
            Create(9),
            Get,
            List,
            Delete,
            Get,
            List,
            Create(8),
            Get,
        ] {
            let outcome = call(&lives, later).map_err(|why| format!("{later:?}: {why}"))?;
            let ended = history.iter().filter(|event| event.outcome.is_some());
            let after = ended.map(|event| event.call).collect();
            history.push(Event {
                call: calls.len(),
                after,
                outcome: Some(outcome),
            });
            calls.push(later);
        }
        let done = |key: &mut Option<u8>, event: &Event<Outcome>| {
            at_once(key, calls[event.call], event.outcome.as_ref())
        };
        match is_orderly(&history, &None, &done) {
            true => Ok(()),
            false => {
                let outcomes = history
                    .iter()
                    .map(|it| (calls[it.call], &it.after, &it.outcome));
                let outcomes: Vec<_> = outcomes.collect();
                Err(format!("no order explains {outcomes:?}"))
            }
        }
    }
}

#[test]
fn two_creates_and_two_deletes_with_a_stop() {
    Scripts(&[&[Create(1)], &[Create(2)], &[Delete], &[Delete]], 1).plays(1, 2_000_000);
}

/// Here those of whose life nothing comes try the next one.
#[test]
fn two_creates_that_try_again_with_a_stop() {
    Scripts(&[&[Create(1)], &[Create(2)]], 2).plays(1, 200_000);
}

#[test]
fn what_was_deleted_is_created_anew_with_a_stop() {
    Scripts(&[&[Create(1), Delete], &[Create(2), Get], &[Delete]], 1).plays(1, 400_000);
}

#[test]
fn whoever_reads_meanwhile_reads_what_is_there() {
    let deleted_anew: &[Call] = &[Create(1), Delete, Create(2)];
    Scripts(&[deleted_anew, &[Get, Get], &[Delete]], 1).plays(0, 300_000);
}

#[test]
fn a_key_that_somebody_else_has_taken_away_is_not_there_and_its_name_is_of_use() {
    let store = Plain::default();
    let lives = Lives::new(&store);
    assert_eq!(lives.create(&name(), b"1"), Ok(true));
    let value = places::value(&name(), FIRST);
    store.delete(&value).unwrap();
    assert_eq!(lives.get(&name()), Ok(None));
    assert_eq!(lives.delete(&name()), Ok(true));
    assert_eq!(lives.get(&name()), Ok(None));
    assert_eq!(lives.create(&name(), b"2"), Ok(true));
    assert_eq!(lives.get(&name()), Ok(Some(b"2".to_vec())));
}

#[test]
fn what_somebody_else_has_written_is_refused_and_not_counted_on() {
    for hint in ["", "0", "-1", "x", "18446744073709551615"] {
        let store = Plain::default();
        let lives = Lives::new(&store);
        store.set(&places::hint(&name()), hint.as_bytes()).unwrap();
        let damaged = Trouble::Damaged(places::hint(&name()));
        assert_eq!(lives.get(&name()), Err(damaged.clone()));
        assert_eq!(lives.create(&name(), b"1"), Err(damaged.clone()));
        assert_eq!(lives.delete(&name()), Err(damaged));
    }
    // An increment of what is no number would break some stores for good.
    let store = Plain::default();
    let claims = places::mark(&name(), FIRST, Mark::Claims);
    store.set(&claims, b"abc").unwrap();
    let created = Lives::new(&store).create(&name(), b"1");
    assert_eq!(created, Err(Trouble::Damaged(claims)));
}

#[test]
fn names_of_which_one_begins_as_another_are_told_apart() {
    let store = Plain::default();
    let lives = Lives::new(&store);
    for name in ["a", "a-1", "ab", "b", "A"] {
        let name = Name::new(name).unwrap();
        assert_eq!(lives.create(&name, name.as_str().as_bytes()), Ok(true));
    }
    lives.delete(&Name::new("ab").unwrap()).unwrap();
    let list = |prefix, after, limit| lives.list(prefix, after, limit).unwrap();
    assert_eq!(list("", None, 9), ["A", "a", "a-1", "b"]);
    assert_eq!(list("a", None, 9), ["a", "a-1"]);
    assert_eq!(list("", Some("a"), 1), ["a-1"]);
    let found = lives.get(&Name::new("a-1").unwrap()).unwrap();
    assert_eq!(found.as_deref(), Some(&b"a-1"[..]));
}

/// What three creates and a delete could come to, which are too many for all orders: one that is late agrees with nobody,
/// for the voices are taken away, and yet finds what was agreed upon.
#[test]
fn who_comes_late_finds_what_was_agreed_upon() {
    let store = Plain::default();
    let lives = Lives::new(&store);
    assert_eq!(lives.create(&name(), b"1"), Ok(true));
    assert_eq!(
        lives.settle(&name(), FIRST, Decision::Void),
        Ok(Decision::Live)
    );
    assert_eq!(lives.delete(&name()), Ok(true));
    assert_eq!(
        lives.settle(&name(), FIRST, Decision::Void),
        Ok(Decision::Live)
    );
    let void = places::mark(&name(), FIRST, Mark::Void);
    assert_eq!(store.exists(&void), Ok(false));

    let next = FIRST + 1;
    assert_eq!(
        lives.settle(&name(), next, Decision::Void),
        Ok(Decision::Void)
    );
    assert_eq!(
        lives.settle(&name(), next, Decision::Live),
        Ok(Decision::Void)
    );
    assert_eq!(lives.create(&name(), b"2"), Ok(true));
    assert_eq!(lives.get(&name()), Ok(Some(b"2".to_vec())));
}
