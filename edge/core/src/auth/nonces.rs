//! Which signed requests were seen: none is answered twice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use rustc_hash::FxBuildHasher;
use siphasher::sip128::SipHasher13;

use crate::identity::Identity;
use crate::time::Time;

/// A request's nonce as it is remembered.
pub type Nonce = [u8; 16];

/// A nonce's text as it is remembered: its SipHash-1-3, so that each takes the same room, and little time.
///
/// Whoever makes two that have the same has requests of their own refused, for each identity has its own
/// nonces: so no key is needed for it.
pub fn nonce(text: &str) -> Nonce {
    SipHasher13::new().hash(text.as_bytes()).as_bytes()
}

/// How many nonces of one identity are remembered at a time: at the default window, of two minutes, some
/// 8,000 requests a second.
pub const MOST: usize = 1 << 20;

/// What was seen of every identity. Only those that have rights get entries, so their number is bounded by
/// the configuration.
#[derive(Default)]
pub struct Nonces {
    seen: HashMap<Identity, Seen, FxBuildHasher>,
    /// The second in which the youngest request was made that is forgotten: what is not younger may be that
    /// one, if the clock was set back or the window made longer.
    forgotten: Option<u64>,
}

#[derive(Default)]
struct Seen {
    nonces: HashMap<Nonce, (), FxBuildHasher>,
    /// The same by the second after which they may be forgotten.
    until: BTreeMap<u64, Group>,
}

/// Nonces that are forgotten together.
#[derive(Default)]
struct Group {
    nonces: Vec<Nonce>,
    /// The second in which the youngest request was made.
    created: u64,
}

/// When a signed request was made, and when it is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// When the client has signed it, by its clock.
    pub created: Time,
    /// The last second in which it may be answered.
    pub until: Time,
}

/// Why a request must not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It was seen before.
    Seen,
    /// There is no room to remember it.
    Full,
    /// Where it is to be remembered there is no answer.
    Away,
    /// It is too old by now, or from before what is remembered.
    Late,
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seen => {
                "the request was received before: sign each request anew, with a nonce of its own"
            }
            Self::Away => {
                "the request can't be remembered now, which keeps it from being answered twice: try again later"
            }
            Self::Full => "too many signed requests of this identity: try again later",
            Self::Late => "the request is too old by now: sign it anew, and send its body at once",
        })
    }
}

impl std::error::Error for Replay {}

impl Nonces {
    /// Remembers a nonce as long as a request with it is not too old. Others are forgotten when their time has
    /// come, and never before. `now` is by the same clock by which they are: a request may have waited for
    /// its body since it was judged.
    ///
    /// # Errors
    /// It is known or too old, or there is no room for it.
    pub fn remember(
        &mut self,
        identity: Identity,
        nonce: Nonce,
        lives: Lifetime,
        now: Time,
    ) -> Result<(), Replay> {
        let seen = self.seen.entry(identity).or_default();
        self.forgotten = self.forgotten.max(seen.forget(now));
        let (created, until) = (second(lives.created), second(lives.until));
        if until < second(now) || self.forgotten.is_some_and(|it| created <= it) {
            return Err(Replay::Late);
        }
        if seen.nonces.contains_key(&nonce) {
            return Err(Replay::Seen);
        }
        if seen.nonces.len() >= MOST {
            return Err(Replay::Full);
        }
        seen.nonces.insert(nonce, ());
        let group = seen.until.entry(until).or_default();
        group.nonces.push(nonce);
        group.created = group.created.max(created);
        Ok(())
    }

    /// Forgets what is too old, of identities too that come no more.
    pub fn tick(&mut self, now: Time) {
        self.seen.retain(|_, seen| {
            self.forgotten = self.forgotten.max(seen.forget(now));
            !seen.nonces.is_empty()
        });
    }
}

fn second(time: Time) -> u64 {
    Duration::from_nanos(time.as_nanos()).as_secs()
}

