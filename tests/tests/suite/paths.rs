//! Attempts to get past a policy, and requests without any sense.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sealedge_core::route::ROUTES;
use sealedge_tests::client::{Answer, Client, Credentials, recorded};
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::Value;

/// A server on which `app` may create keys named `my-app...`, but none named `my-app-secret...`.
fn server() -> Server {
    let config = format!(
        "admin: {{identity: {}}}
policy:
  my-app:
    allow: [/v1/key/create/my-app*]
    deny: [/v1/key/create/my-app-secret*]
    identities: [{}]
keys: [{{name: other}}, {{name: my-app-secret}}, {{name: my-app}}]
keystore: {{fs: {{path: \"{{folder}}/keys\"}}}}
",
        recorded("admin").identity(),
        recorded("app").identity(),
    );
    Server::start(Path::new(crate::SEALEDGE), "", &config)
}

/// All stored keys with their values.
fn stored(server: &Server) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(server.keys()).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[tokio::test]
async fn no_way_of_writing_a_path_gets_past_the_policy() {
    let server = server();
    let before = stored(&server);
    let app = Credentials::of(&recorded("app"));
    let mut one = Client::connect(&server.address, Some(&app)).await.unwrap();
    let mut two = Client::connect_http2(&server.address, Some(&app))
        .await
        .unwrap();
    // What is tried by PUT, and what is to answer it. (`resolved` is what answers where dot segments are resolved
    // before, as the Workers runtime does.)
    for attempt in include_str!("../../attempts.jsonl").lines() {
        let attempt: Value = serde_json::from_str(attempt).unwrap();
        let path = attempt["path"].as_str().unwrap();
        let status = u16::try_from(attempt["status"].as_u64().unwrap()).unwrap();
        for method in ["GET", "DELETE", "HEAD", "PATCH"] {
            let answer = one.send(method, path, &[], "").await.unwrap();
            assert!(
                (400..500).contains(&answer.status),
                "{method} {path}: {answer:?}"
            );
        }
        // A method or a path in a header is none.
        let headers = [
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/v1/key/delete/other"),
            ("x-rewrite-url", "/v1/key/create/secret"),
        ];
        let answer = one.send("PUT", path, &headers, "").await.unwrap();
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(status != 200 || answer.body.is_empty(), "{answer:?}");
        let again = if status == 200 { 400 } else { status };
        for (client, method) in [(&mut one, "POST"), (&mut two, "PUT")] {
            let answer = client.send(method, path, &[], "").await.unwrap();
            assert_eq!(answer.status, again, "{method} {path}: {answer:?}");
        }
    }
    for path in [
        "/v1/key/list/my-app*",
        "/v1/key/list/..%2Fcreate%2Fmy-app*",
        "/v1/key/describe/my-app",
        "/v1/policy/read/my-app",
        "/v1/status",
        "/v1/metrics",
        "/v1/log/audit",
        "/v1/api",
    ] {
        let answer = one.call("GET", path, Value::Null).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    // The absolute form of a request's target (RFC 9112, 3.2.2) means its path.
    for (target, status) in [
        ("http://localhost/v1/key/delete/other", 403),
        ("https://x/v1/key/create/my-app/../../delete/other", 403),
        (
            "http://localhost/v1/key/create/my-app#/v1/key/delete/other",
            400,
        ),
    ] {
        let mut raw = Raw::connect(&server.address, &app).await;
        let head = format!("DELETE {target} HTTP/1.1\r\nhost: /v1/key/create/my-app\r\n\r\n");
        raw.send(head).await;
        let answer = raw.answer().await.unwrap();
        assert!(
            [status, 405, 400].contains(&answer.status),
            "{target}: {answer:?}"
        );
    }
    let mut after = stored(&server);
    for name in ["my-app-2", "my-app-3", "my-app-4"] {
        assert!(after.remove(name).is_some(), "{name}");
    }
    assert!(after == before, "{:?}", after.keys());
}

/// Paths with something of a route and something of none.
fn path() -> impl Strategy<Value = String> {
    // Streams do not end.
    let routes = ROUTES.iter().filter(|route| route.timeout.is_some());
    let routes: Vec<String> = routes.map(|route| route.path.to_owned()).collect();
    let route = prop::sample::select(routes);
    let name = prop::sample::select(vec!["other", "my-app", "new", "vector"]);
    let piece = prop_oneof![
        4 => route,
        3 => name.prop_map(str::to_owned),
        2 => "[a-zA-Z0-9_~*.%/;:-]{0,12}",
        1 => "(%[0-9a-fA-F]{2}){1,3}",
        1 => "\\PC{0,6}",
    ];
    prop::collection::vec(piece, 1..4)
        .prop_map(|pieces| format!("/{}", pieces.concat().trim_start_matches('/')))
        .prop_filter("no URI", |path| path.parse::<Uri>().is_ok())
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    let object = (
        prop::sample::select(vec!["plaintext", "ciphertext", "message", "key", "context"]),
        bytes(),
    );
    prop_oneof![
        Just(Vec::new()),
        bytes(),
        "\\{\"[a-z]{0,10}\":[\\[\\]{}\"a-z0-9,:]{0,20}\\}".prop_map(String::into_bytes),
        object.prop_map(|(field, bytes)| {
            let value = STANDARD.encode(bytes);
            format!("{{\"{field}\":\"{value}\",\"cipher\":\"AES256\"}}").into_bytes()
        }),
    ]
}

/// The service has answered: with success or with what is wrong, and with nothing of its inside.
fn check(request: &str, answer: &Answer, folder: &str) -> Result<(), TestCaseError> {
    prop_assert!(answer.status < 500, "{request}: {answer:?}");
    let text = String::from_utf8_lossy(&answer.body);
    prop_assert!(!text.contains(folder), "{request}: {text}");
    if answer.status >= 400 && answer.status != 404 && !request.starts_with("HEAD") {
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| TestCaseError::fail(format!("{request}: {text}")))?;
        prop_assert!(body["message"].is_string(), "{request}: {text}");
    }
    Ok(())
}

#[test]
fn no_request_makes_the_server_fail() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = server();
    let folder = server.folder.path().to_str().unwrap();
    let admin = Credentials::of(&recorded("admin"));
    let client = runtime.block_on(Client::connect(&server.address, Some(&admin)));
    // One connection for all of them: none of these requests may end it.
    let client = std::cell::RefCell::new(client.unwrap());
    let method = prop::sample::select(vec!["GET", "PUT", "POST", "DELETE", "HEAD"]);
    let config = Config {
        cases: 512,
        failure_persistence: None,
        ..Config::default()
    };
    let statuses = std::cell::RefCell::new(BTreeMap::new());
    let outcome = TestRunner::new(config).run(&(method, path(), body()), |(method, path, body)| {
        let request = format!("{method} {path} {}", String::from_utf8_lossy(&body));
        let sent = runtime.block_on(client.borrow_mut().send(method, &path, &[], body));
        let answer = sent.map_err(|error| TestCaseError::fail(format!("{request}: {error}")))?;
        *statuses.borrow_mut().entry(answer.status).or_insert(0) += 1;
        check(&request, &answer, folder)
    });
    outcome.unwrap();
    // It was not the same answer to all of them.
    let statuses = statuses.into_inner();
    assert!(
        [200, 400, 404, 405]
            .iter()
            .all(|status| statuses.contains_key(status)),
        "{statuses:?}"
    );
    assert!(!server.errors().contains(" error: "), "{}", server.errors());
}
