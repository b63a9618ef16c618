//! Tests of the whole parser: text in, configuration or problems out.

use std::time::Duration;

use super::*;
use crate::auth::authority::OwnAuthority;
use crate::seal::NodeIdentity;

mod properties;
mod readme;
mod secrets;
mod spin;
mod unseal;
mod values;
mod vault;
mod workers;

const SAMPLE: &str = include_str!("testdata/server-config.yaml");

const PATHS: &[(&str, bool)] = &[
    ("/version", false),
    ("/v1/ready", true),
    ("/v1/status", true),
    ("/v1/metrics", true),
    ("/v1/api", true),
    ("/v1/key/create/", false),
    ("/v1/key/generate/", false),
    ("/v1/log/error", false),
];

const ALL: Supported<'_> = Supported {
    keystores: &["fs", "mem", "vault"],
    tls: true,
    cloudflare: false,
    memory: true,
    files: true,
    api_paths: PATHS,
};

/// A platform that ends no TLS and has no file system.
const EDGE: Supported<'_> = Supported {
    keystores: &["mem"],
    tls: false,
    cloudflare: false,
    memory: false,
    files: false,
    api_paths: PATHS,
};

fn node() -> NodeIdentity {
    NodeIdentity::generate(&mut |bytes| bytes.fill(1))
}

fn variable(name: &str) -> Option<String> {
    match name {
        "APP" => Some("a".repeat(64)),
        "PORT" => Some("127.0.0.1:1234".into()),
        "UNUSED" => Some("20s".into()),
        "EMPTY" => Some(String::new()),
        "NESTED" => Some("${APP}".into()),
        "IDENTITY" => Some(node().text().into()),
        "RECIPIENT" => Some(node().recipient().to_string()),
        "SECRET" => Some("hunter2!".into()),
        _ => None,
    }
}

/// The configuration and the warnings, or the errors, as a reader sees them.
fn read(text: &str, supported: &Supported<'_>) -> Result<(Config, Vec<String>), Vec<String>> {
    let lines = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect();
    match parse(text, &variable, supported) {
        Ok(Parsed { config, warnings }) => Ok((config, lines(warnings))),
        Err(errors) => Err(lines(errors)),
    }
}

fn good(text: &str) -> (Config, Vec<String>) {
    read(text, &ALL).unwrap_or_else(|errors| panic!("refused: {errors:#?}\n{text}"))
}

fn errors(text: &str, supported: &Supported<'_>) -> Vec<String> {
    match read(text, supported) {
        Ok((_, warnings)) => panic!("accepted with the warnings {warnings:?}\n{text}"),
        Err(errors) => errors,
    }
}

fn identity(digit: char) -> Identity {
    digit.to_string().repeat(64).parse().unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The smallest configuration, one section a line.
const MINIMAL: &str = "\
version: v1
admin: {identity: disabled}
tls: {key: k, cert: c}
keystore: {mem: {}}
";

#[test]
fn the_smallest_configuration_has_the_documented_defaults() {
    let (config, warnings) = good(MINIMAL);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.address, "0.0.0.0:7373");
    assert_eq!(config.admin, None);
    assert_eq!(
        (config.tls.key.as_str(), config.tls.cert.as_str()),
        ("k", "c")
    );
    assert!(config.tls.password.is_none());
    assert_eq!(config.tls.ca, None);
    assert!(!config.tls.verify_clients);
    assert!(config.tls.proxies.is_empty());
    assert_eq!(config.tls.proxies.header, "x-tls-client-cert");
    assert!(config.api.is_empty());
    assert!(config.policies.is_empty());
    let expiry = (config.cache.any.as_secs(), config.cache.unused.as_secs());
    assert_eq!(expiry, (300, 30));
    assert_eq!(config.cache.offline, Duration::ZERO);
    assert_eq!(
        config.log,
        LogSettings {
            error: true,
            audit: false
        }
    );
    assert_eq!(config.keys, []);
    assert!(config.keystore == Keystore::Memory);
}

