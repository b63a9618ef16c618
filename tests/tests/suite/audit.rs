//! The audit and error logs, and the figures about them.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealedge_tests::client::{Client, Credentials, recorded};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};

/// The configuration; `log` is its section.
fn config(log: &str) -> String {
    format!(
        "admin: {{identity: {}}}
policy:
  my-app:
    allow: [/v1/key/create/my-app*]
    identities: [{}]
api: {{/v1/ready: {{skip_auth: true}}}}
log: {log}
keystore: {{fs: {{path: \"{{folder}}/keys\"}}}}
",
        recorded("admin").identity(),
        recorded("app").identity(),
    )
}

async fn connect(server: &Server, who: &str) -> Client {
    let credentials = (who != "nobody").then(|| Credentials::of(&recorded(who)));
    Client::connect(&server.address, credentials.as_ref())
        .await
        .unwrap()
}

/// What is stored is no key, though it looks secret.
fn store_garbage(server: &Server) {
    let garbage = r#"{"bytes": "U0VDUkVULUtFWS1CWVRFUw==", "algorithm": "SECRET-ALGORITHM"#;
    std::fs::write(server.keys().join("corrupt"), garbage).unwrap();
}

/// Who asks what, the answer's status, and the path in the audit record if there is to be one.
const REQUESTS: [(&str, &str, &str, u16, Option<&str>); 19] = [
    ("admin", "GET", "/version", 200, None),
    ("nobody", "GET", "/v1/ready", 200, None),
    ("admin", "POST", "/v1/ready", 405, None),
    ("admin", "GET", "/v1/nope", 404, None),
    ("admin", "GET", "/v1/key/create/%zz", 400, None),
    (
        "admin",
        "PUT",
        "/v1/key/create/my-app",
        200,
        Some("/v1/key/create/my-app"),
    ),
    (
        "admin",
        "POST",
        "/v1/key/create/my-app",
        400,
        Some("/v1/key/create/my-app"),
    ),
    (
        "app",
        "PUT",
        "/v1/key/create/my-app-2",
        200,
        Some("/v1/key/create/my-app-2"),
    ),
    (
        "app",
        "PUT",
        "/v1/key/create/other",
        403,
        Some("/v1/key/create/other"),
    ),
    (
        "app",
        "GET",
        "/v1/key/list/%2A?secret=1",
        403,
        Some("/v1/key/list/*"),
    ),
    ("stranger", "GET", "/v1/status", 403, Some("/v1/status")),
    (
        "stranger",
        "GET",
        "/v1/identity/self/describe",
        404,
        Some("/v1/identity/self/describe"),
    ),
    ("nobody", "GET", "/v1/status", 400, Some("/v1/status")),
    (
        "admin",
        "GET",
        "/v1/key/describe/none",
        404,
        Some("/v1/key/describe/none"),
    ),
    (
        "admin",
        "GET",
        "/v1/key/describe/a%0Ab%22",
        400,
        Some("/v1/key/describe/a\nb\""),
    ),
    (
        "admin",
        "HEAD",
        "/v1/key/describe/my-app",
        405,
        Some("/v1/key/describe/my-app"),
    ),
    (
        "admin",
        "PUT",
        "/v1/key/encrypt/my-app",
        400,
        Some("/v1/key/encrypt/my-app"),
    ),
    (
        "admin",
        "GET",
        "/v1/key/describe/corrupt",
        502,
        Some("/v1/key/describe/corrupt"),
    ),
    ("admin", "PUT", "/v1/log/audit", 405, Some("/v1/log/audit")),
];

#[tokio::test]
async fn one_record_for_each_request_to_an_authenticated_route() {
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config("{audit: on}"));
    store_garbage(&server);
    let before = jiff::Timestamp::now();
    let mut expected = Vec::new();
    let mut clients = BTreeMap::new();
    for (who, method, path, status, record) in REQUESTS {
        if !clients.contains_key(who) {
            clients.insert(who, connect(&server, who).await);
        }
        let client = clients.get_mut(who).unwrap();
        let answer = client.call(method, path, Value::Null).await;
        assert_eq!(answer.status, status, "{who} {method} {path}");
        let identity = match who {
            "nobody" => String::new(),
            who => recorded(who).identity().to_string(),
        };
        expected.extend(record.map(|path| (path.to_owned(), identity, status)));
    }
    server.signal("TERM");
    let (_, output, _) = server.wait();
    let mut got = Vec::new();
    for line in output.lines() {
        let record: Value = serde_json::from_str(line).expect(line);
        let time: jiff::Timestamp = record["time"].as_str().unwrap().parse().unwrap();
        assert!(before <= time && time <= jiff::Timestamp::now(), "{line}");
        assert_eq!(record["request"]["ip"], "127.0.0.1");
        let nanoseconds = record["response"]["time"].as_u64().unwrap();
        assert!(nanoseconds < 15_000_000_000, "{line}");
        let text = |name: &str| record["request"][name].as_str().unwrap().to_owned();
        let code = u16::try_from(record["response"]["code"].as_u64().unwrap()).unwrap();
        got.push((text("path"), text("identity"), code));
        assert_eq!(record.as_object().unwrap().len(), 3, "{line}");
    }
    assert_eq!(got, expected);
}

#[tokio::test]
async fn no_path_gives_a_terminal_or_a_reader_of_lines_an_order() {
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config("{audit: on}"));
    let mut admin = connect(&server, "admin").await;
    let path = "/v1/key/describe/%7F%C2%85%C2%9B31m%E2%80%A8%E2%80%AEx%F0%9F%94%91%1B%0A";
    assert_eq!(admin.call("GET", path, Value::Null).await.status, 400);
    server.signal("TERM");
    let (_, output, _) = server.wait();
    let line = output.trim_end_matches('\n');
    assert!(
        line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{line:?}"
    );
    let record: Value = serde_json::from_str(line).unwrap();
    let shown = "/v1/key/describe/\u{7f}\u{85}\u{9b}31m\u{2028}\u{202e}x\u{1f511}\u{1b}\n";
    assert_eq!(record["request"]["path"], shown);
}

#[tokio::test]
async fn logs_that_are_off_are_silent() {
    for (log, errors) in [
        ("{error: on, audit: off}", true),
        ("{}", true),
        ("{error: off}", false),
    ] {
        let server = Server::start(Path::new(crate::SEALEDGE_WITH_FAULTS), "", &config(log));
        store_garbage(&server);
        let mut admin = connect(&server, "admin").await;
        let answer = admin
            .call("GET", "/v1/key/describe/corrupt", Value::Null)
            .await;
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (502, "failed to read key")
        );
        assert_eq!(
            admin.call("GET", "/fault/trap", Value::Null).await.status,
            500
        );
        server.signal("TERM");
        let (_, output, said) = server.wait();
        assert_eq!(output, "", "{log}");
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.contains(" error: "))
            .collect();
        if errors {
            assert_eq!(lines.len(), 2, "{said}");
            assert!(said.contains("failed to read key: what is stored for 'corrupt' is no key"));
            assert!(said.contains("the guest died"), "{said}");
        } else {
            assert!(lines.is_empty(), "{said}");
        }
    }
}

