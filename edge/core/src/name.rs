//! Names of keys and policies, and the patterns that list them.

use std::fmt;

use crate::conceal::begins_as_identity;

/// The longest name or pattern, in bytes.
pub const MAX_LENGTH: usize = 80;

/// The name of a key or of a policy: 1 to 80 of `[A-Za-z0-9_-]`, with `-` neither first nor last
/// and not `_` alone. It does not begin as a node's identity does, which is a secret in the wrong place: the
/// audit log would have it, and the key store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// The name, if the text is one.
    pub fn new(text: &str) -> Option<Self> {
        let is_name = !text.is_empty() && !text.ends_with('*') && is_pattern(text);
        (is_name && !begins_as_identity(text)).then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` may be asked for in a listing: empty, or a name that may end in one `*`
/// (before which `-` may stand).
pub fn is_pattern(text: &str) -> bool {
    let last = text.len().saturating_sub(1);
    text.len() <= MAX_LENGTH
        && text.bytes().enumerate().all(|(at, byte)| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => true,
            b'-' => at > 0 && at < last,
            b'_' => text.len() > 1,
            b'*' => at == last,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let longest = "a".repeat(80);
        for good in ["a", "A-b_9", "__", "a_", "_a", longest.as_str()] {
            assert!(Name::new(good).is_some(), "{good}");
        }
        let too_long = "a".repeat(81);
        for bad in [
            "",
            "_",
            "-a",
            "a-",
            "a.b",
            "a/b",
            "a*",
            "*",
            "ä",
            "a b",
            "a\0",
            "SEALEDGE-IDENTITY-1Q9UPPGGD",
            "sealedge-identity-1",
            too_long.as_str(),
        ] {
            assert!(Name::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        for good in ["", "*", "a*", "a-*", "my-app", "_*"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["a*b", "**", "-", "-*", "i-", "_", "a/*", "a~b"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_made_of_what_the_rule_says(text in "[A-Za-z0-9_-]{1,90}") {
            let expected = text.len() <= 80
                && !text.starts_with('-') && !text.ends_with('-') && text != "_";
            prop_assert_eq!(Name::new(&text).is_some(), expected);
        }

        #[test]
        fn every_name_is_a_pattern(text in ".{0,90}") {
            if Name::new(&text).is_some() {
                prop_assert!(is_pattern(&text));
            }
        }
    }
}