#[test]
fn a_full_configuration_is_read_whole() {
    let (config, warnings) = good(SAMPLE);
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.address, "127.0.0.1:1234");
    assert_eq!(config.admin, Some(identity('1')));
    assert_eq!(config.tls.key, "/etc/sealedge/server.key");
    assert_eq!(config.tls.cert, "/etc/sealedge/server.cert");
    assert_eq!(config.tls.password.unwrap().expose(), "hunter2!");
    assert_eq!(config.tls.ca.as_deref(), Some("/etc/sealedge/ca"));
    assert!(config.tls.verify_clients);
    assert_eq!(
        config.tls.proxies.identities,
        [identity('2'), identity('3')]
    );
    assert_eq!(config.tls.proxies.header, "x-client-certificate");
    let api: Vec<(&str, bool, Option<u64>)> = config
        .api
        .iter()
        .map(|(path, api)| {
            (
                path.as_str(),
                api.skip_auth,
                api.timeout.map(|limit| limit.as_secs()),
            )
        })
        .collect();
    assert_eq!(
        api,
        [
            ("/v1/key/create/", false, Some(90)),
            ("/v1/log/error", false, None),
            ("/v1/metrics", true, None),
            ("/v1/ready", true, Some(5)),
        ]
    );
    assert_eq!(config.policies.len(), 2);
    assert_eq!(
        config.policies.get(&name("my-app")),
        Some(&PolicySettings {
            allow: vec![
                "/v1/key/create/my-app*".into(),
                "/v1/key/generate/my-app*".into()
            ],
            deny: vec!["/v1/key/generate/my-app-internal*".into()],
            identities: vec![identity('a'), identity('b')],
        })
    );
    assert_eq!(
        config.policies.get(&name("monitoring")),
        Some(&PolicySettings {
            allow: vec!["*".into()],
            ..PolicySettings::default()
        })
    );
    assert_eq!(
        config.cache,
        CacheExpiry {
            any: Duration::from_secs(330),
            unused: Duration::from_secs(20),
            offline: Duration::from_millis(1500),
        }
    );
    assert_eq!(
        config.log,
        LogSettings {
            error: false,
            audit: true
        }
    );
    assert_eq!(config.keys, [name("zeta"), name("alpha")]);
    let path = "/var/lib/sealedge/keys".into();
    assert!(config.keystore == Keystore::Fs { path });
}

#[test]
fn an_empty_file_is_told_all_that_it_needs() {
    for text in ["", "# nothing\n", "---\n", "~"] {
        let errors = errors(text, &ALL);
        let fields: Vec<&str> = errors
            .iter()
            .filter_map(|error| error.split(": ").next())
            .collect();
        assert_eq!(
            fields,
            [
                "version",
                "admin.identity",
                "tls.key",
                "tls.cert",
                "keystore"
            ],
            "{errors:?}"
        );
    }
}

#[test]
fn a_platform_without_tls_refuses_its_fields_and_keeps_the_proxies() {
    let rest = "version: v1\nadmin: {identity: disabled}\nkeystore: {mem: {}}\n\
                auth: {authorities: [Kms.example.com:443]}\n";
    let (config, _) = read(rest, &EDGE).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(
        config.auth.authorities,
        [OwnAuthority::parse("kms.example.com:443").unwrap()]
    );
    let proxy = format!("{rest}tls: {{proxy: {{identities: [{}]}}}}", identity('2'));
    let (config, _) = read(&proxy, &EDGE).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(config.tls.proxies.identities, [identity('2')]);
    assert_eq!(config.tls.key, "");
    let tls = "tls:\n  key: k\n  cert: c\n  password: p\n  ca: d\n  auth: on\n";
    assert_eq!(
        errors(&format!("{rest}{tls}"), &EDGE),
        [
            "line 6: tls.key: this platform brings its own TLS; remove this field",
            "line 7: tls.cert: this platform brings its own TLS; remove this field",
            "line 8: tls.password: this platform brings its own TLS; remove this field",
            "line 9: tls.ca: there is no certificate in PEM in it; write the certificates of the authorities \
             that issue those of clients, in PEM, such as `${CLIENT_CA}`",
        ]
    );
    assert_eq!(
        errors(&rest.replace("{mem: {}}", "{fs: {path: keys}}"), &EDGE),
        ["line 3: keystore.fs: this key store is not supported on this platform; use `mem`"]
    );
}

