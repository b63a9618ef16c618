//! A server, or something before it, that says again what it was asked.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::store::remote::fake::{Fake, Reply};

const ID: &str = "role-4711-of-this-node";
const SECRET: &str = "se\"cret/4711\\of this node";
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N";
const TOKEN: &str = "hvs.CAESIJabcdefabcdef0123456789";
const VALUE: &str = r#"{"bytes":"GxQoUHWmHhjKqXtbvNCLTW0HwOk=","algorithm":1}"#;

/// All of a request, its path aside.
fn echo(request: &Request) -> String {
    let fields = request.headers.iter();
    let mut said: String = fields
        .map(|(name, value)| format!("{name}: {}\r\n", **value))
        .collect();
    said += std::str::from_utf8(&request.body).unwrap();
    said
}

fn errors(status: u16, said: &str) -> Reply {
    Reply::json(status, &serde_json::json!({ "errors": [said] }).to_string())
}

/// Says it in one of these ways.
fn said(way: usize, request: &Request) -> Reply {
    let echo = echo(request);
    match way {
        0 => errors(400, &echo),
        1 => errors(403, &STANDARD.encode(&echo)),
        2 => errors(503, &format!("{:?}", echo.trim())),
        3 => errors(429, echo.get(echo.len() / 3..).unwrap_or_default()),
        4 => Reply::json(307, "").with("location", &format!("https://other/?said={echo}")),
        5 => Reply::json(307, "").with("location", &format!("https://other/{echo}#{echo}")),
        6 => Reply::json(200, &echo).with_type(&echo),
        _ => Reply::json(
            500,
            &format!(r#"{{"warnings":[{}]}}"#, serde_json::json!(echo)),
        ),
    }
}

const WAYS: usize = 8;

/// Requests that are answered before one is said again, and all that is said of what comes then.
fn everything_said(settings: Settings, way: usize, answered: usize) -> Vec<String> {
    let fake = Fake::default();
    fake.put_file("/run/token", JWT);
    let store = Vault::new(settings.clone(), fake.clone());
    let mut left = answered;
    fake.serve(move |request| {
        if left == 0 {
            return said(way, request);
        }
        left -= 1;
        let path = &*request.path;
        match () {
            () if path.ends_with("/login") => Reply::json(
                200,
                &format!(r#"{{"auth":{{"client_token":"{TOKEN}","lease_duration":9}}}}"#),
            ),
            () if path.contains("/encrypt/") => {
                Reply::json(200, r#"{"data":{"ciphertext":"vault:v1:abc"}}"#)
            }
            () if request.method == "GET" => Reply::json(404, r#"{"errors":[]}"#),
            () => Reply::json(204, ""),
        }
    });
    let a = name("a");
    let errors = [
        fake.run(store.create(&a, VALUE.as_bytes())).err(),
        fake.run(store.get(&a)).err(),
        fake.run(store.delete(&a)).err(),
        fake.run(store.list("", None, 9)).err(),
        fake.run(store.status()).err(),
    ];
    let errors = errors.into_iter().flatten().map(|error| error.to_string());
    errors.chain(fake.lines()).collect()
}

#[test]
fn no_secret_of_a_request_is_said_again() {
    let by_role = |version| Settings {
        access: Access::by_role("https://vault:8200", ID, SECRET),
        ..settings(version)
    };
    let with_transit = Settings {
        transit: Some(transit()),
        ..by_role(EngineVersion::V2)
    };
    let stores = [
        by_role(EngineVersion::V1),
        by_role(EngineVersion::V2),
        with_transit,
        elaborate(),
    ];
    let mut hidden = 0;
    for settings in stores {
        for way in 0..WAYS {
            for answered in 0..4 {
                for line in everything_said(settings.clone(), way, answered) {
                    for secret in [ID, SECRET, JWT, TOKEN, VALUE] {
                        for from in 0..secret.len() - 8 {
                            let part = secret.get(from..from + 8).unwrap();
                            assert!(!line.contains(part), "{way} {answered}: {line}");
                            let escaped = serde_json::to_string(part).unwrap();
                            let escaped = escaped.trim_matches('"');
                            assert!(!line.contains(escaped), "{way} {answered}: {line}");
                        }
                    }
                    hidden += usize::from(line.contains("***"));
                }
            }
        }
    }
    assert!(hidden > 100, "{hidden}");
}

#[test]
fn what_is_no_secret_is_said() {
    let lines = everything_said(elaborate(), 0, 0);
    assert!(
        lines.iter().any(|line| line.contains("content-type")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.contains(r#"ro\"le"#)),
        "{lines:?}"
    );
}
