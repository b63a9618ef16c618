//! Requests and answers as data, and the driver against a fake server.

use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::outgoing::Response;

mod driver;
mod echoes;
mod engine;
mod interleavings;
mod logins;
mod mounts;
mod outages;
mod replaces;
mod server;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn access() -> Access {
    Access::by_role("https://vault:8200", "role-1", "secret-1")
}

fn settings(version: EngineVersion) -> Settings {
    Settings {
        access: access(),
        engine: "kv".into(),
        version,
        prefix: String::new(),
        transit: None,
    }
}

fn transit() -> Transit {
    Transit {
        engine: "transit".into(),
        key: "k".into(),
    }
}

/// A store in namespaces, behind a proxy, with names that have to be encoded.
fn elaborate() -> Settings {
    Settings {
        access: Access {
            destination: 3,
            base: "/proxied".into(),
            namespace: Some("org/team".into()),
            login: Login {
                engine: "team/k8s".into(),
                namespace: Some("org".into()),
                credentials: Credentials::Kubernetes {
                    role: "ro\"le".into(),
                    jwt: Jwt::File("/run/token".into()),
                },
            },
            ..access()
        },
        engine: "team/kv 2".into(),
        prefix: "kes/keys".into(),
        transit: Some(Transit {
            engine: "team/transit".into(),
            key: "k?".into(),
        }),
        ..settings(EngineVersion::V2)
    }
}

/// The request as text. `TOKEN` is the only token that may be in it.
fn shown(request: &Request) -> String {
    let mut text = format!("{} {}\n", request.method, request.path);
    for (field, value) in &request.headers {
        text += &format!("{field}: {}\n", **value);
    }
    if !request.body.is_empty() {
        text += &format!("{}\n", std::str::from_utf8(&request.body).unwrap());
    }
    text + &format!("for {} bytes within {:?}\n", request.limit, request.timeout)
}

fn requests(settings: &Settings) -> String {
    let (name, access) = (name("my-key"), &settings.access);
    let text = "value";
    let write = |latest, of| Write { text, latest, of };
    let mut requests = vec![
        ("login", login::request(access, "JWT")),
        ("renew", login::renewal(access, "TOKEN")),
        ("health", health::request(access)),
        ("mount", mount::request(settings, "TOKEN")),
        ("read", kv::read(settings, "TOKEN", &name)),
        (
            "create",
            kv::write(settings, "TOKEN", &name, &write(0, None)),
        ),
        ("delete", kv::delete(settings, "TOKEN", &name)),
        ("list", kv::list(settings, "TOKEN")),
    ];
    if settings.version == EngineVersion::V2 {
        let replace = kv::write(settings, "TOKEN", &name, &write(3, Some("2026-11-25")));
        let version = kv::read_version(settings, "TOKEN", &name, 3);
        requests.extend([
            ("replace", replace),
            ("read version 3", version),
            ("history", history::read(settings, "TOKEN", &name)),
            ("shorten", history::shorten(settings, "TOKEN", &name)),
        ]);
    }
    if let Some(key) = &settings.transit {
        let encrypt = transit::encrypt(access, key, "TOKEN", b"value");
        let decrypt = transit::decrypt(access, key, "TOKEN", "vault:v1:abc");
        requests.extend([("encrypt", encrypt), ("decrypt", decrypt)]);
    }
    let there = access.destination;
    assert!(
        requests
            .iter()
            .all(|(_, request)| request.destination == there)
    );
    requests
        .iter()
        .map(|(what, request)| format!("==== {what}\n{}\n", shown(request)))
        .collect()
}

/// Every request there is, as data.
#[test]
fn requests_are_as_written_down() {
    let with_transit = Settings {
        transit: Some(transit()),
        ..settings(EngineVersion::V1)
    };
    for (settings, expected) in [
        (with_transit, include_str!("testdata/requests-v1.txt")),
        (
            settings(EngineVersion::V2),
            include_str!("testdata/requests-v2.txt"),
        ),
        (elaborate(), include_str!("testdata/requests-elaborate.txt")),
    ] {
        let found = requests(&settings);
        assert!(found == expected, "the requests are now:\n{found}");
    }
}

