//! All orders in which several instances can use one store, with a stop of any of them at any step.
//!
//! What an instance does follows from what the store answers. So a call is carried on by one step by running it anew
//! from its beginning with the answers that it has had: the first operation beyond them is its next step.
//!
//! A read says the same as long as nobody changes what it reads. So it is tried right after what its instance did before,
//! and again whenever another one has changed that: every other order says the same as one of these, with the same calls
//! ended before others begin or with more. Only the first operation of a call is tried at all times, for it is what
//! begins the call.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::keyvalue::{KeyValue, Trouble};

/// What is in the store, as Redis has it: numbers are digits.
pub type Contents = BTreeMap<String, Vec<u8>>;

impl Operation {
    /// Whether a read says something else after a write.
    fn is_changed_by(&self, write: &Self) -> bool {
        let written = match write {
            Self::Set(key, _) | Self::Delete(key) | Self::Increment(key, _) => key,
            Self::Get(_) | Self::Keys => return false,
        };
        match self {
            Self::Get(key) => key == written,
            Self::Keys => true,
            _ => false,
        }
    }

    fn is_read(&self) -> bool {
        matches!(self, Self::Get(_) | Self::Keys)
    }
}

/// An operation of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operation {
    Get(String),
    Set(String, Vec<u8>),
    Delete(String),
    Keys,
    Increment(String, i64),
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
pub struct Replay<'r> {
    answers: &'r [Answer],
    used: Cell<usize>,
    next: RefCell<Option<Operation>>,
}

impl Replay<'_> {
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

impl KeyValue for &Replay<'_> {
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

/// What instances do, and what comes of it.
pub trait Play {
    /// Something that an instance is asked for.
    type Call: Copy + Debug;
    /// What it says in the end.
    type Outcome: Clone + Debug + PartialEq + Eq + Hash;

    /// Does a call.
    fn run(&self, call: Self::Call, store: &Replay<'_>) -> Result<Self::Outcome, Trouble>;

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

#[derive(Clone, PartialEq, Eq, Hash)]
struct Instance<O> {
    /// The first of its calls, and how many there are.
    first: usize,
    count: usize,
    /// The call that is under way, or is next, and its answers.
    at: usize,
    answers: Vec<Answer>,
    stopped: bool,
    /// It reads next, and waits until that has changed.
    waits: bool,
    events: Vec<Event<O>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
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
    let instances = scripts
        .iter()
        .map(|script| {
            let instance = Instance {
                first,
                count: script.len(),
                at: 0,
                answers: Vec::new(),
                stopped: false,
                waits: false,
                events: Vec::new(),
            };
            first += script.len();
            instance
        })
        .collect();
    let begun = State {
        contents: Contents::new(),
        instances,
        stops,
    };
    let mut seen = HashSet::new();
    let mut open = vec![begun];
    while let Some(state) = open.pop() {
        if !seen.insert(fingerprint(&state)) {
            continue;
        }
        let mut is_over = true;
        for number in 0..state.instances.len() {
            let instance = &state.instances[number];
            if instance.stopped || instance.at == instance.count {
                continue;
            }
            is_over = false;
            if !instance.waits {
                open.extend(stepped(play, &calls, &state, number));
            }
            if state.stops > 0 && !instance.answers.is_empty() {
                open.push(stopped(&state, number));
            }
        }
        if is_over {
            let events = state.instances.iter().flat_map(|it| it.events.clone());
            let events: Vec<_> = events.collect();
            play.judge(&events, &state.contents)
                .map_err(|why| format!("{why} {:#?}", shown(&state.contents)))?;
        }
    }
    Ok(seen.len())
}

/// So many states are told apart by 128 bits that no two are taken for one.
fn fingerprint(state: &impl Hash) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, state).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

fn shown(contents: &Contents) -> Vec<String> {
    let text =
        |(key, value): (&String, &Vec<u8>)| format!("{key} = {}", String::from_utf8_lossy(value));
    contents.iter().map(text).collect()
}

/// What can become of a state by one more operation of an instance.
fn stepped<P: Play>(
    play: &P,
    calls: &[P::Call],
    state: &State<P::Outcome>,
    number: usize,
) -> Vec<State<P::Outcome>> {
    let mut next = state.clone();
    let Some(operation) = next.next_of(play, calls, number) else {
        panic!("a call that asks for nothing");
    };
    next.carry_on(play, calls, number, operation.clone());
    let mut readers = vec![number];
    for other in 0..next.instances.len() {
        if next.instances[other].waits
            && let Some(read) = next.next_of(play, calls, other)
            && read.is_changed_by(&operation)
        {
            readers.push(other);
        }
    }
    readers.iter().fold(vec![next], |states, reader| {
        let read = |state| with_reads(play, calls, state, *reader);
        states.into_iter().flat_map(read).collect()
    })
}

/// The state, and all in which an instance has done more and more of the reads that come next.
fn with_reads<P: Play>(
    play: &P,
    calls: &[P::Call],
    mut state: State<P::Outcome>,
    number: usize,
) -> Vec<State<P::Outcome>> {
    let mut states = Vec::new();
    loop {
        let instance = &mut state.instances[number];
        instance.waits = false;
        let is_under_way = !instance.answers.is_empty();
        let next = is_under_way.then(|| state.next_of(play, calls, number));
        let Some(read) = next.flatten().filter(Operation::is_read) else {
            states.push(state);
            return states;
        };
        let mut waiting = state.clone();
        waiting.instances[number].waits = true;
        states.push(waiting);
        state.carry_on(play, calls, number, read);
    }
}

impl<O: Clone> State<O> {
    /// What an instance asks the store for next.
    fn next_of<P: Play<Outcome = O>>(
        &self,
        play: &P,
        calls: &[P::Call],
        number: usize,
    ) -> Option<Operation> {
        let instance = &self.instances[number];
        let call = calls[instance.first + instance.at];
        run(play, call, &instance.answers).0
    }

    /// Does an operation for an instance.
    fn carry_on<P: Play<Outcome = O>>(
        &mut self,
        play: &P,
        calls: &[P::Call],
        number: usize,
        operation: Operation,
    ) {
        let events = self.instances.iter().flat_map(|it| &it.events);
        let ended = events.filter(|event| event.outcome.is_some());
        let ended = ended.map(|event| event.call).collect();
        let answer = done(&mut self.contents, operation);
        let instance = &mut self.instances[number];
        let call = instance.first + instance.at;
        if instance.answers.is_empty() {
            instance.events.push(Event {
                call,
                after: ended,
                outcome: None,
            });
        }
        instance.answers.push(answer);
        let (next, outcome) = run(play, calls[call], &instance.answers);
        if next.is_none() {
            instance.events.last_mut().unwrap().outcome = outcome.ok();
            instance.at += 1;
            instance.answers.clear();
        }
    }
}

/// A call with the answers that it has had: what it asks for next, or else its outcome.
fn run<P: Play>(
    play: &P,
    call: P::Call,
    answers: &[Answer],
) -> (Option<Operation>, Result<P::Outcome, Trouble>) {
    let replay = Replay {
        answers,
        used: Cell::new(0),
        next: RefCell::default(),
    };
    let outcome = play.run(call, &replay);
    (replay.next.into_inner(), outcome)
}

fn stopped<O: Clone>(state: &State<O>, number: usize) -> State<O> {
    let mut state = state.clone();
    state.stops -= 1;
    let instance = &mut state.instances[number];
    instance.stopped = true;
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
