//! The section `keystore.vault` where nothing is wrong with it.

use super::*;
use crate::outgoing::{ClientCertificate, Destination};
use crate::store::vault::{Access, Credentials, EngineVersion, Jwt, Login, Settings, Transit};

fn vault(yaml: &str) -> Keystore {
    let rest = MINIMAL.replace("keystore: {mem: {}}\n", "");
    let (config, warnings) = good(&format!("{rest}keystore:\n  vault:\n{yaml}"));
    assert_eq!(warnings, [""; 0]);
    config.keystore
}

fn access() -> Access {
    Access::by_role("https://vault:443", "i", "s")
}

fn smallest() -> Settings {
    Settings {
        access: access(),
        engine: "kv".into(),
        version: EngineVersion::V1,
        prefix: String::new(),
        transit: None,
    }
}

#[test]
fn the_smallest_section_has_the_documented_defaults() {
    let keystore = vault("    endpoint: https://vault\n    approle: {id: i, secret: s}\n");
    assert!(keystore == Keystore::Vault(Box::new(smallest())));
    assert!(keystore.destinations() == [access().server]);
}

#[test]
fn a_full_section_is_read_whole() {
    let keystore = vault(
        "    endpoint: https://vault.example.com:8200/proxied/\n    \
             engine: /team/kv/\n    \
             version: v2\n    \
             namespace: /org/team/\n    \
             prefix: kes//keys\n    \
             transit: {engine: team/transit, key: k}\n    \
             approle:\n    \
             kubernetes: {engine: k8s, namespace: /, role: r, jwt: /run/token}\n    \
             tls: {key: k.pem, cert: c.pem, ca: /etc/ca}\n    \
             status:\n",
    );
    let expected = Settings {
        access: Access {
            destination: 0,
            server: Destination {
                origin: "https://vault.example.com:8200".into(),
                authorities: Some("/etc/ca".into()),
                certificate: Some(ClientCertificate {
                    certificate: "c.pem".into(),
                    key: "k.pem".into(),
                }),
            },
            base: "/proxied".into(),
            namespace: Some("org/team".into()),
            login: Login {
                engine: "k8s".into(),
                namespace: None,
                credentials: Credentials::Kubernetes {
                    role: "r".into(),
                    jwt: Jwt::File("/run/token".into()),
                },
            },
        },
        engine: "team/kv".into(),
        version: EngineVersion::V2,
        prefix: "kes/keys".into(),
        transit: Some(Transit {
            engine: "team/transit".into(),
            key: "k".into(),
        }),
    };
    assert!(keystore == Keystore::Vault(Box::new(expected)));
}

#[test]
fn a_login_is_in_the_namespace_of_the_store_unless_it_has_its_own() {
    for (own, expected) in [
        ("", Some("team")),
        (", namespace: ''", Some("team")),
        (", namespace: other/", Some("other")),
        (", namespace: /", None),
    ] {
        let keystore = vault(&format!(
            "    endpoint: https://vault\n    namespace: team\n    \
                 kubernetes: {{role: r, jwt: j{own}}}\n"
        ));
        let Keystore::Vault(settings) = keystore else {
            panic!("another store");
        };
        assert_eq!(settings.access.namespace.as_deref(), Some("team"));
        assert_eq!(
            settings.access.login.namespace.as_deref(),
            expected,
            "{own}"
        );
    }
}

#[test]
fn a_reload_sees_that_a_secret_is_another_one() {
    let with = |secret: &str| {
        vault(&format!(
            "    endpoint: https://vault\n    approle: {{id: i, secret: {secret}}}\n"
        ))
    };
    assert!(with("s") == with("s"));
    assert!(with("s") != with("t"));
}