/// What an answer means, as text.
fn meaning(what: &str, response: &Response) -> String {
    let (v1, v2) = (settings(EngineVersion::V1), settings(EngineVersion::V2));
    let name = name("a");
    let slot = |slot: Slot| match slot {
        Slot::Text(Stored { text, version, of }) => {
            let of = of
                .map(|of| format!(" of the key of {of}"))
                .unwrap_or_default();
            format!("{:?} of version {}{of}", *text, version.0)
        }
        Slot::Deleted(version) => format!("deleted: version {}", version.0),
    };
    let done = |()| "done".to_owned();
    let meaning = match what {
        "v1 read" => kv::parse_read(&v1, &name, response).map(slot),
        "v2 read" => kv::parse_read(&v2, &name, response).map(slot),
        "v1 write" => kv::parse_write(&v1, response).map(done),
        "v2 write" => kv::parse_write(&v2, response).map(done),
        "history" => history::parse(response).map(|it| {
            let latest = it.latest.0;
            format!(
                "created {}, latest {latest}, kept {:?}",
                it.created, it.kept
            )
        }),
        "shorten" => history::parse_shorten(response).map(done),
        "delete" => wire::done(response).map(done),
        "list" => kv::parse_list(response).map(|names| {
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            format!("names {names:?}")
        }),
        "login" => login::parse_login(response).map(|grant| {
            let renewable = if grant.is_renewable {
                ", renewable"
            } else {
                ""
            };
            format!("{:?} for {:?}{renewable}", *grant.secret, grant.lease)
        }),
        "health" => health::parse(response).map(done),
        "v1 mount" => mount::parse(&v1, response).map(|is_seen| format!("seen: {is_seen}")),
        "v2 mount" => mount::parse(&v2, response).map(|is_seen| format!("seen: {is_seen}")),
        "encrypt" => transit::parse_encrypt(response).map(|text| format!("{:?}", *text)),
        "decrypt" => transit::parse_decrypt(response)
            .map(|value| format!("{:?}", String::from_utf8_lossy(&value))),
        "trouble" => Ok(wire::explain(response)),
        _ => panic!("no such request: {what}"),
    };
    match meaning {
        Ok(meaning) => meaning,
        Err(StoreError::Failed(why)) => format!("failed: {why}"),
        Err(error) => format!("{error:?}"),
    }
}

fn response(status: u16, kind: &str, body: &[u8]) -> Response {
    Response {
        status,
        headers: vec![("content-type".into(), kind.into())],
        body: Zeroizing::new(body.to_vec()),
    }
}

/// Cases as data. In `testdata/answers.txt` a case is what follows `==== `: the request, the status and
/// the type of the answer, on the next line its body, and after `----` what it means. Those of the
/// status quo are OpenBao 2.7.2's own.
#[test]
fn answers_mean_what_is_written_down() {
    let cases: Vec<&str> = include_str!("testdata/answers.txt")
        .split("==== ")
        .skip(1)
        .collect();
    assert!(cases.len() > 40, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let (head, rest) = case.split_once('\n').unwrap();
        let (body, expected) = rest.split_once("\n----\n").unwrap();
        let [what, status, kind] = head.split(", ").collect::<Vec<_>>()[..] else {
            panic!("{head}");
        };
        let response = response(status.parse().unwrap(), kind, body.as_bytes());
        let found = meaning(what, &response);
        if found != expected.trim_end() {
            wrong.push(format!("==== {head}\n{body}\n----\n{found}\n"));
        }
    }
    assert!(
        wrong.is_empty(),
        "these answers have other meanings now:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn ciphertexts_of_transit_are_known_whatever_their_version() {
    for text in ["vault:v1:", "vault:v1:abc", "vault:v12:a:b"] {
        assert!(transit::is_ciphertext(text), "{text}");
    }
    for text in [
        "",
        "vault:v:a",
        "vault:v1",
        "vault:vx:a",
        "vault:v1a:b",
        " vault:v1:a",
        "vault:",
    ] {
        assert!(!transit::is_ciphertext(text), "{text}");
    }
}

#[test]
fn the_number_of_a_version_is_read_where_it_has_one() {
    for (text, number) in [
        ("2 2026-11-25T20:53:04.994028421Z", 2),
        ("18446744073709551615 ", u64::MAX),
        ("1111", 0),
        ("", 0),
        ("-1 x", 0),
    ] {
        assert_eq!(kv::number(&Version(text.into())), number, "{text}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    const WHAT: [&str; 15] = [
        "v1 mount", "v2 mount", "v1 read", "v2 read", "v1 write", "v2 write", "history", "shorten",
        "delete", "list", "login", "health", "encrypt", "decrypt", "trouble",
    ];

    /// JSON of the fields that Vault's answers have, with any kind of value in any of them.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "null",
            "true",
            "0",
            "-1",
            "1e99",
            "18446744073709551615",
            "\"\"",
            "\"a\"",
            "\"vault:v1:a\"",
            "\"YQ==\"",
            "\"\\u0000\"",
            "[]",
            "{}",
            "[\"a\", 1]",
            "[\"a/\", \"b\"]",
            "x",
        ])
        .prop_map(ToOwned::to_owned);
        leaf.prop_recursive(4, 24, 4, |inner| {
            let field = prop::sample::select(vec![
                "data",
                "a",
                "metadata",
                "version",
                "created_time",
                "current_version",
                "versions",
                "1",
                "keys",
                "auth",
                "client_token",
                "lease_duration",
                "renewable",
                "ciphertext",
                "plaintext",
                "errors",
                "warnings",
                "sealed",
                "initialized",
            ]);
            prop::collection::vec((field, inner), 0..4).prop_map(|fields| {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(field, value)| format!("\"{field}\":{value}"))
                    .collect();
                format!("{{{}}}", fields.join(","))
            })
        })
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused_in_one_short_line(
            body in prop_oneof![
                json().prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..200),
            ],
            status in prop_oneof![prop::sample::select(vec![200, 204, 299, 400, 403, 404, 503]), any::<u16>()],
            kind in "application/json|text/html|.{0,300}",
        ) {
            let response = response(status, &kind, &body);
            for what in WHAT {
                let meaning = meaning(what, &response);
                prop_assert!(!meaning.contains('\n'), "{}", meaning);
                prop_assert!(meaning.len() < 1500, "{}", meaning);
            }
        }
    }
}
