//! Which signed requests were seen: none is answered twice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use crate::identity::Identity;
use crate::time::Time;

/// A request's nonce: the first bytes of its SHA-256, so that each takes the same room.
pub type Nonce = [u8; 16];

/// How many nonces of one identity are remembered at a time: at the default window, of two minutes, some
/// 8,000 requests a second.
pub const MOST: usize = 1 << 20;

/// What was seen of every identity. Only those that have rights get entries, so their number is bounded by
/// the configuration.
#[derive(Default)]
pub struct Nonces(HashMap<Identity, Seen, FxBuildHasher>);

#[derive(Default)]
struct Seen {
    nonces: HashMap<Nonce, (), FxBuildHasher>,
    /// The same by the second after which they may be forgotten.
    until: BTreeMap<u64, Vec<Nonce>>,
}

/// Why a request must not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It was seen before.
    Seen,
    /// There is no room to remember it.
    Full,
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seen => {
                "the request was received before: sign each request anew, with a nonce of its own"
            }
            Self::Full => "too many signed requests of this identity: try again later",
        })
    }
}

impl std::error::Error for Replay {}

impl Nonces {
    /// Remembers a nonce until a time, after which a request with it is too old. Others are forgotten when
    /// their time has come, and never before.
    ///
    /// # Errors
    /// It is known, or there is no room for it.
    pub fn remember(
        &mut self,
        identity: Identity,
        nonce: Nonce,
        until: Time,
        now: Time,
    ) -> Result<(), Replay> {
        let seen = self.0.entry(identity).or_default();
        seen.forget(now);
        if seen.nonces.contains_key(&nonce) {
            return Err(Replay::Seen);
        }
        if seen.nonces.len() >= MOST {
            return Err(Replay::Full);
        }
        seen.nonces.insert(nonce, ());
        let last = Duration::from_nanos(until.as_nanos()).as_secs();
        seen.until.entry(last).or_default().push(nonce);
        Ok(())
    }

    /// Forgets what is too old, of identities too that come no more.
    pub fn tick(&mut self, now: Time) {
        self.0.retain(|_, seen| {
            seen.forget(now);
            !seen.nonces.is_empty()
        });
    }
}

impl Seen {
    fn forget(&mut self, now: Time) {
        let second = Duration::from_nanos(now.as_nanos()).as_secs();
        while let Some(oldest) = self.until.first_entry()
            && *oldest.key() < second
        {
            for nonce in oldest.remove() {
                self.nonces.remove(&nonce);
            }
        }
        if self.nonces.is_empty() {
            // A burst long ago should not hold its room for ever.
            self.nonces.shrink_to(64);
        }
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

    fn nonce(number: u64) -> Nonce {
        u128::from(number).to_le_bytes()
    }

    #[test]
    fn a_nonce_is_taken_once_until_its_time() {
        let mut nonces = Nonces::default();
        let mut remember = |byte, number, until, now| {
            nonces.remember(who(byte), nonce(number), at(until), at(now))
        };
        assert_eq!(remember(1, 7, 100, 0), Ok(()));
        assert_eq!(remember(1, 7, 100, 1), Err(Replay::Seen));
        assert_eq!(remember(1, 7, 200, 100), Err(Replay::Seen));
        assert_eq!(remember(2, 7, 100, 100), Ok(()), "another's");
        assert_eq!(remember(1, 8, 100, 100), Ok(()), "another");
        assert_eq!(remember(1, 7, 200, 101), Ok(()), "its time is over");
        assert_eq!(remember(1, 7, 300, 150), Err(Replay::Seen));
    }

    #[test]
    fn a_full_table_takes_none_and_forgets_none() {
        let mut nonces = Nonces::default();
        for number in 0..MOST as u64 {
            let until = at(50 + number % 2);
            nonces
                .remember(who(1), nonce(number), until, at(0))
                .unwrap();
        }
        let mut remember =
            |byte, number, now| nonces.remember(who(byte), nonce(number), at(100), at(now));
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
        assert!(nonces.0.is_empty());
    }

    proptest! {
        /// Beside a plain list of all that was ever taken.
        #[test]
        fn it_knows_what_a_list_of_all_knows(
            steps in prop::collection::vec((0..3u8, 0..6u64, 1..9u64, 0..3u64), 0..200),
        ) {
            let mut nonces = Nonces::default();
            let mut all: Vec<(u8, u64, u64)> = Vec::new();
            let mut now = 0;
            for (byte, number, lives, pause) in steps {
                now += pause;
                let is_known = all.contains(&(byte, number, 0))
                    || all.iter().any(|it| (it.0, it.1) == (byte, number) && it.2 >= now);
                let taken = nonces.remember(who(byte), nonce(number), at(now + lives), at(now));
                prop_assert_eq!(taken.is_err(), is_known);
                if taken.is_ok() {
                    all.push((byte, number, now + lives));
                }
            }
        }
    }
}
