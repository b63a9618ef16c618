//! Who may do what: policies and the identities that have one.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use rustc_hash::FxHashMap;

use crate::config::PolicySettings;
use crate::identity::Identity;
use crate::name::Name;

/// What one group of identities may do, by path.
pub struct Policy {
    /// The policy's name.
    pub name: Name,
    /// Patterns of what it allows, in the order of the configuration.
    pub allow: Vec<String>,
    /// Patterns of what it forbids, whatever it allows.
    pub deny: Vec<String>,
    allowed: Matcher,
    denied: Matcher,
}

impl Policy {
    fn new(name: Name, settings: PolicySettings) -> Self {
        Self {
            allowed: Matcher::new(&settings.allow),
            denied: Matcher::new(&settings.deny),
            name,
            allow: settings.allow,
            deny: settings.deny,
        }
    }

    /// Whether a request for `path` is allowed: no deny pattern and at least one allow pattern match it.
    pub fn allows(&self, path: &str) -> bool {
        !self.denied.matches(path) && self.allowed.matches(path)
    }
}

/// All policies, by name and by the identities that have them.
#[derive(Default)]
pub struct Policies {
    by_name: BTreeMap<Name, Rc<Policy>>,
    by_identity: FxHashMap<Identity, Rc<Policy>>,
    identities: Vec<Identity>,
}

impl Policies {
    /// The policies of a configuration, in which each identity has at most one.
    pub fn new(settings: BTreeMap<Name, PolicySettings>) -> Self {
        let mut policies = Self::default();
        for (name, mut settings) in settings {
            let identities = std::mem::take(&mut settings.identities);
            let policy = Rc::new(Policy::new(name.clone(), settings));
            for identity in identities {
                if policies
                    .by_identity
                    .insert(identity, policy.clone())
                    .is_none()
                {
                    policies.identities.push(identity);
                }
            }
            policies.by_name.insert(name, policy);
        }
        policies.identities.sort_unstable();
        policies
    }

    /// The policy with this name.
    pub fn get(&self, name: &Name) -> Option<&Rc<Policy>> {
        self.by_name.get(name)
    }

    /// The policy that the identity has.
    pub fn of(&self, identity: &Identity) -> Option<&Rc<Policy>> {
        self.by_identity.get(identity)
    }

    /// The names of all policies, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.by_name.keys()
    }

    /// All identities that have a policy, sorted.
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }
}

/// A set of patterns that answers in logarithmic time, however many there are.
///
/// A pattern that ends in `*` matches what starts with the rest of it; any other matches itself.
struct Matcher {
    exact: Vec<Box<str>>,
    /// Sorted, and none the beginning of another: so only the greatest one that is not
    /// greater than a path can be the beginning of that path.
    prefixes: Vec<Box<str>>,
}

impl Matcher {
    fn new(patterns: &[String]) -> Self {
        let mut exact = Vec::new();
        let mut prefixes: Vec<Box<str>> = Vec::new();
        for pattern in patterns {
            match pattern.strip_suffix('*') {
                Some(prefix) => prefixes.push(prefix.into()),
                None => exact.push(pattern.as_str().into()),
            }
        }
        exact.sort_unstable();
        prefixes.sort_unstable();
        prefixes.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        Self { exact, prefixes }
    }

    fn matches(&self, path: &str) -> bool {
        let candidate = self
            .prefixes
            .partition_point(|prefix| compare(prefix.as_bytes(), path.as_bytes()).is_le())
            .checked_sub(1);
        candidate
            .and_then(|at| self.prefixes.get(at))
            .is_some_and(|prefix| starts_with(path, prefix))
            || self
                .exact
                .binary_search_by(|pattern| compare(pattern.as_bytes(), path.as_bytes()))
                .is_ok()
    }
}

/// Whether a text begins with another, by [`compare`].
fn starts_with(text: &str, start: &str) -> bool {
    let beginning = text.as_bytes().get(..start.len());
    beginning.is_some_and(|beginning| compare(beginning, start.as_bytes()).is_eq())
}

/// How two texts are ordered: as `str` has it, but by eight bytes at a time. Patterns have long
/// beginnings in common, and WebAssembly's own comparison goes byte by byte.
fn compare(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while let (Some((l, lefts)), Some((r, rights))) =
        (left.split_first_chunk(), right.split_first_chunk())
    {
        if l != r {
            return u64::from_be_bytes(*l).cmp(&u64::from_be_bytes(*r));
        }
        (left, right) = (lefts, rights);
    }
    left.cmp(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(allow: &[&str], deny: &[&str]) -> Policy {
        let owned = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect();
        let settings = PolicySettings {
            allow: owned(allow),
            deny: owned(deny),
            identities: Vec::new(),
        };
        Policy::new(Name::new("p").unwrap(), settings)
    }

    #[test]
    fn deny_comes_before_allow() {
        let policy = policy(
            &["/v1/key/generate/app*"],
            &["/v1/key/generate/app-internal*"],
        );
        assert!(policy.allows("/v1/key/generate/app-1"));
        assert!(!policy.allows("/v1/key/generate/app-internal-1"));
        assert!(!policy.allows("/v1/key/decrypt/app-1"));
    }

    #[test]
    fn a_star_in_the_middle_is_a_star() {
        let policy = policy(&["/v1/*/create"], &[]);
        assert!(policy.allows("/v1/*/create"));
        assert!(!policy.allows("/v1/key/create"));
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(!policy(&[], &[]).allows("/v1/status"));
        assert!(policy(&["*"], &[]).allows("/v1/status"));
    }

    /// The rule as the protocol states it, one pattern after the other.
    fn plainly(patterns: &[String], path: &str) -> bool {
        patterns
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => pattern == path,
            })
    }

    proptest! {
        #[test]
        fn texts_are_ordered_as_they_are_everywhere(
            start in "[a-z/]{0,20}", left in "[a-c/ä]{0,10}", right in "[a-c/ä]{0,10}",
        ) {
            let (left, right) = (format!("{start}{left}"), format!("{start}{right}"));
            prop_assert_eq!(compare(left.as_bytes(), right.as_bytes()), left.cmp(&right));
            prop_assert_eq!(starts_with(&left, &right), left.starts_with(&right));
            prop_assert!(starts_with(&left, &start));
        }

        #[test]
        fn the_matcher_is_the_plain_rule(
            patterns in prop::collection::vec("[ab/]{0,5}[*]{0,2}", 0..12),
            path in "[ab/*]{0,7}",
        ) {
            prop_assert_eq!(Matcher::new(&patterns).matches(&path), plainly(&patterns, &path));
        }
    }
}
