//! What the service counts.
//!
//! An instance counts for itself and hands out what it has counted; the platform adds that of all
//! instances up, with what it counts itself. Only this module knows what the numbers stand for.

use std::cell::Cell;
use std::time::Duration;

use crate::route::{Operation, ROUTES};

mod text;

pub use text::render;

/// Every status that the service answers with, and 503, with which a platform says that it is busy.
const STATUSES: [u16; 13] = [
    200, 400, 401, 403, 404, 405, 406, 409, 500, 501, 502, 503, 504,
];

/// Upper bounds of the buckets of all times, in microseconds. Those from [`COARSE`] on are KES's; the
/// finer ones tell keys that were in memory from keys that were not.
const BUCKETS: [u32; 16] = [
    10, 30, 100, 300, 1000, 3000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 1_500_000,
    3_000_000, 5_000_000, 10_000_000,
];

/// Where KES's buckets begin.
const COARSE: usize = 6;

/// A time takes so many numbers: its buckets, that of what is longer, and the sum in nanoseconds.
const TIME: usize = BUCKETS.len() + 2;

// Where in the array each figure is. The gauges, which are not added up over time, come last.
const AUDIT_EVENTS: usize = STATUSES.len();
const ERROR_EVENTS: usize = AUDIT_EVENTS + 1;
const CONNECTIONS: usize = ERROR_EVENTS + 1;
const CACHE_HITS: usize = CONNECTIONS + Refusal::ALL.len();
const CACHE_MISSES: usize = CACHE_HITS + 1;
const CACHE_OFFLINE: usize = CACHE_MISSES + 1;
const STORE_UNREACHABLE: usize = CACHE_OFFLINE + 1;
const STORE_FAILED: usize = STORE_UNREACHABLE + 1;
const STORE_TIMES: usize = STORE_FAILED + 1;
const API_TIMES: usize = STORE_TIMES + StoreOperation::ALL.len() * TIME;
/// The times of requests that no API has answered come after those of the APIs.
const OTHER_TIMES: usize = API_TIMES + ROUTES.len() * TIME;
const ACTIVE: usize = OTHER_TIMES + TIME;
const CACHE_ENTRIES: usize = ACTIVE + 1;
const STORE_ACTIVE: usize = CACHE_ENTRIES + 1;
const LENGTH: usize = STORE_ACTIVE + 1;

/// Where the gauges begin.
const GAUGES: usize = ACTIVE;

/// Why a connection was refused or cut off, although no request on it was answered so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many connections as there may be.
    TooMany,
    /// The TLS handshake failed.
    Handshake,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// What came is no request: broken, or its head too large.
    Head,
    /// The head of a request took too long.
    HeadTimeout,
    /// The client broke the rules of HTTP/2.
    Http2,
    /// The client did not read its answer.
    Unread,
}

impl Refusal {
    /// Every reason, the end of its counter's name, and what it says. They are no labels of one counter:
    /// KES's Go client can't read metrics of which an unknown one has several values.
    const ALL: [(Self, &str, &str); 7] = [
        (
            Self::TooMany,
            "limit",
            "Connections closed because there were too many.",
        ),
        (
            Self::Handshake,
            "handshake",
            "Connections whose TLS handshake failed.",
        ),
        (
            Self::HandshakeTimeout,
            "handshake_timeout",
            "Connections whose TLS handshake took too long.",
        ),
        (
            Self::Head,
            "head",
            "Connections on which something else than a request came, or too large a head.",
        ),
        (
            Self::HeadTimeout,
            "head_timeout",
            "Connections on which the head of a request took too long.",
        ),
        (
            Self::Http2,
            "http2",
            "Connections on which the rules of HTTP/2 were broken.",
        ),
        (
            Self::Unread,
            "unread",
            "Connections whose client did not read its answer.",
        ),
    ];
}

/// What a key store is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// Reading a key.
    Read,
    /// Creating a key.
    Create,
    /// Deleting a key.
    Delete,
    /// Reading a page of names.
    List,
    /// Whether it answers.
    Status,
}

impl StoreOperation {
    /// Every operation and its name, in the order of their declaration.
    const ALL: [(Self, &str); 5] = [
        (Self::Read, "read"),
        (Self::Create, "create"),
        (Self::Delete, "delete"),
        (Self::List, "list"),
        (Self::Status, "status"),
    ];
}

/// How an operation of a key store has failed. That a key is there or not is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// The store is away.
    Unreachable,
    /// The store answers, but could not do this.
    Failed,
}

/// The figures of one instance, or of the platform.
pub struct Counters([Cell<u64>; LENGTH]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { Cell::new(0) }; LENGTH])
    }
}

impl Counters {
    /// A request has begun.
    pub fn begin(&self) {
        self.add(ACTIVE, 1);
    }

    /// A request was answered, by this API if it has come to one.
    pub fn end(&self, api: Option<Operation>, status: u16, duration: Duration) {
        self.add(ACTIVE, u64::MAX);
        self.add(position(status), 1);
        self.time(api.map_or(OTHER_TIMES, api_time), duration);
    }

    /// A record went to the audit log.
    pub fn audit_event(&self) {
        self.add(AUDIT_EVENTS, 1);
    }

    /// An error of a request went to the error log.
    pub fn error_event(&self) {
        self.add(ERROR_EVENTS, 1);
    }

