//! All orders in which several instances can use one store, with a stop of any of them at any step.
//!
//! What an instance does follows from what the store answers. So a call is carried on by one step by running it anew
//! from its beginning with the answers that it has had: the first operation beyond them is its next step.
//!
//! What changes nothing, such as a read, says the same as long as nobody changes what it is about. So it is tried right
//! after what its instance did before, and again whenever another one has changed that: every other order says the same
//! as one of these, with the same calls ended before others begin or with more. Only the first operation of a call is
//! tried at all times, for it is what begins the call.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::keyvalue::{KeyValue, Trouble, number};

/// What is in the store, as Redis has it: numbers are digits.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// An operation of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    Get(String),
    Set(String, Vec<u8>),
    Delete(String),
    Keys,
    Increment(String, i64),
}

impl Operation {
    /// The key that it is about; none if all are.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Get(key) | Self::Set(key, _) | Self::Delete(key) | Self::Increment(key, _) => {
                Some(key)
            }
            Self::Keys => None,
        }
    }

    /// Whether it would change something.
    fn changes(&self, contents: &Contents) -> bool {
        match self {
            Self::Get(_) | Self::Keys => false,
            Self::Set(key, value) => contents.get(key) != Some(value),
            Self::Delete(key) => contents.contains_key(key),
            Self::Increment(..) => true,
        }
    }

    /// Whether they are about the same.
    fn meets(&self, other: &Self) -> bool {
        match (self.key(), other.key()) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Answer {
    Value(Option<Vec<u8>>),
    Done,
    Keys(Vec<String>),
    Sum(i64),
}

fn done(contents: &mut Contents, operation: Operation) -> Answer {
    match operation {
        Operation::Get(key) => Answer::Value(contents.get(&key).cloned()),
        Operation::Set(key, value) => {
            contents.insert(key, value);
            Answer::Done
        }
        Operation::Delete(key) => {
            contents.remove(&key);
            Answer::Done
        }
        Operation::Keys => Answer::Keys(contents.keys().cloned().collect()),
        Operation::Increment(key, by) => {
            let before = contents.get(&key);
            let before = before.map_or(0, |it| std::str::from_utf8(it).unwrap().parse().unwrap());
            let sum: i64 = before + by;
            contents.insert(key, sum.to_string().into_bytes());
            Answer::Sum(sum)
        }
    }
}

/// The store as a call sees it that has had some answers.
pub struct Answered<'r> {
    answers: &'r [Answer],
    used: Cell<usize>,
    next: RefCell<Option<Operation>>,
}

impl Answered<'_> {
    fn ask(&self, operation: Operation) -> Result<Answer, Trouble> {
        let used = self.used.get();
        if let (Some(answer), None) = (self.answers.get(used), &*self.next.borrow()) {
            self.used.set(used + 1);
            return Ok(answer.clone());
        }
        self.next.borrow_mut().get_or_insert(operation);
        Err(Trouble::Away("it is not its turn".into()))
    }
}

impl KeyValue for Answered<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Trouble> {
        match self.ask(Operation::Get(key.into()))? {
            Answer::Value(value) => Ok(value),
            other => panic!("{other:?}"),
        }
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Trouble> {
        self.ask(Operation::Set(key.into(), value.into())).map(drop)
    }

    fn delete(&self, key: &str) -> Result<(), Trouble> {
        self.ask(Operation::Delete(key.into())).map(drop)
    }

    fn exists(&self, key: &str) -> Result<bool, Trouble> {
        Ok(self.get(key)?.is_some())
    }

    fn keys(&self) -> Result<Vec<String>, Trouble> {
        match self.ask(Operation::Keys)? {
            Answer::Keys(keys) => Ok(keys),
            other => panic!("{other:?}"),
        }
    }

    fn increment(&self, key: &str, by: i64) -> Result<i64, Trouble> {
        match self.ask(Operation::Increment(key.into(), by))? {
            Answer::Sum(sum) => Ok(sum),
            other => panic!("{other:?}"),
        }
    }

    fn pause(&self, _: u32) -> bool {
        false
    }
}

impl<K: KeyValue> KeyValue for &K {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Trouble> {
        (**self).get(key)
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Trouble> {
        (**self).set(key, value)
    }

    fn delete(&self, key: &str) -> Result<(), Trouble> {
        (**self).delete(key)
    }

    fn exists(&self, key: &str) -> Result<bool, Trouble> {
        (**self).exists(key)
    }

    fn keys(&self) -> Result<Vec<String>, Trouble> {
        (**self).keys()
    }

    fn increment(&self, key: &str, by: i64) -> Result<i64, Trouble> {
        (**self).increment(key, by)
    }

    fn pause(&self, times: u32) -> bool {
        (**self).pause(times)
    }
}

/// A store for one alone.
#[derive(Default)]
pub struct Plain(pub RefCell<Contents>);

impl KeyValue for Plain {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Trouble> {
        Ok(self.0.borrow().get(key).cloned())
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Trouble> {
        self.0.borrow_mut().insert(key.into(), value.into());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), Trouble> {
        self.0.borrow_mut().remove(key);
        Ok(())
    }

