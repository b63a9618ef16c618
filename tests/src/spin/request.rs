//! One request and what it costs: operations, and time inside and outside the component.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::store::Operation;

/// How many operations of each kind.
pub type Counts = BTreeMap<Operation, u64>;

/// What a request has cost.
#[derive(Clone, Debug)]
pub struct Times {
    /// Its number, from 1 on.
    pub number: u64,
    /// Its method, a space, and its path with the query.
    pub line: String,
    /// How long it took to make the instance.
    pub instance: Duration,
    /// From the call of `handle` until the answer's head was there, if there was an answer.
    pub answered: Option<Spent>,
    /// Until the call was over, by itself or by a trap. None if it was ended from outside: that happens once the
    /// client has all of the answer, or is away.
    pub returned: Option<Spent>,
    /// The operations on key-value stores.
    pub counts: Counts,
}

/// Where time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// By the clock on the wall.
    pub total: Duration,
    /// The instance ran: what is left when it waits for something, and the three below, are taken off. What WASI
    /// does for it at once, such as writing a line, is in here.
    pub guest: Duration,
    /// In operations on key-value stores, by the clock on the wall, a test's delays included.
    pub key_value: Duration,
    /// In asking for variables.
    pub variables: Duration,
    /// Until the heads of answers to outgoing requests were there; they may overlap.
    pub outgoing: Duration,
}

/// What a host function does.
#[derive(Clone, Copy)]
pub(super) enum Work {
    KeyValue,
    Variables,
}

/// A request that is being answered.
pub(super) struct Request {
    pub number: u64,
    pub line: String,
    clock: Mutex<Clock>,
    counts: Mutex<Counts>,
}

struct Clock {
    begun: Instant,
    /// Since when the instance runs, if it does.
    running: Option<Instant>,
    /// Since when and until when it was in the host function in which it is.
    outside: Option<(Instant, Instant)>,
    spent: Spent,
    answered: Option<Spent>,
}

impl Request {
    pub fn new(number: u64, line: String) -> Self {
        let clock = Clock {
            begun: Instant::now(),
            running: None,
            outside: None,
            spent: Spent::default(),
            answered: None,
        };
        Self {
            number,
            line,
            clock: Mutex::new(clock),
            counts: Mutex::default(),
        }
    }

    /// Counts an operation: how many there are now, of all kinds and of its own.
    pub fn count(&self, operation: Operation) -> (u64, u64) {
        let mut counts = self.counts.lock().unwrap();
        *counts.entry(operation).or_default() += 1;
        (counts.values().sum(), counts[&operation])
    }

    /// Starts the clock.
    pub fn begin(&self) {
        self.clock.lock().unwrap().begun = Instant::now();
    }

    /// The answer is there.
    pub fn answered(&self) {
        let mut clock = self.clock.lock().unwrap();
        clock.answered = Some(clock.now());
    }

    /// An outgoing request took this long.
    pub fn sent(&self, time: Duration) {
        self.clock.lock().unwrap().spent.outgoing += time;
    }

    /// What it has cost. `is_over`: its call has ended.
    pub fn times(&self, instance: Duration, is_over: bool) -> Times {
        let clock = self.clock.lock().unwrap();
        Times {
            number: self.number,
            line: self.line.clone(),
            instance,
            answered: clock.answered,
            returned: is_over.then(|| clock.now()),
            counts: self.counts.lock().unwrap().clone(),
        }
    }

    /// Runs the instance.
    pub async fn run<T>(&self, call: impl Future<Output = T>) -> T {
        let before = || self.clock.lock().unwrap().resume(Instant::now());
        let after = || self.clock.lock().unwrap().pause(Instant::now());
        around(call, before, after).await
    }

    /// Does what the running instance has asked for.
    pub async fn host<T>(&self, work: Work, call: impl Future<Output = T>) -> T {
        let before = || self.clock.lock().unwrap().leave(Instant::now());
        let after = || self.clock.lock().unwrap().come_back(Instant::now());
        let done = around(call, before, after).await;
        self.clock.lock().unwrap().add(work);
        done
    }
}

impl Clock {
    fn resume(&mut self, now: Instant) {
        self.running = Some(now);
    }

    fn pause(&mut self, now: Instant) {
        if let Some(since) = self.running.take() {
            self.spent.guest += now - since;
        }
    }

    /// Into a host function, or on with it.
    fn leave(&mut self, now: Instant) {
        self.pause(now);
        self.outside.get_or_insert((now, now));
    }

    /// Out of it, or until it can go on.
    fn come_back(&mut self, now: Instant) {
        if let Some((_, until)) = &mut self.outside {
            *until = now;
        }
        self.resume(now);
    }

    /// It is done.
    fn add(&mut self, work: Work) {
        let Some((since, until)) = self.outside.take() else {
            return;
        };
        match work {
            Work::KeyValue => self.spent.key_value += until - since,
            Work::Variables => self.spent.variables += until - since,
        }
    }

    fn now(&self) -> Spent {
        let running = self.running.map_or(Duration::ZERO, |since| since.elapsed());
        Spent {
            total: self.begun.elapsed(),
            guest: self.spent.guest + running,
            ..self.spent
        }
    }
}

/// A future between two functions, whenever it is polled.
async fn around<T>(call: impl Future<Output = T>, before: impl Fn(), after: impl Fn()) -> T {
    let mut call = std::pin::pin!(call);
    let poll = |context: &mut Context<'_>| -> Poll<T> {
        before();
        let polled = Pin::as_mut(&mut call).poll(context);
        after();
        polled
    };
    std::future::poll_fn(poll).await
}
