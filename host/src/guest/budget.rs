//! How much of a processor's time a call may take.
//!
//! The clock that stops a call goes on while the call's thread waits for a processor, as it may for
//! seconds on a machine that is busy with something else. So what counts is the time that it had one.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What a call may take, looked at from time to time.
#[derive(Clone, Copy, Default)]
pub struct Budget {
    limit: Duration,
    /// The thread's time when it was looked at first.
    from: Option<Duration>,
}

impl Budget {
    /// A budget for a call that begins.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, from: None }
    }

    /// Whether something is left at this time of the thread.
    ///
    /// # Errors
    /// What was taken.
    pub fn look(&mut self, now: Duration) -> Result<(), Exhausted> {
        let from = *self.from.get_or_insert(now);
        if now.saturating_sub(from) < self.limit {
            Ok(())
        } else {
            Err(Exhausted(self.limit))
        }
    }
}

/// A call took all that it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted(Duration);

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a call took more than {:?} of a processor's time",
            self.0
        )
    }
}

impl std::error::Error for Exhausted {}

/// How long this thread has had a processor.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // A clock that counts from zero has no negative time.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_time_with_a_processor() {
        let second = Duration::from_secs(1);
        let mut budget = Budget::new(second);
        // What the thread did before does not count.
        assert_eq!(budget.look(100 * second), Ok(()));
        // Looked at again and again, since it waits.
        for _ in 0..1000 {
            assert_eq!(budget.look(100 * second + second / 2), Ok(()));
        }
        assert_eq!(budget.look(101 * second), Err(Exhausted(second)));
    }

    #[test]
    fn a_thread_that_works_takes_time_and_one_that_sleeps_does_not() {
        let begin = thread_time();
        std::thread::sleep(Duration::from_millis(50));
        let slept = thread_time();
        assert!(slept - begin < Duration::from_millis(50));
        while thread_time() - slept < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
    }
}
