//! Keys that everybody knows: with them a fresh clone answers without an edit (`.dev.vars`, `.env`).
//!
//! The same files would be read on a server, where whoever knows the keys could do anything. So a service whose
//! configuration has one of them serves clients on its own machine alone.

use crate::config::{Config, Unseal};

/// The identity of the API key `kes:v1:AADevelopmentKeyThatEverybodyKnowsNeverUseIt`.
const ADMIN: &str = "19b544abf4533170b05202d53eaa3fbc11270d699027ce0e6c07ee7e5d231605";

/// The identity of a node.
const NODE: &str = "SEALEDGE-IDENTITY-1QYR7QF7QG7SX0QY8VZN5P3EQUUQQ0CP8CPR6QEUQSAS2WSX8YRNSQV3RZZZ";

/// Whether a configuration has one of these keys.
pub fn is_in(config: &Config) -> bool {
    let is_nodes = |unseal: &Unseal| match unseal {
        Unseal::Identity(identity) => identity.is_written(NODE),
        Unseal::File(_) | Unseal::Vault(_) => false,
    };
    let admin = config.admin.as_ref().map(ToString::to_string);
    let seal = config.seal.as_ref();
    admin.as_deref() == Some(ADMIN) || seal.is_some_and(|seal| is_nodes(&seal.unseal))
}
