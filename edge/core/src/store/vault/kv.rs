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

/// The field beside a text that took another one's place: when the key was created whose it is. No key's
/// name has a colon.
const KEY_CREATED: &str = "sealedge:key-created";

/// What is under a name.
pub enum Slot {
    /// A text.
    Text(Stored),
    /// This version was deleted. If it is the latest the name is neither free nor has it a value.
    Deleted(Version),
}

impl Slot {
    /// Which of the values under the name it is, or was.
    pub const fn version(&self) -> &Version {
        match self {
            Self::Text(stored) => &stored.version,
            Self::Deleted(version) => version,
        }
    }
}

/// A text as it is stored.
pub struct Stored {
    /// The text.
    pub text: Zeroizing<String>,
    /// The engine's number and the time when the server wrote it, as after a delete the numbers begin
    /// with 1 again. Where the engine counts none, the text's SHA-256.
    pub version: Version,
    /// When the key was created whose value this is; `None` if it took no other one's place.
    pub of: Option<String>,
}

/// The engine's number of a version; 0 if it counts none.
pub fn number(version: &Version) -> u64 {
    let number = version.0.split_once(' ').map(|(number, _)| number);
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The version that the engine gave this number at this time.
pub fn versioned(number: u64, created: &str) -> Version {
    Version(format!("{number} {created}"))
}

/// The path of what is under a name, or of the folder of all names. `part` is the part of a v2 engine.
pub fn path(settings: &Settings, part: &str, name: Option<&Name>) -> String {
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

/// Reads a certain version of the text.
pub fn read_version(settings: &Settings, token: &str, name: &Name, number: u64) -> Request {
    let mut request = read(settings, token, name);
    request.path += &format!("?version={number}");
    request
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
        404 if is_deleted(settings, response) => {
            let json = Json::of(response)?;
            return version_of(&json, response).map(Slot::Deleted);
        }
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
                of: None,
            }
        }
        EngineVersion::V2 => {
            if !matches!(json.get(&["data", "metadata"]), Some(Value::Object(_))) {
                return Err(wire::other_version(response));
            }
            let version = version_of(&json, response)?;
            let text = json.text(response, &["data", "data", name])?;
            let of = json.get(&["data", "data", KEY_CREATED]);
            Stored {
                version,
                text: Zeroizing::new(text.to_owned()),
                of: of.and_then(Value::as_str).map(ToOwned::to_owned),
            }
        }
    };
    Ok(Slot::Text(stored))
}

/// The version that an answer of a v2 engine has.
fn version_of(json: &Json, response: &Response) -> Result<Version, StoreError> {
    let created = json.text(response, &["data", "metadata", "created_time"])?;
    let number = json
        .get(&["data", "metadata", "version"])
        .and_then(Value::as_u64);
    match number {
        Some(number @ 1..) => Ok(versioned(number, created)),
        _ => Err(wire::odd(response, "`data.metadata.version` is no version")),
    }
}

fn is_deleted(settings: &Settings, response: &Response) -> bool {
    settings.version == EngineVersion::V2
        && Json::of(response).is_ok_and(|json| {
            matches!(json.get(&["data", "data"]), Some(Value::Null))
                && matches!(json.get(&["data", "metadata"]), Some(Value::Object(_)))
        })
}

/// What a write puts where.
pub struct Write<'a> {
    /// The text.
    pub text: &'a str,
    /// Of a v2 engine: the number that the latest version must have; 0 is none.
    pub latest: u64,
    /// Of a v2 engine: when the key was created whose value takes another one's place.
    pub of: Option<&'a str>,
}

/// Writes a text.
pub fn write(settings: &Settings, token: &str, name: &Name, write: &Write<'_>) -> Request {
    let request = wire::request(
        &settings.access,
        "PUT",
        &path(settings, "data", Some(name)),
        token,
    );
    let mut fields = vec![(name.as_str(), write.text)];
    fields.extend(write.of.map(|of| (KEY_CREATED, of)));
    let data = wire::object(&fields);
    let body = match settings.version {
        EngineVersion::V1 => data,
        EngineVersion::V2 => {
            let options = format!(r#"{{"options":{{"cas":{}}},"data":"#, write.latest);
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