impl Seen {
    /// Forgets what is too old: when the youngest of that was made.
    fn forget(&mut self, now: Time) -> Option<u64> {
        let mut youngest = None;
        while let Some(oldest) = self.until.first_entry()
            && *oldest.key() < second(now)
        {
            let group = oldest.remove();
            youngest = youngest.max(Some(group.created));
            for nonce in group.nonces {
                self.nonces.remove(&nonce);
            }
        }
        if self.nonces.is_empty() {
            // A burst long ago should not hold its room for ever.
            self.nonces.shrink_to(64);
        }
        youngest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    fn who(byte: u8) -> Identity {
        Identity::from_bytes([byte; 32])
    }

    fn numbered(number: u64) -> Nonce {
        u128::from(number).to_le_bytes()
    }

    /// A request that is made at this second, within a window of 50 s.
    fn made(created: u64) -> Lifetime {
        within(50, created)
    }

    fn within(window: u64, created: u64) -> Lifetime {
        Lifetime {
            created: at(created),
            until: at(created + window),
        }
    }

    #[test]
    fn a_nonce_is_taken_once_until_its_time() {
        let mut nonces = Nonces::default();
        let mut remember = |byte, number, created, now| {
            nonces.remember(who(byte), numbered(number), made(created), at(now))
        };
        assert_eq!(remember(1, 7, 50, 0), Ok(()));
        assert_eq!(remember(1, 7, 50, 1), Err(Replay::Seen));
        assert_eq!(remember(1, 7, 150, 100), Err(Replay::Seen));
        assert_eq!(remember(2, 7, 50, 100), Ok(()), "another's");
        assert_eq!(remember(1, 8, 50, 100), Ok(()), "another");
        assert_eq!(remember(1, 7, 150, 101), Ok(()), "its time is over");
        assert_eq!(remember(1, 7, 200, 150), Err(Replay::Seen));
    }

    /// It was judged when it came, and then waited for its body.
    #[test]
    fn what_is_too_old_by_now_is_not_taken() {
        let mut nonces = Nonces::default();
        let mut remember = |lives, now| nonces.remember(who(1), numbered(7), lives, at(now));
        assert_eq!(remember(made(50), 60), Ok(()));
        assert_eq!(remember(made(50), 101), Err(Replay::Late));
        // The clock is set back, or the window made longer: it may be the one that is forgotten.
        assert_eq!(remember(made(50), 90), Err(Replay::Late));
        assert_eq!(remember(within(90, 50), 110), Err(Replay::Late));
        assert_eq!(remember(within(90, 51), 110), Ok(()));
    }

    #[test]
    fn a_full_table_takes_none_and_forgets_none() {
        let mut nonces = Nonces::default();
        for number in 0..MOST as u64 {
            let lives = made(number % 2);
            nonces
                .remember(who(1), numbered(number), lives, at(0))
                .unwrap();
        }
        let mut remember =
            |byte, number, now| nonces.remember(who(byte), numbered(number), made(50), at(now));
        assert_eq!(remember(1, MOST as u64, 50), Err(Replay::Full));
        assert_eq!(remember(1, 0, 50), Err(Replay::Seen));
        assert_eq!(
            remember(2, MOST as u64, 50),
            Ok(()),
            "others have room of their own"
        );
        assert_eq!(
            remember(1, MOST as u64, 51),
            Ok(()),
            "half of them is too old"
        );
        assert_eq!(
            remember(1, 1, 51),
            Err(Replay::Seen),
            "the other half is not"
        );
        nonces.tick(at(101));
        assert!(nonces.seen.is_empty());
    }

    proptest! {
        /// Beside a plain list of all that was ever taken: no request is answered twice, whatever becomes of
        /// clock and window, and while both are as they were none is refused that is new and young enough.
        #[test]
        fn no_request_is_answered_twice(
            steps in prop::collection::vec((0..3u8, 0..6u64, 0..9u64, 0..4i64), 0..200),
            jumps: bool,
        ) {
            let mut nonces = Nonces::default();
            let mut all: Vec<(u8, u64, u64)> = Vec::new();
            let mut now: u64 = 100;
            for (byte, number, age, pause) in steps {
                now = now.saturating_add_signed(if jumps { 2 * pause - 4 } else { pause });
                let window = if jumps { 4 + number } else { 4 };
                // A request has its nonce and its time, each time that it comes.
                let created = (now + 4).saturating_sub(age);
                let request = (byte, number, created);
                let is_old = created + window < now;
                let is_known = all.iter().any(|it| {
                    (it.0, it.1) == (byte, number) && it.2 + window >= now
                });
                let lives = within(window, created);
                let taken = nonces.remember(who(byte), numbered(number), lives, at(now));
                if taken.is_ok() {
                    prop_assert!(!all.contains(&request) && !is_old);
                    all.push(request);
                }
                if !jumps {
                    prop_assert_eq!(taken.is_ok(), !is_old && !is_known);
                }
            }
        }
    }
}
