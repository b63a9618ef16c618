//! The bodies of the KES protocol, as its section 3 has them.
//!
//! `--json` prints these as they are, so that field names are those of the protocol.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Any refusal.
#[derive(Deserialize)]
pub struct Failure {
    pub message: String,
}

/// GET `/version`.
#[derive(Deserialize)]
pub struct Version {
    #[serde(default)]
    pub commit: String,
}

/// GET `/v1/status`.
#[derive(Deserialize, Serialize)]
pub struct Status {
    pub version: String,
    pub os: String,
    pub arch: String,
    /// In seconds.
    pub uptime: u64,
    pub num_cpu: u32,
    pub num_cpu_used: u32,
    /// In bytes.
    pub mem_heap_used: u64,
    /// In bytes.
    pub mem_stack_used: u64,
    /// In nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystore_latency: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub keystore_unreachable: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub keystore_unavailable: bool,
}

/// One of GET `/v1/api`.
#[derive(Deserialize, Serialize)]
pub struct Route {
    pub method: String,
    pub path: String,
    /// In bytes.
    pub max_body: u64,
    /// In seconds; 0 is none.
    pub timeout: u64,
}

/// A page of a listing.
pub trait Page: serde::de::DeserializeOwned {
    /// The names, and where to go on: empty at the end.
    fn into_parts(self) -> (Vec<String>, String);
}

/// GET `/v1/key/list/…` and `/v1/policy/list/…`.
#[derive(Deserialize)]
pub struct Names {
    names: Option<Vec<String>>,
    continue_at: Option<String>,
}

impl Page for Names {
    fn into_parts(self) -> (Vec<String>, String) {
        (
            self.names.unwrap_or_default(),
            self.continue_at.unwrap_or_default(),
        )
    }
}

/// GET `/v1/identity/list/…`.
#[derive(Deserialize)]
pub struct Identities {
    identities: Option<Vec<String>>,
    continue_at: Option<String>,
}

impl Page for Identities {
    fn into_parts(self) -> (Vec<String>, String) {
        (
            self.identities.unwrap_or_default(),
            self.continue_at.unwrap_or_default(),
        )
    }
}

/// GET `/v1/key/describe/…`.
#[derive(Deserialize, Serialize)]
pub struct Key {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    #[serde(flatten)]
    pub created: Created,
}

/// When and by whom a key, policy or identity was made.
#[derive(Deserialize, Serialize)]
pub struct Created {
    /// As RFC 3339 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
}

/// PUT `/v1/key/import/…`.
#[derive(Serialize)]
pub struct Import<'a> {
    pub key: &'a str,
    pub cipher: &'a str,
}

/// PUT `/v1/key/generate/…`.
#[derive(Serialize)]
pub struct Generate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<&'a str>,
}

/// The answer to [`Generate`]: a new DEK.
#[derive(Deserialize, Serialize, Zeroize, ZeroizeOnDrop)]
pub struct Dek {
    pub plaintext: String,
    pub ciphertext: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// PUT `/v1/key/encrypt/…`.
#[derive(Serialize)]
pub struct Encrypt<'a> {
    pub plaintext: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<&'a str>,
}

/// The answer to [`Encrypt`].
#[derive(Deserialize, Serialize)]
pub struct Ciphertext {
    pub ciphertext: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// PUT `/v1/key/decrypt/…`.
#[derive(Serialize)]
pub struct Decrypt<'a> {
    pub ciphertext: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<&'a str>,
}

/// The answer to [`Decrypt`].
#[derive(Deserialize, Serialize, Zeroize, ZeroizeOnDrop)]
pub struct Plaintext {
    pub plaintext: String,
}

/// GET `/v1/policy/describe/…`.
#[derive(Deserialize, Serialize)]
pub struct PolicyInfo {
    pub name: String,
    #[serde(flatten)]
    pub created: Created,
}

/// GET `/v1/policy/read/…`: patterns, each with an empty object.
#[derive(Deserialize, Serialize)]
pub struct Policy {
    pub name: String,
    #[serde(default)]
    pub allow: BTreeMap<String, Value>,
    #[serde(default)]
    pub deny: BTreeMap<String, Value>,
    #[serde(flatten)]
    pub created: Created,
}

/// GET `/v1/identity/describe/…`, and with the identity itself GET `/v1/identity/self/describe`.
#[derive(Deserialize, Serialize)]
pub struct IdentityInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// How a client has proved that it is this; not in KES's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(flatten)]
    pub created: Created,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}
