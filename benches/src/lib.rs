//! What the benchmarks have in common.

use std::fmt::Write;

/// What a service has to find its way in: keys `bench-0`, `bench-1` and so on, and policies.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// What tables call it.
    pub name: &'static str,
    /// How many keys clients ask for.
    pub keys: usize,
    /// How many policies there are, of which one is the client's.
    pub policies: usize,
    /// How many rules each has, at least four.
    pub rules: usize,
}

impl Scene {
    /// Next to nothing.
    pub const SMALL: Self = Self {
        name: "1 key, 1 policy of 4 rules",
        keys: 1,
        policies: 1,
        rules: 4,
    };

    /// All scenes, the small one first.
    pub const ALL: [Self; 3] = [
        Self::SMALL,
        Self {
            name: "100,000 cached keys",
            keys: 100_000,
            ..Self::SMALL
        },
        Self {
            name: "10,000 policies of 100 rules",
            policies: 10_000,
            rules: 100,
            ..Self::SMALL
        },
    ];

    /// The section `policy` of the configuration. The client's identity is in the policy in the middle.
    pub fn policy_section(&self, client: &str) -> String {
        let mut text = "policy:\n".to_owned();
        for policy in 0..self.policies {
            let identity = if policy == self.policies / 2 {
                client.to_owned()
            } else {
                format!("{policy:064x}")
            };
            let more: String = (4..self.rules)
                .map(|rule| format!("    - /v1/key/encrypt/{policy}-{rule}*\n"))
                .collect();
            // A `String` takes whatever is written.
            let _ = write!(
                text,
                "  policy-{policy}:
    identities: [{identity}]
    deny: [/v1/key/generate/bench-internal*]
    allow:
    - /v1/key/generate/bench*
    - /v1/key/encrypt/bench*
    - /v1/key/decrypt/bench*
{more}"
            );
        }
        text
    }
}
