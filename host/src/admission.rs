//! Which requests are let in: no more than can be held at a time, and be it parked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::Limits;

/// Counts the requests that are under way, and the bytes of their bodies.
pub struct Admission {
    requests: Gauge,
    body_bytes: Gauge,
}

/// A request that was let in. Dropped when nothing of it is held any more.
pub struct Admitted {
    by: Arc<Admission>,
    body_bytes: usize,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// There are as many requests under way as there may be.
    Requests(usize),
    /// Their bodies have as many bytes as they may.
    BodyBytes(usize),
    /// The audit log can't take what a request would add.
    AuditLog,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(limit) => write!(
                f,
                "the server is busy: {limit} requests are under way, try again later"
            ),
            Self::BodyBytes(limit) => write!(
                f,
                "the server is busy: the bodies of requests under way may have {limit} bytes \
                 together, try again later"
            ),
            Self::AuditLog => f.write_str(
                "the server is busy: nobody reads its audit log on standard output, try again later",
            ),
        }
    }
}

impl Admission {
    /// Nothing is under way yet.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            requests: Gauge::new(limits.requests),
            body_bytes: Gauge::new(limits.body_bytes),
        })
    }

    /// Lets a request in that may have so many bytes of body.
    ///
    /// # Errors
    /// [`Busy`] says which limit is reached.
    pub fn admit(self: &Arc<Self>, body_bytes: usize) -> Result<Admitted, Busy> {
        if !self.requests.add(1) {
            return Err(Busy::Requests(self.requests.limit));
        }
        if !self.body_bytes.add(body_bytes) {
            self.requests.remove(1);
            return Err(Busy::BodyBytes(self.body_bytes.limit));
        }
        Ok(Admitted {
            by: self.clone(),
            body_bytes,
        })
    }

    /// How many requests are under way.
    pub fn requests(&self) -> usize {
        self.requests.now.load(Ordering::Relaxed)
    }
}

impl Admitted {
    /// Its body has turned out to have so many bytes.
    pub fn has_body(&mut self, bytes: usize) {
        let less = self.body_bytes.saturating_sub(bytes);
        self.by.body_bytes.remove(less);
        self.body_bytes -= less;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.by.requests.remove(1);
        self.by.body_bytes.remove(self.body_bytes);
    }
}

/// An amount with a limit.
struct Gauge {
    now: AtomicUsize,
    limit: usize,
}

impl Gauge {
    fn new(limit: usize) -> Self {
        Self {
            now: AtomicUsize::new(0),
            limit,
        }
    }

    /// Whether there is room for so much more, which is taken then.
    fn add(&self, amount: usize) -> bool {
        if amount == 0 {
            return true;
        }
        let before = self.now.fetch_add(amount, Ordering::Relaxed);
        let fits = before.saturating_add(amount) <= self.limit;
        if !fits {
            self.remove(amount);
        }
        fits
    }

    fn remove(&self, amount: usize) {
        if amount > 0 {
            self.now.fetch_sub(amount, Ordering::Relaxed);
        }
    }
}
