//! What every request to Vault has, and how its answers are read.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use super::Access;
use crate::conceal::{Secrets, shown};
use crate::outgoing::{Request, Response};
use crate::store::StoreError;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of an answer with one value.
const VALUE_LIMIT: usize = 1 << 20;

/// What a path has as it is (RFC 3986, 2.3), and the slashes between its parts.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Text that is part of a path, percent-encoded.
pub fn encoded(path: &str) -> String {
    utf8_percent_encode(path, IN_PATH).to_string()
}

/// A request without a token, in the root namespace. `path` is what follows `/v1/`, percent-encoded.
pub fn plain(access: &Access, method: &'static str, path: &str) -> Request {
    Request {
        destination: access.destination,
        method: method.into(),
        path: format!("{}/v1/{path}", access.base),
        headers: vec![("x-vault-request".into(), Zeroizing::new("true".into()))],
        body: Zeroizing::default(),
        limit: VALUE_LIMIT,
        timeout: TIMEOUT,
    }
}

/// A request to an engine.
pub fn request(access: &Access, method: &'static str, path: &str, token: &str) -> Request {
    let request = plain(access, method, path);
    with_token(within(request, access.namespace.as_deref()), token)
}

/// The request, in a namespace.
pub fn within(mut request: Request, namespace: Option<&str>) -> Request {
    if let Some(namespace) = namespace {
        let namespace = Zeroizing::new(namespace.to_owned());
        request
            .headers
            .push(("x-vault-namespace".into(), namespace));
    }
    request
}

/// The request, with a token.
pub fn with_token(mut request: Request, token: &str) -> Request {
    let token = Zeroizing::new(token.to_owned());
    request.headers.push(("x-vault-token".into(), token));
    request
}

/// The request, with a body of JSON.
pub fn with_body(request: Request, json: Zeroizing<Vec<u8>>) -> Request {
    with_body_of(request, "application/json", json)
}

/// The request, with a body of this type.
pub fn with_body_of(mut request: Request, kind: &str, json: Zeroizing<Vec<u8>>) -> Request {
    let kind = Zeroizing::new(kind.to_owned());
    request.headers.push(("content-type".into(), kind));
    request.body = json;
    request
}

/// What is secret in a request: its token, and the texts in its body. Those of the fields that say who
/// logs in as what are none.
pub fn secrets(request: &Request) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in &request.headers {
        if name == "x-vault-token" {
            secrets.add(value);
        }
    }
    if let Ok(Value::Object(fields)) = serde_json::from_slice(&request.body) {
        let body = Json(fields);
        let is_login = body.get(&["jwt"]).is_some();
        for (name, value) in &body.0 {
            if !(is_login && name == "role") {
                add_texts(&mut secrets, value);
            }
        }
    }
    secrets
}

