//! The error log: lines on standard error, and records for whoever reads them as a stream.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealedge_core::conceal::conceal;
use sealedge_core::log::error_record;
use sealedge_core::metrics::Counters;
use sealedge_core::time::Time;

use super::feed::Feed;
use super::log::Log;
use super::machine::wall_clock;

/// What goes wrong, in the service and in the host: all of it is counted here. Hosts, paths and names in
/// it are shown without what looks like a secret.
pub struct Errors {
    log: Log,
    is_on: AtomicBool,
    feed: Arc<Feed>,
    counters: Arc<Mutex<Counters>>,
}

impl Errors {
    /// An error log that is on, whose stream is `feed`, and which counts in `counters`.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn new(feed: Arc<Feed>, counters: Arc<Mutex<Counters>>) -> io::Result<Self> {
        Ok(Self {
            // Nothing can be done about a standard error that is gone.
            log: Log::new("errors", io::stderr(), |_| {})?,
            is_on: AtomicBool::new(true),
            feed,
            counters,
        })
    }

    /// Turns the log on or off; the stream of it stays.
    pub fn turn(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Takes an error: for the log, if it is on and its reader is not too slow for it, and for whoever
    /// reads it as a stream.
    pub fn error(&self, message: &str) {
        self.event(message);
        if self.is_on.load(Ordering::Relaxed) && !self.log.is_full() {
            let time = Time::from_nanos(wall_clock()).timestamp();
            self.say(&format!("{time:.3} error: {message}"));
        }
    }

    /// Tells the operator of an error, and be the log off.
    pub fn say_error(&self, message: &str) {
        self.event(message);
        self.say(&format!("error: {message}"));
    }

    fn event(&self, message: &str) {
        let counters = self.counters.lock();
        counters
            .unwrap_or_else(PoisonError::into_inner)
            .error_event();
        if self.feed.is_read() {
            self.feed.push(&error_record(&conceal(message)));
        }
    }

    /// Tells the operator something.
    pub fn say(&self, message: &str) {
        let message = conceal(message);
        self.log.write(format!("{message}\n").into_bytes());
    }

    /// Ends the log: see [`Log::end`].
    pub fn end(&self, patience: Duration) {
        self.log.end(patience);
    }
}
