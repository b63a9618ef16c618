//! Who a client is: the SHA-256 of its public key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::words::words;

/// The SHA-256 of a public key's DER SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
///
/// Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct Identity([u8; 32]);

impl Identity {
    /// The identity of a public key given as a DER SubjectPublicKeyInfo.
    pub fn of_public_key(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }

    /// The identity with these 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn words(&self) -> [u64; 4] {
        words(&self.0)
    }

    /// The 32 bytes of the hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// By words, and without a branch that a compiler makes a comparison of bytes of, for which WebAssembly
/// takes them one by one.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let words = self.words().into_iter().zip(other.words());
        words.fold(0, |differing, (mine, theirs)| differing | (mine ^ theirs)) == 0
    }
}

/// An identity is a hash already: its first bytes spread well enough for a table,
/// and only the configuration, never a client, decides which ones are in it.
impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [first, ..] = self.words();
        state.write_u64(first);
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            if let [high, low] = pair {
                *high = digit(DIGITS, byte >> 4);
                *low = digit(DIGITS, byte & 15);
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

fn digit(digits: &[u8; 16], nibble: u8) -> u8 {
    digits.get(usize::from(nibble)).copied().unwrap_or(b'0')
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnIdentity;

impl fmt::Display for NotAnIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identity is 64 hexadecimal digits in lower case")
    }
}

impl std::error::Error for NotAnIdentity {}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let mut bytes = [0u8; 32];
        if text.len() != 64 {
            return Err(NotAnIdentity);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else {
                return Err(NotAnIdentity);
            };
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Ok(Self(bytes))
    }
}

fn value(digit: u8) -> Result<u8, NotAnIdentity> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotAnIdentity),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 32]) {
            let identity = Identity::from_bytes(bytes);
            prop_assert_eq!(identity.to_string().parse(), Ok(identity));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,80}") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }
    }
}