#[tokio::test]
async fn no_secret_is_in_any_output() {
    let password = "correct-horse-battery";
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let file = folder.path().join("server.key");
    let plain = std::fs::read(&file).unwrap();
    let encrypted = sealedge::private_key::encrypt(&plain, password).unwrap();
    std::fs::write(&file, encrypted.as_bytes()).unwrap();
    let tls = format!("  password: {password}");
    let log = config("{audit: on, error: on}");
    let server = Server::start_in(Path::new(crate::SEALEDGE), folder, &tls, &log);
    store_garbage(&server);
    let mut admin = connect(&server, "admin").await;
    let mut secrets = vec![
        password.to_owned(),
        recorded("admin").to_text().to_string(),
        "SECRET".to_owned(),
        "U0VDUkVU".to_owned(),
    ];
    let key = STANDARD.encode([0x5e; 32]);
    let text = "my very secret plaintext";
    let plaintext = STANDARD.encode(text);
    let mut ask = async |path: &str, body: Value| admin.call("PUT", path, body).await;
    let import = json!({"key": key, "cipher": "AES256"});
    assert_eq!(ask("/v1/key/import/a", import.clone()).await.status, 200);
    assert_eq!(ask("/v1/key/import/a", import).await.status, 400);
    let dek = ask("/v1/key/generate/a", json!({})).await.json();
    let sealed = ask("/v1/key/encrypt/a", json!({"plaintext": plaintext}))
        .await
        .json();
    for body in [
        json!({"plaintext": plaintext, "context": 1}),
        json!({"plaintext": format!("{plaintext}!")}),
        json!({"plaintext": plaintext, "key": key}),
    ] {
        ask("/v1/key/encrypt/a", body).await;
    }
    let opened = ask("/v1/key/decrypt/a", sealed).await.json();
    assert_eq!(opened["plaintext"], plaintext);
    let sum = ask("/v1/key/hmac/a", json!({"message": plaintext}))
        .await
        .json();
    ask("/v1/key/encrypt/corrupt", json!({"plaintext": plaintext})).await;
    let stored = std::fs::read_to_string(server.keys().join("a")).unwrap();
    for secret in [&dek["plaintext"], &dek["ciphertext"], &sum["hmac"]] {
        secrets.push(secret.as_str().unwrap().to_owned());
    }
    secrets.extend([key, plaintext, text.to_owned(), stored]);
    server.signal("TERM");
    let (_, output, errors) = server.wait();
    assert!(
        output.lines().count() >= 10 && errors.contains("'corrupt'"),
        "{output}{errors}"
    );
    for secret in secrets {
        assert!(secret.len() >= 6);
        assert!(
            !output.contains(&secret) && !errors.contains(&secret),
            "{secret} is in {output}{errors}"
        );
    }
}