fn add_texts(secrets: &mut Secrets, value: &Value) {
    match value {
        Value::String(text) => secrets.add(text),
        Value::Array(values) => values.iter().for_each(|value| add_texts(secrets, value)),
        Value::Object(fields) => fields.values().for_each(|value| add_texts(secrets, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An object of texts as JSON.
pub fn object(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let length = |(name, text): &(&str, &str)| name.len() + text.len() + 6;
    let mut json = Zeroizing::new(Vec::with_capacity(
        2 + fields.iter().map(length).sum::<usize>(),
    ));
    json.push(b'{');
    for (at, (name, text)) in fields.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        write(&mut json, name);
        json.push(b':');
        write(&mut json, text);
    }
    json.push(b'}');
    json
}

fn write(json: &mut Vec<u8>, text: &str) {
    // Neither a vector nor a text can fail.
    let _ = serde_json::to_writer(json, text);
}

/// An answer's object, which wipes its texts.
pub struct Json(Map<String, Value>);

impl Json {
    /// The object in an answer, whatever its status.
    pub fn of(response: &Response) -> Result<Self, StoreError> {
        match serde_json::from_slice(&response.body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(mut other) => {
                wipe(&mut other);
                Err(odd(response, "the answer is no JSON object"))
            }
            // The error would quote what may be secret.
            Err(_) => Err(odd(response, &not_json(response))),
        }
    }

    /// What is at the end of these fields, each inside of the one before.
    pub fn get(&self, way: &[&str]) -> Option<&Value> {
        let (first, rest) = way.split_first()?;
        rest.iter()
            .try_fold(self.0.get(*first)?, |value, name| value.get(name))
    }

    /// The text at the end of these fields; an error says what is there instead.
    pub fn text(&self, response: &Response, way: &[&str]) -> Result<&str, StoreError> {
        let found = match self.get(way) {
            Some(Value::String(text)) => return Ok(text),
            None => "missing",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::Number(_)) => "a number",
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "an object",
        };
        let name = way.join(".");
        Err(odd(
            response,
            &format!("`{name}` should be a text and is {found}"),
        ))
    }

    /// What Vault says of an error, or warns of; `None` if it says nothing.
    fn says(&self, field: &str) -> Option<String> {
        let Some(Value::Array(texts)) = self.0.get(field) else {
            return None;
        };
        let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
        let text = shown(&texts.join("; "));
        // How Vault writes a list of one error.
        let text = text.strip_prefix("1 error occurred: * ").unwrap_or(&text);
        (!text.is_empty()).then(|| text.to_owned())
    }
}

impl Drop for Json {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

/// Wipes the texts in a value. The parser bounds how deep it goes.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The error for an answer that is not what it should be.
pub fn odd(response: &Response, what: &str) -> StoreError {
    StoreError::Failed(format!("status {}: {what}", response.status))
}

fn not_json(response: &Response) -> String {
    match response.header("content-type") {
        Some(kind) if !kind.starts_with("application/json") => {
            format!(
                "the answer is not from Vault, for its type is {}",
                shown(kind)
            )
        }
        _ if response.body.is_empty() => "the answer is empty".into(),
        _ => "the answer is no valid JSON; was it cut off?".into(),
    }
}

/// What an answer says that brings nothing but its status and, if it is from Vault, errors.
pub fn explain(response: &Response) -> String {
    let why = match Json::of(response) {
        Ok(json) => json
            .says("errors")
            .or_else(|| json.says("warnings"))
            .unwrap_or_else(|| "the answer says no reason".into()),
        Err(_) => not_json(response),
    };
    format!("status {}: {why}", response.status)
}

/// The error for an answer whose status says that the request failed. Where that is forbidden, the server
/// does not say whether the path is a wrong one or the right lacks.
pub fn refusal(response: &Response) -> StoreError {
    let mut why = explain(response);
    if response.status == 403 {
        why.push_str("; check the engine's path and the login's policy (see the README)");
    }
    StoreError::Failed(why)
}

/// Whether Vault says by this 404 that nothing is there. Else it knows no such engine or namespace, or
/// something before it says that it knows no such path.
pub fn is_absent(response: &Response) -> bool {
    response.status == 404
        && Json::of(response).is_ok_and(
            |json| matches!(json.get(&["errors"]), Some(Value::Array(errors)) if errors.is_empty()),
        )
}

/// Whether Vault says by this 404 that the engine has another version than the path is for.
pub fn is_other_version(response: &Response) -> bool {
    response.status == 404
        && Json::of(response).is_ok_and(|json| {
            matches!(json.get(&["warnings"]), Some(Value::Array(_)))
                && matches!(json.get(&["data"]), None | Some(Value::Null))
        })
}

/// Reads the answer to a request that is done or not: 204, or 200 with warnings.
pub fn done(response: &Response) -> Result<(), StoreError> {
    match response.status {
        204 => Ok(()),
        200 => Json::of(response).map(|_| ()),
        _ if is_other_version(response) => Err(other_version(response)),
        _ => Err(refusal(response)),
    }
}

/// The error for an engine that has another version than the configuration says.
pub fn other_version(response: &Response) -> StoreError {
    odd(
        response,
        "the secrets engine has another version than `keystore.vault.version` says",
    )
}
