//! Requests that come twice, while others are forgotten.

use super::*;
use crate::model::{self, Answered, Contents, Event, Plain, Play};

const WINDOW: u64 = 50;

#[derive(Clone, Copy, Debug)]
enum Call {
    /// The same request, at a time.
    Remember(u64),
    Sweep(u64),
}

use Call::{Remember, Sweep};

fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

fn who() -> Identity {
    Identity::from_bytes([7; 32])
}

/// A request that was made in the second 100.
fn lives() -> Lifetime {
    Lifetime {
        created: at(100),
        until: at(100 + WINDOW),
    }
}

fn call(store: impl KeyValue, call: Call) -> Result<Option<Result<(), Replay>>, Trouble> {
    match call {
        Remember(now) => remember(&store, &who(), [1; 16], lives(), at(now)).map(Some),
        Sweep(now) => {
            let keys = store.keys()?;
            sweep(&store, &keys, Duration::from_secs(WINDOW), at(now))?;
            Ok(None)
        }
    }
}

struct Scripts;

impl Play for Scripts {
    type Call = Call;
    type Outcome = Taken;

    fn run(&self, what: Call, store: &Answered<'_>) -> Result<Taken, Trouble> {
        let outcome = call(store, what)?;
        Ok(Taken(outcome.is_some_and(|it| it.is_ok())))
    }

    fn judge(&self, history: &[Event<Taken>], contents: &Contents) -> Result<(), String> {
        let store = Plain(contents.clone().into());
        let again = call(&store, Remember(150)).unwrap();
        let taken = history.iter().filter(|it| it.outcome == Some(Taken(true)));
        let taken = taken.count() + usize::from(again == Some(Ok(())));
        match taken {
            0 | 1 => Ok(()),
            _ => Err(format!("taken {taken} times: {history:?}")),
        }
    }
}

/// Whether a request was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Taken(bool);

/// The clocks of the instances differ, or one of them has stood still.
#[test]
fn no_request_is_taken_twice_in_any_order() {
    let scripts: [&[&[Call]]; 2] = [
        &[&[Remember(120)], &[Remember(150)], &[Remember(101)]],
        &[
            &[Remember(120), Remember(130)],
            &[Sweep(151)],
            &[Remember(150)],
        ],
    ];
    for scripts in scripts {
        let states = model::play(&Scripts, scripts, 1);
        let states = states.unwrap_or_else(|why| panic!("{why}"));
        assert!(states > 30, "{states} states are not all");
    }
}

#[test]
fn a_request_is_taken_once_until_it_is_too_old() {
    let store = Plain::default();
    let is_taken = |now| call(&store, Remember(now)).unwrap().unwrap();
    assert_eq!(is_taken(100), Ok(()));
    assert_eq!(is_taken(150), Err(Replay::Seen));
    assert_eq!(is_taken(151), Err(Replay::Late));
    call(&store, Sweep(150)).unwrap();
    assert_eq!(is_taken(150), Err(Replay::Seen), "it was not too old");
    call(&store, Sweep(151)).unwrap();
    // The clock was set back.
    assert_eq!(is_taken(150), Err(Replay::Late));
    let keys = store.keys().unwrap();
    assert_eq!(keys.len(), 2, "{keys:?}");
    call(&store, Sweep(300)).unwrap();
    assert_eq!(store.keys().unwrap(), [places::FORGOTTEN]);
}

#[test]
fn only_so_many_are_forgotten_at_once_and_the_oldest_first() {
    let store = Plain::default();
    for created in 0..1_500_u64 {
        let lives = Lifetime {
            created: at(created),
            until: at(created + WINDOW),
        };
        let nonce = u128::from(created).to_be_bytes();
        let taken = remember(&store, &who(), nonce, lives, at(created)).unwrap();
        assert_eq!(taken, Ok(()));
    }
    call(&store, Sweep(10_000)).unwrap();
    let left = |store: &Plain| {
        store
            .keys()
            .unwrap()
            .iter()
            .filter_map(|key| places::read_nonce(key))
            .min()
    };
    assert_eq!(left(&store), Some(1_000));
    call(&store, Sweep(10_000)).unwrap();
    assert_eq!(left(&store), None);
}
