//! `docs/api.md` says what there is.

use std::collections::BTreeSet;
use std::path::Path;

use sealedge_tests::client::{Client, recorded};
use sealedge_tests::server::Server;
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../../docs/api.md");

/// A line of the table of routes.
struct Row {
    method: &'static str,
    /// Without the words in capitals that stand for names.
    path: &'static str,
    sent: Fields,
    answered: Fields,
}

/// The names in the first braces of a cell, without the `?` of those that may be absent.
#[derive(Default)]
struct Fields {
    all: BTreeSet<&'static str>,
    required: BTreeSet<&'static str>,
}

impl Fields {
    fn of(cell: &'static str) -> Self {
        let inside = cell.split_once("`{").and_then(|it| it.1.split_once("}`"));
        let names = inside.map_or("", |it| it.0).split(", ");
        let mut fields = Self::default();
        for name in names.filter(|name| !name.is_empty()) {
            let bare = name.trim_end_matches('?');
            fields.all.insert(bare);
            if bare == name {
                fields.required.insert(bare);
            }
        }
        fields
    }

    fn assert_fit(&self, value: &Value, what: &str) {
        let names = value.as_object().into_iter().flatten();
        let names: BTreeSet<&str> = names.map(|it| it.0.as_str()).collect();
        assert!(names.is_subset(&self.all), "{what}: {value}");
        assert!(names.is_superset(&self.required), "{what}: {value}");
    }
}

fn rows() -> Vec<Row> {
    let lines = DOCUMENT.lines().filter(|line| line.contains("| `/v"));
    let row = |line: &'static str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        Row {
            method: cells[1],
            path: cells[2].trim_matches(|it: char| it == '`' || it.is_uppercase()),
            sent: Fields::of(cells[3]),
            answered: Fields::of(cells[4]),
        }
    };
    lines.map(row).collect()
}

#[tokio::test]
async fn every_route_is_documented_with_its_bodies() {
    let admin = recorded("admin").identity().to_string();
    let config = format!(
        "admin: {{identity: {admin}}}\nkeystore: {{mem: {{}}}}\n\
         policy: {{p: {{allow: [/v1/ready], deny: [/v1/status]}}}}\n"
    );
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
    let mut client = Client::admin(&server.address).await;
    let rows = rows();
    let mut documented: Vec<_> = rows.iter().map(|row| (row.method, row.path)).collect();
    documented.sort_unstable();
    let routes = client.call("GET", "/v1/api", Value::Null).await.json();
    let text = |route: &Value, name: &str| route[name].as_str().unwrap().to_owned();
    let routes = routes.as_array().unwrap().iter();
    let mut routes: Vec<_> = routes
        .map(|it| (text(it, "method"), text(it, "path")))
        .collect();
    routes.sort_unstable();
    let documented: Vec<_> = documented
        .into_iter()
        .map(|it| (it.0.into(), it.1.into()))
        .collect();
    assert_eq!(routes, documented);

    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let mut last = Value::Null;
    for (path, argument, mut body) in [
        ("/v1/key/create/", "k", Value::Null),
        (
            "/v1/key/import/",
            "i",
            json!({"key": secret, "cipher": "ChaCha20"}),
        ),
        ("/v1/key/describe/", "k", Value::Null),
        ("/v1/key/list/", "*", Value::Null),
        ("/v1/key/generate/", "k", json!({"context": "YQ=="})),
        (
            "/v1/key/encrypt/",
            "k",
            json!({"plaintext": secret, "context": "YQ=="}),
        ),
        (
            "/v1/key/decrypt/",
            "k",
            json!({"ciphertext": "what was answered last", "context": "YQ=="}),
        ),
        ("/v1/key/hmac/", "k", json!({"message": secret})),
        ("/v1/key/delete/", "k", Value::Null),
        ("/v1/policy/describe/", "p", Value::Null),
        ("/v1/policy/read/", "p", Value::Null),
        ("/v1/policy/list/", "*", Value::Null),
        ("/v1/identity/describe/", &admin, Value::Null),
        ("/v1/identity/list/", "*", Value::Null),
        ("/v1/identity/self/describe", "", Value::Null),
        ("/v1/ready", "", Value::Null),
        ("/v1/status", "", Value::Null),
        ("/version", "", Value::Null),
    ] {
        let row = rows.iter().find(|row| row.path == path).unwrap();
        if let Some(ciphertext) = body.get_mut("ciphertext") {
            *ciphertext = last["ciphertext"].take();
        }
        row.sent.assert_fit(&body, path);
        let answer = client
            .call(row.method, &format!("{path}{argument}"), body)
            .await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        last = serde_json::from_slice(&answer.body).unwrap_or_default();
        row.answered.assert_fit(&last, path);
    }
}