/// Cases as data. In `testdata/problems.txt` a case is what follows `==== title`: YAML that
/// replaces the sections of the same name in `MINIMAL`, then `----` and the problems it has.
/// Errors are as they are; warnings begin with `warning: `.
#[test]
fn problems_name_line_field_and_remedy() {
    let cases: Vec<&str> = include_str!("testdata/problems.txt")
        .split("==== ")
        .skip(1)
        .collect();
    assert!(cases.len() > 40, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let (title, case) = case.split_once('\n').unwrap();
        let (yaml, expected) = case.split_once("----\n").unwrap();
        let own = |line: &&str| {
            let section = line.split(':').next().unwrap();
            !yaml
                .lines()
                .any(|line| line.split(':').next() == Some(section))
        };
        let rest: Vec<&str> = MINIMAL.lines().filter(own).collect();
        let text = format!("{yaml}{}\n", rest.join("\n"));
        let found = match read(&text, &ALL) {
            Ok((_, warnings)) => warnings
                .iter()
                .map(|line| format!("warning: {line}"))
                .collect(),
            Err(errors) => errors,
        };
        let expected: Vec<&str> = expected.lines().filter(|line| !line.is_empty()).collect();
        if found != expected {
            wrong.push(format!("==== {title}\n{yaml}----\n{}\n", found.join("\n")));
        }
    }
    assert!(
        wrong.is_empty(),
        "these cases have other problems now:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn durations_are_written_as_go_writes_them() {
    let read = |text: &str| {
        let cache = format!("cache: {{expiry: {{offline: '{text}'}}}}\n{MINIMAL}");
        read(&cache, &ALL)
            .ok()
            .map(|(config, _)| config.cache.offline)
    };
    for (text, nanos) in [
        ("5m0s", 300_000_000_000_u64),
        ("300ms", 300_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("2h0m0.25s", 7_200_250_000_000),
        ("10us", 10_000),
        ("10µs", 10_000),
        ("7ns", 7),
        ("0s", 0),
        ("0", 0),
        ("-0s", 0),
        ("5 minutes", 300_000_000_000),
    ] {
        assert_eq!(read(text), Some(Duration::from_nanos(nanos)), "{text}");
    }
    for text in [
        "5",
        "5x",
        "m",
        "5 m s",
        "-5m",
        "5m0",
        "99999999999999999999h",
        "1M",
        "30m1h",
        "1.5h30m",
        "1e3s",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn addresses() {
    let read = |text: &str| {
        let text = format!("address: '{text}'\n{MINIMAL}");
        read(&text, &ALL).ok().map(|(config, _)| config.address)
    };
    for (text, address) in [
        ("127.0.0.1:7373", "127.0.0.1:7373"),
        (":7373", "0.0.0.0:7373"),
        ("localhost:0", "localhost:0"),
        ("[::1]:65535", "[::1]:65535"),
        ("", "0.0.0.0:7373"),
        ("${PORT}", "127.0.0.1:1234"),
    ] {
        assert_eq!(read(text).as_deref(), Some(address), "{text}");
    }
    for text in [
        "7373",
        "localhost",
        "::1:7373",
        "[::1:7373",
        "a b:1",
        "h:65536",
        "h:+1",
        "h:",
        "a/b:1",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn aliases_share_and_can_not_explode() {
    let shared = format!("{MINIMAL}policy:\n  a: &p {{allow: [/version]}}\n  b: *p\n");
    let (config, _) = good(&shared);
    assert_eq!(
        config.policies.get(&name("a")),
        config.policies.get(&name("b"))
    );

    let mut bomb = format!("{MINIMAL}x0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..20 {
        let inner = format!("*x{}", level - 1);
        bomb += &format!("x{level}: &x{level} [{}]\n", vec![inner; 9].join(", "));
    }
    assert_eq!(
        errors(&bomb, &ALL),
        ["line 10: aliases stand for more than 100000 values; write them out"]
    );
    assert_eq!(
        errors("a: &a [*a]\n", &ALL),
        ["line 1: this alias stands inside of what it names"]
    );
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{a: ", "- ", "? "] {
        let errors = errors(&open.repeat(100_000), &ALL);
        assert_eq!(errors.len(), 1, "{open}: {errors:?}");
    }
}

#[test]
fn no_message_shows_a_secret() {
    let text = "version: ${SECRET}\naddress: ${SECRET}\nadmin: {identity: '${SECRET}'}\n\
        tls: {key: k, cert: c, password: [hunter2], auth: '${SECRET}'}\n\
        cache: {expiry: {any: '${SECRET}'}}\nlog: {error: '${SECRET}'}\n\
        keys: [{name: '${SECRET}'}]\napi: {/v1/ready: {skip_auth: '${SECRET}'}}\n\
        keystore: {vault: {endpoint: '${SECRET}', version: '${SECRET}', namespace: hunter2 hunter2, \
        approle: {secret: hunter2}, kubernetes: {jwt: [hunter2]}, transit: {key: hunter2/}}}\n\
        seal: {recipients: ['${SECRET}'], unseal: {vault: {endpoint: '${SECRET}', identity: '${SECRET}', \
        approle: {secret: hunter2}, transit: {key: hunter2/}}}}\n";
    let errors = errors(text, &ALL);
    assert_eq!(errors.len(), 18, "{errors:#?}");
    assert!(
        !errors.iter().any(|error| error.contains("hunter2")),
        "{errors:#?}"
    );
}

/// 10,000 policies with 100 rules each. The bound is wide: it is to catch a quadratic step,
/// which would take hours.
#[test]
fn a_hundred_thousand_rules_are_read() {
    let mut text = format!("{MINIMAL}policy:\n");
    for policy in 0..1_000 {
        text += &format!("  policy-{policy}:\n    identities: [{policy:064x}]\n    allow:\n");
        for rule in 0..100 {
            text += &format!("    - /v1/key/generate/app-{policy}-{rule}*\n");
        }
    }
    let (config, _) = good(&text);
    assert_eq!(config.policies.len(), 1_000);
    assert!(
        config
            .policies
            .values()
            .all(|policy| policy.allow.len() == 100)
    );
}