    fn exists(&self, key: &str) -> Result<bool, Trouble> {
        Ok(self.0.borrow().contains_key(key))
    }

    fn keys(&self) -> Result<Vec<String>, Trouble> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn increment(&self, key: &str, by: i64) -> Result<i64, Trouble> {
        let before = self.get(key)?.and_then(|it| number(&it));
        let sum = before.unwrap_or_default() + by;
        self.set(key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    fn pause(&self, _: u32) -> bool {
        false
    }
}

/// What instances do, and what comes of it.
pub trait Play {
    /// Something that an instance is asked for.
    type Call: Copy + Debug;
    /// What it says in the end.
    type Outcome: Clone + Debug + PartialEq + Eq + Hash;

    /// Does a call.
    fn run(&self, call: Self::Call, store: &Answered<'_>) -> Result<Self::Outcome, Trouble>;

    /// Whether it makes no difference which of two instances does which of these calls.
    fn are_alike(&self, one: Self::Call, other: Self::Call) -> bool {
        let _ = (one, other);
        false
    }

    /// Looks at what came of all calls, when none is under way any more, and at what is in the store.
    fn judge(&self, history: &[Event<Self::Outcome>], contents: &Contents) -> Result<(), String>;
}

/// A call in a history.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event<O> {
    /// Which of the calls, by their place in all instances' lists, one after the other.
    pub call: usize,
    /// Which calls had ended when it began.
    pub after: Vec<usize>,
    /// What it said; none if it was stopped.
    pub outcome: Option<O>,
}

#[derive(Clone)]
struct Instance<O> {
    /// The first of its calls, and how many there are.
    first: usize,
    count: usize,
    /// The call that is under way, or is next, and its answers.
    at: usize,
    answers: Vec<Answer>,
    /// What it asks for next; none if it has come to its end.
    next: Option<Operation>,
    /// That changes nothing, and it waits until it does or says something else.
    waits: bool,
    events: Vec<Event<O>>,
}

impl<O: Hash> Hash for Instance<O> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // What is next follows from the answers, but that there is nothing if it was stopped.
        let is_over = self.next.is_none();
        (self.at, &self.answers, is_over, self.waits, &self.events).hash(hasher);
    }
}

#[derive(Clone, Hash)]
struct State<O> {
    contents: Contents,
    instances: Vec<Instance<O>>,
    stops: usize,
}

/// Plays all orders, with at most so many stops, and gives the number of states: or the first history that is judged
/// to be wrong.
pub fn play<P: Play>(play: &P, scripts: &[&[P::Call]], stops: usize) -> Result<usize, String> {
    let calls: Vec<P::Call> = scripts.concat();
    let mut first = 0;
    let instance = |script: &&[P::Call]| {
        let begun = first;
        first += script.len();
        Instance {
            first: begun,
            count: script.len(),
            at: 0,
            answers: Vec::new(),
            next: run(play, script[0], &[]).0,
            waits: false,
            events: Vec::new(),
        }
    };
    let mut open = vec![State {
        contents: Contents::new(),
        instances: scripts.iter().map(instance).collect(),
        stops,
    }];
    let game = Game { play, calls };
    let mut seen = HashSet::new();
    while let Some(state) = open.pop() {
        if !seen.insert(fingerprint(&state)) {
            continue;
        }
        for (number, instance) in state.instances.iter().enumerate() {
            if instance.next.is_none() {
                continue;
            }
            if !instance.waits && game.may_begin(&state, number) {
                open.extend(game.stepped(&state, number));
            }
            if state.stops > 0 && !instance.answers.is_empty() {
                open.push(stopped(&state, number));
            }
        }
        if state.instances.iter().all(|it| it.next.is_none()) {
            let events = state.instances.into_iter().flat_map(|it| it.events);
            let events: Vec<_> = events.collect();
            play.judge(&events, &state.contents)
                .map_err(|why| format!("{why} {:#?}", shown(&state.contents)))?;
        }
    }
    Ok(seen.len())
}

/// So many states are told apart by 128 bits that no two are taken for one.
fn fingerprint(state: &impl Hash) -> u128 {
    let mut hasher = SipHasher13::new();
    state.hash(&mut hasher);
    hasher.finish128().into()
}

fn shown(contents: &Contents) -> Vec<String> {
    let text =
        |(key, value): (&String, &Vec<u8>)| format!("{key} = {}", String::from_utf8_lossy(value));
    contents.iter().map(text).collect()
}

struct Game<'p, P: Play> {
    play: &'p P,
    calls: Vec<P::Call>,
}

impl<P: Play> Game<'_, P> {
    /// Of instances that are alike the first begins first.
    fn may_begin(&self, state: &State<P::Outcome>, number: usize) -> bool {
        let calls = |it: &Instance<_>| self.calls[it.first..it.first + it.count].to_vec();
        let [one, other] = [number.wrapping_sub(1), number].map(|it| state.instances.get(it));
        let (Some(one), Some(other)) = (one, other) else {
            return true;
        };
        let (ours, theirs) = (calls(other), calls(one));
        let mut pairs = ours.iter().zip(&theirs);
        let are_alike =
            ours.len() == theirs.len() && pairs.all(|(a, b)| self.play.are_alike(*a, *b));
        !are_alike || !one.events.is_empty() || !other.events.is_empty()
    }

