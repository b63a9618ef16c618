//! Listings in pages: patterns, and the token with which a listing goes on.

use crate::error::Error;
use crate::name::{Name, is_pattern};

/// The most names on a page.
pub const PAGE: usize = 1024;

/// Stands between a token's prefix and the rest. No name and no pattern has it, and a URL takes it
/// as it is (RFC 3986, 2.3).
const MARK: char = '~';

/// What a listing asks for: names with a prefix, from some point on.
///
/// It is written as a pattern, or as the token of a page before: the listing's prefix, `~`, and
/// the rest of the last name on that page. A client sends a token back where the pattern was, so
/// that it must begin like the pattern for the same policy to allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What all names begin with.
    pub prefix: String,
    /// The last name of the page before.
    pub after: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The names, sorted.
    pub names: Vec<String>,
    /// The token for the next page; empty if this was the last.
    pub continue_at: String,
}

impl Listing {
    /// Reads a pattern or a token.
    ///
    /// # Errors
    /// [`Error::InvalidPattern`] if the text is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidPattern(text.to_owned());
        if let Some((prefix, rest)) = text.split_once(MARK) {
            let after = [prefix, rest].concat();
            let prefix_is_valid =
                is_pattern(&[prefix, "*"].concat()) || prefix.len() == crate::name::MAX_LENGTH;
            if prefix_is_valid && Name::new(&after).is_some() {
                return Ok(Self {
                    prefix: prefix.to_owned(),
                    after: Some(after),
                });
            }
            return Err(invalid());
        }
        if !is_pattern(text) {
            return Err(invalid());
        }
        Ok(Self {
            prefix: text.strip_suffix('*').unwrap_or(text).to_owned(),
            after: None,
        })
    }

    /// The page that begins with `names`: sorted, and one more than [`PAGE`] if there is another page.
    pub fn page(&self, mut names: Vec<String>) -> Page {
        if names.len() <= PAGE {
            return Page {
                names,
                continue_at: String::new(),
            };
        }
        names.truncate(PAGE);
        let rest = names
            .last()
            .and_then(|last| last.strip_prefix(self.prefix.as_str()));
        let continue_at = rest
            .map(|rest| format!("{}{MARK}{rest}", self.prefix))
            .unwrap_or_default();
        Page { names, continue_at }
    }

    /// The page of sorted names that are all in memory.
    pub fn page_of<T: AsRef<str>>(&self, sorted: impl IntoIterator<Item = T>) -> Page {
        let names = sorted
            .into_iter()
            .filter(|name| {
                let name = name.as_ref();
                name.starts_with(&self.prefix)
                    && self.after.as_deref().is_none_or(|after| name > after)
            })
            .take(PAGE + 1)
            .map(|name| name.as_ref().to_owned())
            .collect();
        self.page(names)
    }
}

/// The path that a policy judges: a listing's later pages are asked for with the rights of its first.
pub fn path_for_policy(path: &str) -> &str {
    path.split_once(MARK).map_or(path, |(first, _)| first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_and_tokens() {
        let listing = |prefix: &str, after: Option<&str>| {
            Ok(Listing {
                prefix: prefix.into(),
                after: after.map(Into::into),
            })
        };
        assert_eq!(Listing::parse(""), listing("", None));
        assert_eq!(Listing::parse("*"), listing("", None));
        assert_eq!(Listing::parse("my-*"), listing("my-", None));
        assert_eq!(Listing::parse("my-app"), listing("my-app", None));
        assert_eq!(Listing::parse("my-~app"), listing("my-", Some("my-app")));
        assert_eq!(Listing::parse("my~"), listing("my", Some("my")));
        assert_eq!(Listing::parse("~a"), listing("", Some("a")));
        for bad in [
            "i-", "a*b", "~", "a~*", "a~~b", "a*~b", "-~a", "a~b/c", "a~-",
        ] {
            assert_eq!(
                Listing::parse(bad),
                Err(Error::InvalidPattern(bad.into())),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn walking_the_pages_meets_every_name_once(
            names in prop::collection::btree_set("[a-c]{1,3}-?[a-z0-9_]{1,4}", 0..3000),
            prefix in "[a-c]{0,2}",
        ) {
            let mut pattern = format!("{prefix}*");
            let mut met = Vec::new();
            loop {
                let page = Listing::parse(&pattern).unwrap().page_of(&names);
                prop_assert!(page.names.len() <= PAGE);
                met.extend(page.names);
                if page.continue_at.is_empty() {
                    break;
                }
                prop_assert!(page.continue_at.starts_with(&prefix));
                prop_assert!(Name::new(&page.continue_at).is_none());
                pattern = page.continue_at;
            }
            let expected: Vec<_> = names.iter().filter(|n| n.starts_with(&prefix)).cloned().collect();
            prop_assert_eq!(met, expected);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,100}|[a-z~*-]{0,20}") {
            if let Ok(Listing { prefix, after: Some(after) }) = Listing::parse(&text) {
                prop_assert!(after.starts_with(&prefix));
            }
        }
    }
}
