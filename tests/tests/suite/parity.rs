//! Replays what was asked of a real KES server, and compares what it answered.

use std::collections::BTreeMap;
use std::path::Path;

use sealedge_tests::client::{Client, Credentials, recorded};
use sealedge_tests::server::Server;
use serde_json::Value;

/// The configuration of the server that was recorded.
fn config() -> String {
    configured("log: {error: off, audit: off}\nkeystore: {fs: {path: \"{folder}/keys\"}}\n")
}

/// The same with a key store and what else is needed.
pub fn configured(own: &str) -> String {
    let mut config = include_str!("../../parity.yml").to_owned() + own;
    for (variable, who) in [("ADMIN", "admin"), ("APP", "app"), ("OPS", "ops")] {
        let identity = recorded(who).identity().to_string();
        config = config.replace(&format!("${{{variable}}}"), &identity);
    }
    config
}

#[tokio::test]
async fn every_recorded_exchange_of_kes_is_repeated() {
    repeat("mtls").await;
}

/// The same by signed requests: all that differs is how the answer names that.
#[tokio::test]
async fn every_recorded_exchange_of_kes_is_repeated_by_signed_requests() {
    repeat("signature").await;
}

/// The same through proxies that sign as their clients.
#[tokio::test]
async fn every_recorded_exchange_of_kes_is_repeated_through_a_proxy() {
    repeat("proxy").await;
}

/// `auth` is how the clients prove who they are.
async fn repeat(auth: &str) {
    let server = Server::start(Path::new(super::SEALEDGE), "", &config());
    let mut proxies = Vec::new();
    let connect = async |who: &str| {
        if auth != "proxy" {
            return connect(&server, who, auth).await;
        }
        let signs_as = if who == "none" { "admin" } else { who };
        let proxy = super::local_proxy::proxy(signs_as, &server, &[]);
        let client = connect(&proxy, who, "mtls").await;
        proxies.push(proxy);
        client
    };
    let method = if auth == "mtls" { auth } else { "signature" };
    repeat_over(connect, method, |_| None).await;
}

/// Repeats all exchanges over the connections of these clients, which prove by a `method` who they are. What differs on a
/// platform is what `instead` gives for an exchange: status and message.
pub async fn repeat_over(
    mut connect: impl AsyncFnMut(&str) -> Client,
    method: &str,
    instead: impl Fn(&Value) -> Option<(u16, &'static str)>,
) {
    let recording = include_str!("../../parity.jsonl");
    let mut clients = BTreeMap::new();
    let mut variables = BTreeMap::new();
    let mut differences = Vec::new();
    for line in recording.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let who = case["as"].as_str().unwrap_or("admin").to_owned();
        if !clients.contains_key(&who) {
            clients.insert(who.clone(), connect(&who).await);
        }
        let client = clients.get_mut(&who).unwrap();
        let mut got = run(client, &case, &mut variables).await;
        // A field that KES does not have.
        if let Some(body) = got["json"].as_object_mut()
            && let Some(by) = body.remove("auth")
        {
            assert_eq!(by, method, "{case}");
        }
        if let Some((status, message)) = instead(&case) {
            let said = (&got["status"], &got["json"]["message"]);
            assert_eq!(said, (&status.into(), &message.into()), "{case}");
            continue;
        }
        if let Some(difference) = compare(&case, &got) {
            differences.push(format!("{}: {difference}", case["id"]));
        }
    }
    assert!(recording.lines().count() >= 99);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

async fn connect(server: &Server, who: &str, auth: &str) -> Client {
    let client = match (who, auth) {
        ("none", _) => Client::connect(&server.address, None).await,
        (_, "signature") => Client::signing(&server.address, recorded(who)).await,
        _ => Client::connect(&server.address, Some(&Credentials::of(&recorded(who)))).await,
    };
    client.unwrap()
}

/// Sends a case's request; the answer in the recording's form.
async fn run(client: &mut Client, case: &Value, variables: &mut BTreeMap<String, String>) -> Value {
    let fill = |text: &str| {
        variables
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!("${{{name}}}"), value)
            })
    };
    let body = match (case.get("json"), case.get("raw")) {
        (Some(json), _) => fill(&json.to_string()),
        (None, Some(raw)) => fill(raw.as_str().unwrap()),
        (None, None) => String::new(),
    };
    let headers: Vec<(&str, &str)> = case["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let path = fill(case["path"].as_str().unwrap());
    let answer = client
        .send(case["method"].as_str().unwrap(), &path, &headers, body)
        .await
        .unwrap();
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    for (variable, field) in case["save"].as_object().into_iter().flatten() {
        let value = json.as_ref().unwrap()[field.as_str().unwrap()]
            .as_str()
            .unwrap();
        variables.insert(variable.clone(), value.to_owned());
    }
    let mut recorded = serde_json::json!({"status": answer.status, "type": answer.content_type});
    match json {
        Some(json) => recorded["json"] = json,
        None if answer.body.is_empty() => recorded["json"] = Value::Null,
        None => recorded["text"] = String::from_utf8_lossy(&answer.body).into_owned().into(),
    }
    recorded
}

/// What differs between the recorded and the given answer, apart from what may.
fn compare(case: &Value, got: &Value) -> Option<String> {
    let want = &case["answer"];
    let same: Vec<&str> = match case["same"].as_array() {
        Some(same) => same.iter().filter_map(Value::as_str).collect(),
        None => vec!["status", "type", "body"],
    };
    let free: Vec<&str> = case["any"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let masked = |answer: &Value| {
        let mut json = answer["json"].clone();
        for field in &free {
            if let Some(value) = json.get_mut(field) {
                *value = kind(value).into();
            }
        }
        (json, answer["text"].clone())
    };
    let differs =
        |what: &str, differs: bool| (same.contains(&what) && differs).then(|| what.to_owned());
    let what = differs("status", want["status"] != got["status"])
        .or_else(|| differs("type", want["type"] != got["type"]))
        .or_else(|| differs("body", masked(want) != masked(got)))?;
    Some(format!("the {what} is {got} and not {want}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