    /// What can become of a state by one more operation of an instance.
    fn stepped(&self, state: &State<P::Outcome>, number: usize) -> Vec<State<P::Outcome>> {
        let mut next = state.clone();
        let Some(operation) = self.carry_on(&mut next, number) else {
            return Vec::new();
        };
        let is_concerned = |(_, instance): &(usize, &Instance<_>)| {
            let asks = instance
                .next
                .as_ref()
                .filter(|_| !instance.answers.is_empty());
            asks.is_some_and(|asks| asks.meets(&operation))
        };
        let others = state.instances.iter().enumerate();
        let others = others.filter(|it| it.0 != number).filter(is_concerned);
        let concerned: Vec<usize> = [number].into_iter().chain(others.map(|it| it.0)).collect();
        concerned.into_iter().fold(vec![next], |states, number| {
            let further = |state| self.with_idle(state, number);
            states.into_iter().flat_map(further).collect()
        })
    }

    /// The state, and all in which an instance has done more and more of what comes next and changes nothing.
    fn with_idle(&self, mut state: State<P::Outcome>, number: usize) -> Vec<State<P::Outcome>> {
        let mut states = Vec::new();
        loop {
            let instance = &mut state.instances[number];
            instance.waits = false;
            let next = instance.next.as_ref();
            let is_first = instance.answers.is_empty();
            if is_first || next.is_none_or(|next| next.changes(&state.contents)) {
                states.push(state);
                return states;
            }
            instance.waits = true;
            states.push(state.clone());
            self.carry_on(&mut state, number);
        }
    }

    /// Does what an instance asks for next.
    fn carry_on(&self, state: &mut State<P::Outcome>, number: usize) -> Option<Operation> {
        let events = state.instances.iter().flat_map(|it| &it.events);
        let ended = events.filter(|event| event.outcome.is_some());
        let ended = ended.map(|event| event.call).collect();
        let instance = &mut state.instances[number];
        let operation = instance.next.take()?;
        let call = instance.first + instance.at;
        if instance.answers.is_empty() {
            instance.events.push(Event {
                call,
                after: ended,
                outcome: None,
            });
        }
        let answer = done(&mut state.contents, operation.clone());
        instance.answers.push(answer);
        let (next, outcome) = run(self.play, self.calls[call], &instance.answers);
        instance.next = next;
        if instance.next.is_none() {
            instance.events.last_mut().unwrap().outcome = outcome.ok();
            instance.at += 1;
            instance.answers.clear();
            if instance.at < instance.count {
                instance.next = run(self.play, self.calls[call + 1], &[]).0;
            }
        }
        Some(operation)
    }
}

/// A call with the answers that it has had: what it asks for next, or else its outcome.
fn run<P: Play>(
    play: &P,
    call: P::Call,
    answers: &[Answer],
) -> (Option<Operation>, Result<P::Outcome, Trouble>) {
    let store = Answered {
        answers,
        used: Cell::new(0),
        next: RefCell::default(),
    };
    let outcome = play.run(call, &store);
    (store.next.into_inner(), outcome)
}

fn stopped<O: Clone>(state: &State<O>, number: usize) -> State<O> {
    let mut state = state.clone();
    state.stops -= 1;
    let instance = &mut state.instances[number];
    instance.next = None;
    instance.waits = false;
    instance.answers.clear();
    state
}

/// Whether there is an order of the calls in which each comes after those that had ended when it began, and in which all
/// say what they would say if each were done at once. Those that were stopped may have been done or not.
pub fn is_orderly<O, S: Clone>(
    history: &[Event<O>],
    state: &S,
    done: &dyn Fn(&mut S, &Event<O>) -> bool,
) -> bool {
    fn orderly<O, S: Clone>(
        history: &[Event<O>],
        left: &[usize],
        state: &S,
        done: &dyn Fn(&mut S, &Event<O>) -> bool,
    ) -> bool {
        let is_open = |place: &usize| history[*place].outcome.is_some();
        if !left.iter().any(is_open) {
            return true;
        }
        left.iter().any(|place| {
            let event = &history[*place];
            // One that had ended before this began must have been done.
            let comes_later =
                |other: &usize| event.after.contains(&history[*other].call) && other != place;
            if left.iter().any(comes_later) {
                return false;
            }
            let mut state = state.clone();
            let rest: Vec<usize> = left.iter().copied().filter(|it| it != place).collect();
            done(&mut state, event) && orderly(history, &rest, &state, done)
        })
    }
    let all: Vec<usize> = (0..history.len()).collect();
    orderly(history, &all, state, done)
}
