//! Whether a store is away, said once.

use std::cell::Cell;

use super::courier::Purpose;

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

    /// An operation found the store away: whether that is news.
    pub fn begins(&self, operation: u64, purpose: Purpose) -> bool {
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
