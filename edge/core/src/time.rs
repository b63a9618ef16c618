//! Points in time, cheap enough for every request.

use std::time::Duration;

use jiff::Timestamp;

/// A point in time: nanoseconds since the Unix epoch, UTC.
///
/// The platform's clock may step; differences are therefore never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(u64);

impl Time {
    /// The time so many nanoseconds after the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time so much later.
    pub fn after(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The same time as a calendar type, which writes itself as RFC 3339.
    pub fn timestamp(self) -> Timestamp {
        // Every u64 of nanoseconds lies before the year 2555: inside jiff's range.
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::MAX)
    }
}