/// The figures in Prometheus's text, by name and label.
async fn figures(client: &mut Client) -> BTreeMap<String, f64> {
    let answer = client.call("GET", "/v1/metrics", Value::Null).await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .content_type
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let text = String::from_utf8(answer.body).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let figures: BTreeMap<String, f64> = samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect();
    for name in figures.keys() {
        let family = name.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| family.strip_suffix(end))
            .unwrap_or(family);
        assert!(
            text.contains(&format!("# TYPE {family} ")),
            "{name} has no type"
        );
    }
    figures
}

/// The names of KES but for `kes_system_mem_heap_objects`: only Go counts the objects on its heap.
const FIGURES: [&str; 16] = [
    "kes_http_request_success{code=\"200\"}",
    "kes_http_request_error{code=\"400\"}",
    "kes_http_request_failure{code=\"502\"}",
    "kes_http_request_active",
    "kes_http_response_time_bucket{le=\"0.01\"}",
    "kes_http_response_time_bucket{le=\"+Inf\"}",
    "kes_http_response_time_sum",
    "kes_http_response_time_count",
    "kes_log_error_events",
    "kes_log_audit_events",
    "kes_system_up_time",
    "kes_system_num_cpu",
    "kes_system_num_cpu_used",
    "kes_system_num_threads",
    "kes_system_mem_heap_used",
    "kes_system_mem_stack_used",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_are_exact_over_all_instances() {
    let log = config("{audit: on, error: on}");
    let server = Server::start(Path::new(crate::SEALEDGE), "", &log);
    store_garbage(&server);
    let mut admin = connect(&server, "admin").await;
    admin.call("PUT", "/v1/key/create/a", Value::Null).await;
    let mut tasks = Vec::new();
    let (connections, rounds) = (8, 25);
    for _ in 0..connections {
        let mut client = connect(&server, "admin").await;
        tasks.push(tokio::spawn(async move {
            for _ in 0..rounds {
                client.call("PUT", "/v1/key/generate/a", Value::Null).await;
                client.call("PUT", "/v1/key/create/a", Value::Null).await;
                client
                    .call("GET", "/v1/key/describe/none", Value::Null)
                    .await;
                client
                    .call("DELETE", "/v1/key/describe/a", Value::Null)
                    .await;
                client
                    .call("GET", "/v1/key/describe/corrupt", Value::Null)
                    .await;
                client.call("GET", "/version", Value::Null).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let all = f64::from(connections * rounds);
    for scrapes in [0.0, 1.0] {
        let figures = figures(&mut admin).await;
        for name in FIGURES {
            assert!(figures.contains_key(name), "{name} is not in {figures:?}");
        }
        for (name, expected) in [
            (
                "kes_http_request_success{code=\"200\"}",
                1.0 + 2.0 * all + scrapes,
            ),
            ("kes_http_request_error{code=\"400\"}", all),
            ("kes_http_request_error{code=\"404\"}", all),
            ("kes_http_request_error{code=\"405\"}", all),
            ("kes_http_request_failure{code=\"502\"}", all),
            ("kes_http_request_active", 1.0),
            ("kes_http_response_time_count", 1.0 + 6.0 * all + scrapes),
            (
                "kes_http_response_time_bucket{le=\"+Inf\"}",
                1.0 + 6.0 * all + scrapes,
            ),
            ("kes_log_audit_events", 1.0 + 5.0 * all + scrapes),
            ("kes_log_error_events", all),
        ] {
            assert_eq!(figures[name], expected, "{name}");
        }
        let codes = figures
            .keys()
            .filter(|name| name.contains("{code="))
            .count();
        assert_eq!(codes, 5, "{figures:?}");
        assert!(figures["kes_http_response_time_sum"] > 0.0);
    }
}
