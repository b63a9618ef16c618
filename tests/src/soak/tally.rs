//! What has happened so far.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::Progress;

/// How many faults of clients are kept word by word; the others are only counted.
const FAULTS: usize = 20;

/// Counts requests, answers and what is wrong.
#[derive(Default)]
pub struct Tally(Mutex<Counts>);

/// All counts at one moment.
#[derive(Clone, Default)]
pub struct Counts {
    /// Well-formed requests, each of which must be answered.
    pub sent: u64,
    /// How many of them were, by status.
    pub answers: BTreeMap<u16, u64>,
    /// What clients that mean no good have done, by its name.
    pub nuisances: BTreeMap<&'static str, u64>,
    /// How many conditions were broken.
    pub faulty: u64,
    /// The first of them.
    pub faults: Vec<String>,
}

impl Counts {
    /// Requests that were answered, with whatever status.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }
}

impl Tally {
    /// A well-formed request is about to be sent.
    pub fn sent(&self) {
        self.counts().sent += 1;
    }

    /// It has an answer.
    pub fn answered(&self, status: u16) {
        *self.counts().answers.entry(status).or_default() += 1;
    }

    /// Somebody has made a nuisance of himself, and the server has borne it.
    pub fn nuisance(&self, name: &'static str) {
        *self.counts().nuisances.entry(name).or_default() += 1;
    }

    /// A condition is broken.
    pub fn fault(&self, what: &str) {
        let mut counts = self.counts();
        counts.faulty += 1;
        counts.faults.push(what.to_owned());
    }

    /// A client has found a condition broken, which many may find at once.
    pub fn client_fault(&self, what: &str) {
        let mut counts = self.counts();
        counts.faulty += 1;
        if counts.faults.len() < FAULTS {
            counts.faults.push(what.to_owned());
        }
    }

    /// All counts now.
    pub fn now(&self) -> Counts {
        self.counts().clone()
    }

    /// What is to be shown on the way.
    pub fn progress(&self, elapsed: Duration, mebibytes: f64) -> Progress {
        let counts = self.counts();
        Progress {
            elapsed,
            sent: counts.sent,
            nuisances: counts.nuisances.values().sum(),
            faults: counts.faulty,
            mebibytes,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap()
    }
}
