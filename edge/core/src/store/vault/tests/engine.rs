//! A fake of a secrets engine KV: version 2 as OpenBao 2.7.2 has it, and the little that version 1 is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::server::answer;
use crate::store::remote::fake::Reply;

/// The engine.
#[derive(Clone, Default, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Engine {
    secrets: BTreeMap<String, Secret>,
    /// Counts what is created and written, as other engines have a time.
    clock: u64,
    /// How many versions the engine itself keeps of each key; 0 is its default.
    pub max_versions: usize,
}

/// What is under a name.
#[derive(Clone, Default, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Secret {
    created: u64,
    max_versions: usize,
    current: u64,
    versions: BTreeMap<u64, Written>,
}

/// A version: its texts as JSON, `None` if it is deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    created: u64,
    data: Option<String>,
}

impl Written {
    fn time(&self) -> String {
        format!("t{}", self.created)
    }

    fn text(&self, name: &str) -> Option<String> {
        let data: Value = serde_json::from_str(self.data.as_ref()?).unwrap();
        Some(data[name].as_str().unwrap().to_owned())
    }
}

impl Engine {
    fn now(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The texts of all versions from the first on, `None` for those that are gone; none if nothing is there.
    pub fn texts(&self, name: &str) -> Vec<Option<String>> {
        let Some(secret) = self.secrets.get(name) else {
            return Vec::new();
        };
        let text = |number| secret.versions.get(&number)?.text(name);
        (1..=secret.current).map(text).collect()
    }

    /// Creates a key that has these versions.
    pub fn put(&mut self, name: &str, texts: &[Option<&str>]) {
        self.secrets.remove(name);
        for text in texts {
            let data = text.map(|text| json!({ name: text }));
            self.add(name, data.as_ref());
        }
    }

    /// Has the latest version of a key be the first one of another key.
    pub fn bring(&mut self, from: &str, to: &str) {
        let (_, written) = self
            .secrets
            .remove(from)
            .unwrap()
            .versions
            .pop_last()
            .unwrap();
        let data = serde_json::from_str(written.data.as_ref().unwrap()).unwrap();
        self.add(to, Some(&data));
    }

    fn add(&mut self, name: &str, data: Option<&Value>) -> u64 {
        let (created, own) = (self.now(), self.max_versions);
        let secret = self.secrets.entry(name.into()).or_default();
        if secret.current == 0 {
            secret.created = created;
        }
        secret.current += 1;
        let data = data.map(Value::to_string);
        secret
            .versions
            .insert(secret.current, Written { created, data });
        let kept = match secret.max_versions.max(own) {
            0 => 10,
            kept => kept,
        };
        while secret.versions.len() > kept {
            secret.versions.pop_first();
        }
        secret.current
    }

    /// The answer to a request for this engine, whose path has these parts.
    pub fn answer(&mut self, method: &str, parts: &[&str], query: &str, body: &Value) -> Reply {
        let is_there = |name: &str| self.secrets.contains_key(name);
        match (method, parts) {
            ("GET", ["data", name]) => self.read(name, query),
            ("PUT", ["data", name]) => self.write(name, body),
            ("GET", ["metadata", name]) => self.history(name),
            ("PATCH", ["metadata", name]) if !is_there(name) => Reply::json(404, ""),
            ("PATCH", ["metadata", name]) => {
                let max_versions = body["max_versions"].as_u64().unwrap();
                let secret = self.secrets.get_mut(*name).unwrap();
                secret.max_versions = usize::try_from(max_versions).unwrap();
                Reply::json(204, "")
            }
            ("DELETE", ["metadata", name] | [name]) => {
                self.secrets.remove(*name);
                Reply::json(204, "")
            }
            ("GET", ["metadata"]) if self.secrets.is_empty() => absent(),
            ("GET", ["metadata"]) => {
                let names: Vec<&String> = self.secrets.keys().rev().collect();
                answer(200, &json!({"data": {"keys": names}}))
            }
            ("GET", [name]) => match self.texts(name).pop() {
                Some(text) => answer(200, &json!({"data": {*name: text}})),
                None => absent(),
            },
            ("PUT", [name]) => {
                self.put(name, &[body[*name].as_str()]);
                Reply::json(204, "")
            }
            _ => panic!("{method} {parts:?}"),
        }
    }

    fn read(&self, name: &str, query: &str) -> Reply {
        let Some(secret) = self.secrets.get(name) else {
            return absent();
        };
        let number = match query.strip_prefix("version=") {
            Some(number) => number.parse().unwrap(),
            None => secret.current,
        };
        let Some(version) = secret.versions.get(&number) else {
            return absent();
        };
        let data = version.data.as_deref().map(serde_json::from_str::<Value>);
        let status = if data.is_some() { 200 } else { 404 };
        let data = data.transpose().unwrap();
        let metadata = json!({"created_time": version.time(), "version": number});
        answer(
            status,
            &json!({"data": {"data": data, "metadata": metadata}}),
        )
    }

    fn write(&mut self, name: &str, body: &Value) -> Reply {
        let current = self.secrets.get(name).map_or(0, |secret| secret.current);
        if body["options"]["cas"].as_u64() != Some(current) {
            let why = "check-and-set parameter did not match the current version";
            return answer(400, &json!({"errors": [why]}));
        }
        let version = self.add(name, Some(&body["data"]));
        answer(200, &json!({"data": {"version": version}}))
    }

    fn history(&self, name: &str) -> Reply {
        let Some(secret) = self.secrets.get(name) else {
            return absent();
        };
        let mut versions = Map::new();
        for (number, version) in &secret.versions {
            let version = json!({"created_time": version.time(), "destroyed": false});
            versions.insert(number.to_string(), version);
        }
        let created = format!("c{}", secret.created);
        answer(
            200,
            &json!({"data": {
                "created_time": created, "current_version": secret.current, "versions": versions,
            }}),
        )
    }
}

fn absent() -> Reply {
    answer(404, &json!({"errors": []}))
}
