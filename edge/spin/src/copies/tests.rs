//! Copies while keys are created, read and deleted in all orders.

use std::time::Duration;

use super::*;
use crate::model::{self, Answered, Contents, Event, Plain, Play};

/// Where the key store is that these are copies of: beside them, so that all orders are tried with it.
const ELSEWHERE: &str = "elsewhere";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Create(u8),
    Read,
    Delete,
}

use Call::{Create, Delete, Read};

struct Scripts<'s>(&'s [&'s [Call]]);

fn name() -> Name {
    Name::new("key").unwrap()
}

fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

/// What the core does with copies, in short: what a read brings.
fn call<K: KeyValue + Copy>(store: K, call: Call, now: u64) -> Result<Option<u8>, Trouble> {
    let copies = Copies::new(store, || at(now));
    match call {
        Create(value) => {
            store.set(ELSEWHERE, &[value])?;
            Ok(None)
        }
        Read => {
            let found = copies.found(&name())?;
            if let Some(copy) = &found.copy {
                copies.use_noted(&name(), &found, at(now))?;
                return Ok(copy.first().copied());
            }
            let key = store.get(ELSEWHERE)?;
            if let Some(key) = &key {
                copies.kept(&name(), key, found.ticket, at(now))?;
            }
            Ok(key.and_then(|key| key.first().copied()))
        }
        Delete => {
            copies.buried(&name(), at(now + 60))?;
            store.delete(ELSEWHERE)?;
            copies.dug_up(&name())?;
            Ok(None)
        }
    }
}

impl Play for Scripts<'_> {
    type Call = Call;
    type Outcome = Option<u8>;

    fn run(&self, what: Call, store: &Answered<'_>) -> Result<Option<u8>, Trouble> {
        call(store, what, 100)
    }

    /// No read brings a key whose delete had ended before it began; not those that come afterwards either.
    fn judge(&self, history: &[Event<Option<u8>>], contents: &Contents) -> Result<(), String> {
        let calls = self.0.concat();
        let store = Plain(contents.clone().into());
        let later = call(&store, Read, 100).unwrap();
        let ended = history.iter().filter(|event| event.outcome.is_some());
        let last = (ended.map(|event| event.call).collect::<Vec<_>>(), later);
        let reads = history.iter().filter(|event| calls[event.call] == Read);
        let reads = reads.map(|event| (event.after.clone(), event.outcome.flatten()));
        for (after, found) in reads.chain([last]) {
            let Some(found) = found else { continue };
            let is_dead = history.iter().any(|delete| {
                let is_created = |call: &usize| calls[*call] == Create(found);
                calls[delete.call] == Delete
                    && after.contains(&delete.call)
                    && delete.after.iter().any(is_created)
            });
            if is_dead {
                return Err(format!("{found} was deleted: {history:?}"));
            }
        }
        Ok(())
    }
}

fn play(scripts: &[&[Call]], stops: usize) {
    let states = model::play(&Scripts(scripts), scripts, stops);
    let states = states.unwrap_or_else(|why| panic!("{why}"));
    assert!(states > 1_000, "{states} states are not all");
}

#[test]
fn no_copy_brings_a_deleted_key_back() {
    play(&[&[Create(1), Delete], &[Read, Read], &[Read]], 1);
    play(
        &[&[Create(1), Delete, Create(2)], &[Read], &[Delete, Read]],
        1,
    );
}

#[test]
fn a_late_reader_meets_two_deletes_of_keys_created_anew() {
    play(&[&[Create(1), Delete, Create(2), Delete], &[Read, Read]], 1);
}

#[test]
fn copies_are_found_until_a_burial_and_after_it() {
    let store = Plain::default();
    let read = |now| call(&store, Read, now).unwrap();
    call(&store, Create(1), 0).unwrap();
    assert_eq!(read(1), Some(1));
    store.set(ELSEWHERE, &[2]).unwrap();
    assert_eq!(read(2), Some(1), "the copy is asked first");
    let copies = Copies::new(&store, || at(3));
    assert_eq!(copies.found(&name()).unwrap().used, Some(at(2)));

    // A delete of which nobody hears how it ended: there are no copies until the burial is over.
    copies.buried(&name(), at(63)).unwrap();
    assert_eq!(read(4), Some(2));
    store.set(ELSEWHERE, &[3]).unwrap();
    assert_eq!(read(62), Some(3), "nothing was kept");
    assert_eq!(read(63), Some(3));
    store.set(ELSEWHERE, &[4]).unwrap();
    assert_eq!(read(64), Some(3), "and now something was");
}

#[test]
fn what_was_read_while_a_burial_lasted_is_not_kept_after_it() {
    let store = Plain::default();
    let during = Copies::new(&store, || at(10));
    during.buried(&name(), at(60)).unwrap();
    let found = during.found(&name()).unwrap();
    let after = Copies::new(&store, || at(70));
    after.kept(&name(), b"old", found.ticket, at(10)).unwrap();
    assert_eq!(after.found(&name()).unwrap().copy, None);
    after.kept(&name(), b"new", found.ticket, at(65)).unwrap();
    assert_eq!(after.found(&name()).unwrap().copy, Some(b"new".to_vec()));
    after.kept(&name(), b"older", found.ticket, at(62)).unwrap();
    assert_eq!(after.found(&name()).unwrap().copy, Some(b"new".to_vec()));
}

#[test]
fn copies_that_nobody_takes_are_swept() {
    let store = Plain::default();
    for number in 0..40 {
        let name = Name::new(&format!("key-{number}")).unwrap();
        let copies = Copies::new(&store, || at(0));
        let ticket = copies.found(&name).unwrap().ticket;
        copies.kept(&name, b"copy", ticket, at(number)).unwrap();
    }
    let copies = Copies::new(&store, || at(50));
    for begin in 0..40 {
        let keys = store.keys().unwrap();
        copies.sweep(&keys, begin, Duration::from_secs(20)).unwrap();
    }
    assert_eq!(store.keys().unwrap().len(), 10);
}
