//! Keys that everybody knows: with them a fresh clone answers without an edit (`.env` for Spin).
//!
//! The same file would be read on a server, where whoever knows the keys could do anything. So a service whose
//! configuration has one of them serves clients on its own machine alone. (A Worker's, `.dev.vars`, is never deployed.)

use crate::config::{Config, Unseal};

/// The identity of the API key `kes:v1:AADevelopmentKeyThatEverybodyKnowsNeverUseIt`.
const ADMIN: &str = "19b544abf4533170b05202d53eaa3fbc11270d699027ce0e6c07ee7e5d231605";

/// The identity of a node.
const NODE: &str = "SEALEDGE-IDENTITY-1QYR7QF7QG7SX0QY8VZN5P3EQUUQQ0CP8CPR6QEUQSAS2WSX8YRNSQV3RZZZ";

/// The fingerprint of the same node, by which others are told apart from it.
const FINGERPRINT: &str = "69e23c7ed758c3a33138a00c38ee3609";

/// What the operator should know of it.
pub const WARNING: &str = "it has a key for development that everybody knows, so clients on this machine alone are served";

/// Headers of proxies: who comes by one may be anywhere.
pub const PROXIED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Whether a configuration has one of these keys, wherever.
pub fn is_in(config: &Config) -> bool {
    let of_policies = config.policies.values().flat_map(|it| &it.identities);
    let of_proxies = &config.tls.proxies.identities;
    let mut clients = config.admin.iter().chain(of_policies).chain(of_proxies);
    let admin = ADMIN.parse().ok();
    let is_nodes = |unseal: &Unseal| match unseal {
        Unseal::Identity(identity) => identity.is_written(NODE),
        Unseal::File(_) | Unseal::Vault(_) => false,
    };
    let seal = config.seal.as_ref();
    clients.any(|it| Some(*it) == admin)
        || seal.is_some_and(|seal| {
            let mut nodes = seal.recipients.iter().chain(&seal.signers);
            is_nodes(&seal.unseal) || nodes.any(|it| it.fingerprint().to_string() == FINGERPRINT)
        })
}
