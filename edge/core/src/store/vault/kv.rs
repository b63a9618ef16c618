//! The secrets engine KV, in both of its versions.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::wire::{self, Json};
use super::{EngineVersion, Settings};
use crate::name::Name;
use crate::outgoing::{Request, Response};
use crate::store::{StoreError, Version};

/// The most bytes of a list, and how long it may take: a server that has many keys needs both.
const LIST_LIMIT: usize = 8 << 20;
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// The most versions that one request destroys: the latest ones. What is older was destroyed when
/// those replaced it.
const DESTROYED_AT_ONCE: u64 = 1_000;

/// What is under a name.
pub enum Slot {
    /// A text.
    Text(Stored),
    /// The latest version of something was deleted. The name is neither free nor has it a value.
    Deleted,
}

/// A text as it is stored.
pub struct Stored {
    /// The text.
    pub text: Zeroizing<String>,
    /// The engine's number and the time when the server wrote it, as after a delete the numbers begin
    /// with 1 again. Where the engine counts none, the text's SHA-256.
    pub version: Version,
}

/// The engine's number of a version; 0 if it counts none.
pub fn number(version: &Version) -> u64 {
    let number = version.0.split_once(' ').map(|(number, _)| number);
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The path of what is under a name, or of the folder of all names. `part` is the part of a v2 engine.
fn path(settings: &Settings, part: &str, name: Option<&Name>) -> String {
    let part = match settings.version {
        EngineVersion::V1 => "",
        EngineVersion::V2 => part,
    };
    let name = name.map_or("", Name::as_str);
    let parts = [&*settings.engine, part, &settings.prefix, name];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .map(wire::encoded)
        .collect();
    parts.join("/")
}

/// Reads the latest text under a name.
pub fn read(settings: &Settings, token: &str, name: &Name) -> Request {
    let path = path(settings, "data", Some(name));
    wire::request(&settings.access, "GET", &path, token)
}

/// What is under the name, else [`StoreError::NotFound`].
pub fn parse_read(
    settings: &Settings,
    name: &Name,
    response: &Response,
) -> Result<Slot, StoreError> {
    match response.status {
        200 => {}
        404 if wire::is_absent(response) => return Err(StoreError::NotFound),
        404 if wire::is_other_version(response) => return Err(wire::other_version(response)),
        404 if is_deleted(settings, response) => return Ok(Slot::Deleted),
        _ => return Err(wire::refusal(response)),
    }
    let json = Json::of(response)?;
    let name = name.as_str();
    let stored = match settings.version {
        EngineVersion::V1 => {
            let text = json.text(response, &["data", name])?;
            let hash = Sha256::digest(text);
            Stored {
                version: Version(hash.iter().map(|byte| format!("{byte:02x}")).collect()),
                text: Zeroizing::new(text.to_owned()),
            }
        }
        EngineVersion::V2 => {
            let Some(metadata @ Value::Object(_)) = json.get(&["data", "metadata"]) else {
                return Err(wire::other_version(response));
            };
            let created = json.text(response, &["data", "metadata", "created_time"])?;
            let number = metadata.get("version").and_then(Value::as_u64);
            let Some(number) = number.filter(|number| *number > 0) else {
                return Err(wire::odd(response, "`data.metadata.version` is no version"));
            };
            let text = json.text(response, &["data", "data", name])?;
            Stored {
                version: Version(format!("{number} {created}")),
                text: Zeroizing::new(text.to_owned()),
            }
        }
    };
    Ok(Slot::Text(stored))
}

fn is_deleted(settings: &Settings, response: &Response) -> bool {
    settings.version == EngineVersion::V2
        && Json::of(response).is_ok_and(|json| {
            matches!(json.get(&["data", "data"]), Some(Value::Null))
                && matches!(json.get(&["data", "metadata"]), Some(Value::Object(_)))
        })
}

/// Writes a text. A v2 engine does so only if the latest version has this number; 0 is none.
pub fn write(settings: &Settings, token: &str, name: &Name, text: &str, latest: u64) -> Request {
    let request = wire::request(
        &settings.access,
        "PUT",
        &path(settings, "data", Some(name)),
        token,
    );
    let data = wire::object(&[(name.as_str(), text)]);
    let body = match settings.version {
        EngineVersion::V1 => data,
        EngineVersion::V2 => {
            let options = format!(r#"{{"options":{{"cas":{latest}}},"data":"#);
            let mut body = Zeroizing::new(Vec::with_capacity(options.len() + data.len() + 1));
            body.extend_from_slice(options.as_bytes());
            body.extend_from_slice(&data);
            body.push(b'}');
            body
        }
    };
    wire::with_body(request, body)
}

/// Whether the text is written; [`StoreError::Changed`] if the latest version has another number.
pub fn parse_write(settings: &Settings, response: &Response) -> Result<(), StoreError> {
    match (settings.version, response.status) {
        (EngineVersion::V1, _) => wire::done(response),
        (EngineVersion::V2, 200) => match Json::of(response)?.get(&["data", "version"]) {
            Some(Value::Number(_)) => Ok(()),
            _ => Err(wire::odd(response, "`data.version` is no version")),
        },
        (EngineVersion::V2, 204) => Err(wire::other_version(response)),
        (EngineVersion::V2, 400) if wire::explain(response).contains("check-and-set") => {
            Err(StoreError::Changed)
        }
        (EngineVersion::V2, 404) if wire::is_other_version(response) => {
            Err(wire::other_version(response))
        }
        (EngineVersion::V2, _) => Err(wire::refusal(response)),
    }
}

/// Removes all that is under a name, with all its versions. [`wire::done`] reads the answer, which is
/// the same if nothing was there.
pub fn delete(settings: &Settings, token: &str, name: &Name) -> Request {
    let path = path(settings, "metadata", Some(name));
    wire::request(&settings.access, "DELETE", &path, token)
}

/// Destroys the versions up to this number, for good. [`wire::done`] reads the answer.
pub fn destroy(settings: &Settings, token: &str, name: &Name, last: u64) -> Request {
    let path = path(settings, "destroy", Some(name));
    let first = last.saturating_sub(DESTROYED_AT_ONCE - 1).max(1);
    let numbers: Vec<String> = (first..=last).map(|number| number.to_string()).collect();
    let body = format!(r#"{{"versions":[{}]}}"#, numbers.join(","));
    wire::with_body(
        wire::request(&settings.access, "PUT", &path, token),
        Zeroizing::new(body.into_bytes()),
    )
}

/// Asks for all names.
pub fn list(settings: &Settings, token: &str) -> Request {
    let path = path(settings, "metadata", None) + "?list=true";
    Request {
        limit: LIST_LIMIT,
        timeout: LIST_TIMEOUT,
        ..wire::request(&settings.access, "GET", &path, token)
    }
}

/// The names in the folder, without folders and other people's secrets whose names are none here.
pub fn parse_list(response: &Response) -> Result<Vec<Name>, StoreError> {
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }

    #[derive(Deserialize)]
    struct Data {
        keys: Names,
    }

    match response.status {
        200 => match serde_json::from_slice(&response.body) {
            Ok(Answer { data }) => Ok(data.keys.0),
            Err(_) => {
                Json::of(response)?;
                Err(wire::odd(response, "`data.keys` is no list of texts"))
            }
        },
        404 if wire::is_absent(response) => Ok(Vec::new()),
        404 if wire::is_other_version(response) => Err(wire::other_version(response)),
        _ => Err(wire::refusal(response)),
    }
}

/// The names in a list of texts, read one by one: a folder may have many more than are kept.
struct Names(Vec<Name>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(text) = entries.next_element::<Cow<'_, str>>()? {
                    names.extend(Name::new(&text));
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_seq(Entries)
    }
}
