//! Which signed requests were seen.

use std::time::Duration;

use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::identity::Identity;
use sealedge_core::time::Time;

use crate::keyvalue::{KeyValue, Trouble, read_number};
use crate::places;

#[cfg(test)]
mod tests;

/// How many are forgotten at most in one go.
const AT_ONCE: usize = if cfg!(test) { 1_000 } else { 10_000 };

/// Remembers a signed request.
///
/// # Errors
/// That is not to be found out.
pub fn remember(
    store: &impl KeyValue,
    identity: &Identity,
    nonce: Nonce,
    lives: Lifetime,
    now: Time,
) -> Result<Result<(), Replay>, Trouble> {
    let created = second(lives.created);
    if second(lives.until) < second(now) {
        return Ok(Err(Replay::Late));
    }
    let place = places::nonce(created, identity, u128::from_be_bytes(nonce));
    let is_first = match store.increment(&place, 1) {
        Ok(times) => times == 1,
        // The store has no numbers: two at the same moment are both the first, and no others.
        Err(Trouble::Refused(_)) => {
            let is_first = !store.exists(&place)?;
            store.set(&place, &1_i64.to_le_bytes())?;
            is_first
        }
        Err(trouble) => return Err(trouble),
    };
    // Asked for afterwards: what is forgotten is written there first.
    let forgotten = read_number(store, places::FORGOTTEN)?;
    let forgotten = forgotten.and_then(|it| it.try_into().ok());
    Ok(
        if forgotten.is_some_and(|youngest: u64| created <= youngest) {
            Err(Replay::Late)
        } else if is_first {
            Ok(())
        } else {
            Err(Replay::Seen)
        },
    )
}

/// Forgets, of these keys, the oldest that are of requests which are too old by now: whether there are no more.
///
/// # Errors
/// The store fails.
pub fn sweep(
    store: &impl KeyValue,
    keys: &[String],
    window: Duration,
    now: Time,
) -> Result<bool, Trouble> {
    let is_old = |created: &u64| created.saturating_add(window.as_secs()) < second(now);
    let mut old: Vec<(u64, &String)> = keys
        .iter()
        .filter_map(|key| Some((places::read_nonce(key).filter(is_old)?, key)))
        .collect();
    old.sort_unstable();
    let is_all = old.len() <= AT_ONCE;
    old.truncate(AT_ONCE);
    let Some((youngest, _)) = old.last() else {
        return Ok(true);
    };
    let before = read_number(store, places::FORGOTTEN)?;
    let before: Option<u64> = before.and_then(|it| it.try_into().ok());
    let youngest = before.unwrap_or_default().max(*youngest);
    store.set(places::FORGOTTEN, youngest.to_string().as_bytes())?;
    let old: Vec<String> = old.into_iter().map(|(_, key)| key.clone()).collect();
    store.delete_all(&old)?;
    Ok(is_all)
}

fn second(time: Time) -> u64 {
    Duration::from_nanos(time.as_nanos()).as_secs()
}
