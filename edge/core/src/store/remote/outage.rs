//! Whether a store is away, said once.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::courier::Purpose;
use crate::time::Time;

/// How long after a try no other operation with keys tries it as well, while the store hangs.
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// What the operations of one store have met lately.
#[derive(Default)]
pub struct Outage {
    /// How many operations have begun.
    begun: Cell<u64>,
    /// The number of the first operation that began after the last change between away and back. The
    /// others saw the store as it was before, however late they end.
    since: Cell<u64>,
    /// What found the store away; `None` if it is there.
    away: Cell<Option<Purpose>>,
    /// Why it is away.
    cause: RefCell<String>,
    /// Whether it takes its time to be found away: where packets vanish.
    hangs: Cell<bool>,
    /// When it was last tried to get to it with a key while it hung; `None` if it may be back.
    tried: Cell<Option<Time>>,
}

impl Outage {
    /// The number of an operation that begins now.
    pub fn begin(&self) -> u64 {
        let number = self.begun.get();
        self.begun.set(number.wrapping_add(1));
        number
    }

    /// Whether the store was away when it was last asked.
    pub fn is_on(&self) -> bool {
        self.away.get().is_some()
    }

    /// A try brought nothing, and took so long.
    pub fn took(&self, time: Duration) {
        self.hangs.set(time >= BETWEEN_TRIES);
    }

    /// Why an operation that would begin now is not worth a try, for one has begun a moment ago and each
    /// takes seconds: keys that are in memory should not have to wait for it.
    pub fn is_hopeless(&self, now: Time, purpose: Purpose) -> Option<String> {
        if !self.is_on() || !self.hangs.get() || purpose == Purpose::Status {
            return None;
        }
        let is_fresh = |tried: Time| now.since(tried) < BETWEEN_TRIES;
        if self.tried.get().is_some_and(is_fresh) {
            return Some(self.cause.borrow().clone());
        }
        self.tried.set(Some(now));
        None
    }

    /// An operation found the store away: whether that is news.
    pub fn begins(&self, operation: u64, purpose: Purpose, cause: &str) -> bool {
        cause.clone_into(&mut self.cause.borrow_mut());
        let is_news = !self.is_on() && operation >= self.since.get();
        if is_news {
            self.change(Some(purpose));
        }
        is_news
    }

    /// An operation was answered: whether that is news.
    pub fn ends(&self, operation: u64, purpose: Purpose) -> bool {
        let Some(found_by) = self.away.get() else {
            return false;
        };
        self.tried.set(None);
        // A server may say of itself that it is well, and answer nothing else.
        let proves = purpose == Purpose::Keys || found_by == Purpose::Status;
        let is_news = proves && operation >= self.since.get();
        if is_news {
            self.change(None);
        }
        is_news
    }

    fn change(&self, away: Option<Purpose>) {
        self.since.set(self.begun.get());
        self.away.set(away);
    }
}
