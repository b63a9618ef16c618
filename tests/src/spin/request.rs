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
    spent: Spent,
    answered: Option<Spent>,
}

impl Request {
    pub fn new(number: u64, line: String) -> Self {
        let clock = Clock {
            begun: Instant::now(),
            running: None,
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
        let enter = || self.clock.lock().unwrap().resume();
        let leave = || self.clock.lock().unwrap().pause();
        around(call, enter, leave).await
    }

    /// Does what the running instance has asked for.
    pub async fn host<T>(&self, work: Work, call: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let enter = || self.clock.lock().unwrap().pause();
        let leave = || self.clock.lock().unwrap().resume();
        let done = around(call, enter, leave).await;
        let spent = &mut self.clock.lock().unwrap().spent;
        let time = begun.elapsed();
        match work {
            Work::KeyValue => spent.key_value += time,
            Work::Variables => spent.variables += time,
        }
        done
    }
}

impl Clock {
    fn resume(&mut self) {
        self.running = Some(Instant::now());
    }

    fn pause(&mut self) {
        if let Some(since) = self.running.take() {
            self.spent.guest += since.elapsed();
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