    /// A connection was refused or cut off.
    pub fn refused(&self, why: Refusal) {
        for (at, (reason, ..)) in Refusal::ALL.iter().enumerate() {
            if *reason == why {
                self.add(CONNECTIONS + at, 1);
            }
        }
    }

    /// A key was in memory, and the store not asked.
    pub fn cache_hit(&self) {
        self.add(CACHE_HITS, 1);
    }

    /// The store had to be asked for a key.
    pub fn cache_miss(&self) {
        self.add(CACHE_MISSES, 1);
    }

    /// The store was asked for a key and away, and the key still in memory.
    pub fn served_offline(&self) {
        self.add(CACHE_OFFLINE, 1);
    }

    /// So many keys are in memory now.
    pub fn set_cache_entries(&self, count: usize) {
        if let Some(gauge) = self.0.get(CACHE_ENTRIES) {
            gauge.set(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    /// The key store begins to do something.
    pub fn store_begin(&self) {
        self.add(STORE_ACTIVE, 1);
    }

    /// The key store has done it, or not.
    pub fn store_end(&self, what: StoreOperation, failure: Option<StoreFailure>, took: Duration) {
        self.add(STORE_ACTIVE, u64::MAX);
        match failure {
            Some(StoreFailure::Unreachable) => self.add(STORE_UNREACHABLE, 1),
            Some(StoreFailure::Failed) => self.add(STORE_FAILED, 1),
            None => {}
        }
        self.time(store_time(what), took);
    }

    /// What was counted since the last call, and the gauges as they are now.
    pub fn take(&self) -> Vec<u64> {
        let take = |(at, figure): (usize, &Cell<u64>)| {
            if at < GAUGES {
                figure.take()
            } else {
                figure.get()
            }
        };
        self.0.iter().enumerate().map(take).collect()
    }

    fn time(&self, at: usize, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let slot = BUCKETS.partition_point(|bound| u64::from(*bound) * 1000 < nanos);
        self.add(at + slot, 1);
        self.add(at + TIME - 1, nanos);
    }

    /// Additions wrap, so that adding `u64::MAX` takes one away.
    fn add(&self, at: usize, increment: u64) {
        if let Some(counter) = self.0.get(at) {
            counter.set(counter.get().wrapping_add(increment));
        }
    }
}

/// Adds figures that were taken from one instance to those of the others, taken at the same time.
pub fn add(sums: &mut Vec<u64>, figures: &[u64]) {
    sums.resize(sums.len().max(figures.len()), 0);
    for (sum, figure) in sums.iter_mut().zip(figures) {
        *sum = sum.wrapping_add(*figure);
    }
}

/// Adds figures that were taken to those of all time before: counters add up, and gauges are what
/// they are now. So what was under way in an instance that has died is not under way for ever.
pub fn accumulate(sums: &mut Vec<u64>, figures: &[u64]) {
    if let Some(gauges) = sums.get_mut(GAUGES..) {
        gauges.fill(0);
    }
    add(sums, figures);
}

fn position(status: u16) -> usize {
    let unknown = STATUSES
        .iter()
        .position(|known| *known == 500)
        .unwrap_or_default();
    STATUSES
        .iter()
        .position(|known| *known == status)
        .unwrap_or(unknown)
}

/// Where the time of requests to an API is.
const fn api_time(api: Operation) -> usize {
    API_TIMES + api as usize * TIME
}

/// Where the time of a store's operation is.
const fn store_time(operation: StoreOperation) -> usize {
    STORE_TIMES + operation as usize * TIME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_place_of_its_own() {
        for (at, route) in ROUTES.iter().enumerate() {
            assert_eq!(api_time(route.operation), API_TIMES + at * TIME);
        }
        for (at, (operation, _)) in StoreOperation::ALL.iter().enumerate() {
            assert_eq!(store_time(*operation), STORE_TIMES + at * TIME);
        }
    }

    #[test]
    fn counters_add_up_and_gauges_are_what_they_are_now() {
        let instance = Counters::default();
        let mut sums = Vec::new();
        for hits in 1..=3 {
            instance.begin();
            instance.cache_hit();
            accumulate(&mut sums, &instance.take());
            assert_eq!((sums[ACTIVE], sums[CACHE_HITS]), (hits, hits));
        }
        instance.end(None, 200, Duration::ZERO);
        accumulate(&mut sums, &instance.take());
        assert_eq!((sums[ACTIVE], sums[CACHE_HITS]), (2, 3));
        // It dies, and the next one has nothing under way.
        accumulate(&mut sums, &Counters::default().take());
        assert_eq!((sums[ACTIVE], sums[CACHE_HITS]), (0, 3));
    }

    #[test]
    fn a_time_is_in_the_bucket_whose_bound_it_does_not_pass() {
        for (nanos, slot) in [
            (0, 0),
            (10_000, 0),
            (10_001, 1),
            (10_000_000_000, BUCKETS.len() - 1),
            (u64::MAX, BUCKETS.len()),
        ] {
            let counters = Counters::default();
            counters.begin();
            counters.end(Some(Operation::Generate), 200, Duration::from_nanos(nanos));
            let taken = counters.take();
            let at = api_time(Operation::Generate);
            assert_eq!(taken[at..at + TIME - 1].iter().sum::<u64>(), 1);
            assert_eq!((taken[at + slot], taken[at + TIME - 1]), (1, nanos));
        }
    }
}
