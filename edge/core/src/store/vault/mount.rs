//! Which secrets engine is at the configured path.
//!
//! A value for one version of KV, written to an engine of the other, may be stored all the same: under a
//! path and in a form in which nobody looks for it, and where another policy holds. So the server is asked
//! before anything else, as its own command line does. Whoever may do anything below the path may ask that.

use serde_json::Value;

use super::wire::{self, Json};
use super::{EngineVersion, Settings};
use crate::conceal::shown;
use crate::outgoing::{Request, Response};
use crate::store::StoreError;

/// Asks what is at the engine's path.
pub fn request(settings: &Settings, token: &str) -> Request {
    let path = format!("sys/internal/ui/mounts/{}", wire::encoded(&settings.engine));
    wire::request(&settings.access, "GET", &path, token)
}

/// Whether the engine is seen to be what the configuration says. It may not be shown: then the requests to
/// it have to tell what is the matter, if anything is.
///
/// # Errors
/// It is another one.
pub fn parse(settings: &Settings, response: &Response) -> Result<bool, StoreError> {
    if response.status != 200 {
        return Ok(false);
    }
    let Ok(json) = Json::of(response) else {
        return Ok(false);
    };
    let Some(Value::String(kind)) = json.get(&["data", "type"]) else {
        return Ok(false);
    };
    if !matches!(&**kind, "kv" | "generic") {
        let (engine, kind) = (&settings.engine, shown(kind));
        return Err(StoreError::Failed(format!(
            "`{engine}` is an engine of the type {kind} and none of keys and values: is \
             `keystore.vault.engine` right?"
        )));
    }
    // An engine without options is one of before there were versions.
    let found = match json.get(&["data", "options", "version"]) {
        Some(Value::String(version)) if version == "2" => EngineVersion::V2,
        _ => EngineVersion::V1,
    };
    if found == settings.version {
        return Ok(true);
    }
    let engine = &settings.engine;
    Err(StoreError::Failed(format!(
        "the secrets engine `{engine}` is KV {found}, and `keystore.vault.version` says {} (v1 if it is not \
         there): nothing is read or written",
        settings.version
    )))
}
