//! A key-value store, as the service needs it and Spin has it.
//!
//! What Spin's stores promise together (SQLite, Redis): each of these is done at once or not at all, and all see it
//! from then on. There is neither a create that fails if something is there, nor a swap that can be relied on:
//! `increment` alone tells one of several from the others.

use std::fmt;

use sealedge_core::store::StoreError;

/// Where keys, copies and nonces are. Nothing here waits for a future: a component stands still meanwhile.
pub trait KeyValue {
    /// The value under a key.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Trouble>;

    /// Puts a value under a key, whatever is there.
    fn set(&self, key: &str, value: &[u8]) -> Result<(), Trouble>;

    /// Removes what is under a key, if there is something.
    fn delete(&self, key: &str) -> Result<(), Trouble>;

    /// Removes what is under each of these keys, one after the other or at once.
    fn delete_all(&self, keys: &[String]) -> Result<(), Trouble> {
        keys.iter().try_for_each(|key| self.delete(key))
    }

    /// Whether something is under a key.
    fn exists(&self, key: &str) -> Result<bool, Trouble>;

    /// All keys, in no order.
    fn keys(&self) -> Result<Vec<String>, Trouble>;

    /// Adds to a number, zero if there is none, and gives the sum. Each sum is given once. What is under the key must
    /// have come from here: on other bytes some stores fail for good.
    fn increment(&self, key: &str, by: i64) -> Result<i64, Trouble>;

    /// Lets others go on for a moment; false if that was done so many times that it helps no more.
    fn pause(&self, times: u32) -> bool;
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The store does not answer, or fails.
    Away(String),
    /// The component may not use it, or it can't do this.
    Refused(String),
    /// Others do the same at the same time, again and again.
    Busy,
    /// What is under this key is not of this service.
    Damaged(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => write!(f, "the key-value store fails: {why}"),
            Self::Refused(why) => f.write_str(why),
            Self::Damaged(key) => write!(
                f,
                "what is under {key} is damaged: somebody else has written to the key-value store"
            ),
            Self::Busy => f.write_str(
                "others create or delete a key of this name at the same time: try again later",
            ),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Away(why) => Self::Unreachable(format!("the key-value store fails: {why}")),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// [`KeyValue::increment`], if there is a number or nothing.
pub fn count(store: &impl KeyValue, key: &str, by: i64) -> Result<i64, Trouble> {
    read_number(store, key)?;
    store.increment(key, by)
}

/// The number under a key, if there is something.
pub fn read_number(store: &impl KeyValue, key: &str) -> Result<Option<i64>, Trouble> {
    let value = store.get(key)?;
    let damaged = || Trouble::Damaged(key.to_owned());
    value
        .map(|value| number(&value).ok_or_else(damaged))
        .transpose()
}

/// A number that [`KeyValue::increment`] has made, as [`KeyValue::get`] gives it: SQLite has eight bytes with the lowest
/// first, Redis decimal digits.
///
/// Eight digits are digits: as bytes they would be a number above 2^61, which nothing here ever counts to.
pub fn number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok();
    let decimal = text.and_then(|text| text.parse().ok());
    decimal.or_else(|| Some(i64::from_le_bytes(value.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_read_however_it_is_written(value in 0_i64..1 << 60) {
            prop_assert_eq!(number(&value.to_le_bytes()), Some(value));
            prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
        }

        #[test]
        fn any_bytes_are_a_number_or_none(value: Vec<u8>) {
            let _ = number(&value);
        }
    }
}
