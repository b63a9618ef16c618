//! How far it is, on standard error: a bar on a terminal, else a line now and then.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::Common;
use crate::cli::output::note;

/// How often a line is written.
const LINES: Duration = Duration::from_secs(10);

/// How far it is with all keys.
pub struct Progress {
    bar: ProgressBar,
    common: Common,
    last: Cell<Instant>,
}

impl Progress {
    /// Of nothing so far.
    pub fn new(common: Common) -> Self {
        let bar = if common.json || !stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::no_length()
        };
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} keys, {eta} left");
        Self {
            bar: style.map_or(bar.clone(), |style| bar.with_style(style)),
            common,
            last: Cell::new(Instant::now()),
        }
    }

    /// There are so many keys.
    pub fn begin(&self, keys: usize) {
        self.bar.set_length(keys as u64);
    }

    /// One more is done.
    pub fn step(&self) {
        self.bar.inc(1);
        let is_silent = self.common.json || !self.bar.is_hidden();
        if !is_silent && self.last.get().elapsed() >= LINES {
            self.last.set(Instant::now());
            let length = self.bar.length().unwrap_or_default();
            self.say(&format!("{} of {length} keys", self.bar.position()));
        }
    }

    /// Says something beside it.
    pub fn say(&self, message: &str) {
        self.bar.suspend(|| note(message, self.common));
    }

    /// Makes room for what is said next.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
