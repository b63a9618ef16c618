//! What a KV engine of version 2 keeps of a key beside its values: the metadata.

use serde_json::Value;
use zeroize::Zeroizing;

use super::Settings;
use super::kv::{path, versioned};
use super::wire::{self, Json};
use crate::name::Name;
use crate::outgoing::{Request, Response};
use crate::store::{StoreError, Version};

/// How many versions of a key are kept that is replaced: the fewest with which a write leaves what it
/// overwrites.
const KEPT: u32 = 2;

/// The versions that there are of a key.
#[derive(Debug, PartialEq, Eq)]
pub struct History {
    /// When the key was created: one that takes a deleted key's name has another time.
    pub created: String,
    /// The version that was written last.
    pub latest: Version,
    /// The numbers of those that are not destroyed, the greatest first.
    pub kept: Vec<u64>,
}

impl History {
    /// Whether nothing is left of the version with this number, and of those before it.
    pub fn has_lost(&self, number: u64) -> bool {
        self.kept.iter().all(|kept| *kept > number)
    }
}

/// Asks for the history of what is under a name.
pub fn read(settings: &Settings, token: &str, name: &Name) -> Request {
    let path = path(settings, "metadata", Some(name));
    wire::request(&settings.access, "GET", &path, token)
}

/// The history, else [`StoreError::NotFound`].
pub fn parse(response: &Response) -> Result<History, StoreError> {
    match response.status {
        200 => {}
        404 if wire::is_absent(response) => return Err(StoreError::NotFound),
        _ => return Err(refusal(response)),
    }
    let json = Json::of(response)?;
    let created = json.text(response, &["data", "created_time"])?.to_owned();
    let current = json
        .get(&["data", "current_version"])
        .and_then(Value::as_u64);
    let (Some(current), Some(Value::Object(versions))) = (current, json.get(&["data", "versions"]))
    else {
        return Err(wire::odd(response, "it has no versions"));
    };
    if current == 0 {
        return Err(StoreError::NotFound);
    }
    let written = json.text(
        response,
        &["data", "versions", &current.to_string(), "created_time"],
    )?;
    let is_kept = |version: &Value| version.get("destroyed") != Some(&Value::Bool(true));
    let kept = versions.iter().filter(|(_, version)| is_kept(version));
    let mut kept: Vec<u64> = kept.filter_map(|(number, _)| number.parse().ok()).collect();
    kept.sort_unstable_by(|one, other| other.cmp(one));
    let latest = versioned(current, written);
    Ok(History {
        created,
        latest,
        kept,
    })
}

/// Has the engine keep few versions of a key from its next write on.
pub fn shorten(settings: &Settings, token: &str, name: &Name) -> Request {
    let path = path(settings, "metadata", Some(name));
    let body = format!(r#"{{"max_versions":{KEPT}}}"#);
    wire::with_body_of(
        wire::request(&settings.access, "PATCH", &path, token),
        "application/merge-patch+json",
        Zeroizing::new(body.into_bytes()),
    )
}

/// Whether it is done. That nothing is under the name is no error: whoever looks finds that.
pub fn parse_shorten(response: &Response) -> Result<(), StoreError> {
    match response.status {
        404 => Ok(()),
        403 => Err(refusal(response)),
        _ => wire::done(response),
    }
}

fn refusal(response: &Response) -> StoreError {
    match response.status {
        403 => StoreError::Failed(format!(
            "{}; to replace values, the policy has to allow `read` and `patch` on the metadata",
            wire::explain(response)
        )),
        _ => wire::refusal(response),
    }
}
