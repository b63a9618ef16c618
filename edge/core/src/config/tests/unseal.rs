//! The section `seal.unseal` where nothing is wrong with it.

use super::*;
use crate::store::vault::{Access, Credentials, Jwt, Login, Transit};

fn config(keystore: &str, unseal: &str) -> Config {
    let rest = MINIMAL.replace("{mem: {}}", keystore);
    let seal = "seal:\n  recipients: ['${RECIPIENT}']\n  unseal:\n";
    let (config, warnings) = good(&format!("{rest}{seal}{unseal}"));
    assert_eq!(warnings, [""; 0]);
    config
}

fn unseal(config: &Config) -> &Unseal {
    &config.seal.as_ref().unwrap().unseal
}

fn unwrapping(config: &Config) -> &Unwrapping {
    let Unseal::Vault(unwrapping) = unseal(config) else {
        panic!("another source");
    };
    unwrapping
}

const VAULT: &str = "{vault: {endpoint: 'https://store', kubernetes: {role: r, jwt: /run/store}}}";

const SMALLEST: &str = "    vault:\n      \
    endpoint: https://kms\n      \
    approle: {id: i, secret: s}\n      \
    transit: {key: k}\n      \
    identity: ' vault:v1:abc '\n";

const FULL: &str = "    vault:\n      \
    endpoint: https://kms.example.com:8200/proxied/\n      \
    namespace: /org/team/\n      \
    approle:\n      \
    kubernetes: {engine: k8s, role: r, jwt: /run/kms}\n      \
    transit: {engine: team/transit, key: k}\n      \
    tls: {ca: /etc/ca}\n      \
    identity:\n      \
    identity_file: /etc/wrapped\n";

#[test]
fn the_smallest_vault_has_the_documented_defaults() {
    let config = config("{mem: {}}", SMALLEST);
    let expected = Unwrapping {
        access: Access::by_role("https://kms:443", "i", "s"),
        transit: Transit {
            engine: "transit".into(),
            key: "k".into(),
        },
        wrapped: Wrapped::Text("vault:v1:abc".into()),
    };
    assert!(*unwrapping(&config) == expected);
    assert_eq!(config.files(), []);
}

#[test]
fn a_full_vault_is_read_whole() {
    let config = config("{mem: {}}", FULL);
    let expected = Unwrapping {
        access: Access {
            destination: 0,
            server: Destination {
                origin: "https://kms.example.com:8200".into(),
                authorities: Some("/etc/ca".into()),
                certificate: None,
            },
            base: "/proxied".into(),
            namespace: Some("org/team".into()),
            login: Login {
                engine: "k8s".into(),
                namespace: Some("org/team".into()),
                credentials: Credentials::Kubernetes {
                    role: "r".into(),
                    jwt: Jwt::File("/run/kms".into()),
                },
            },
        },
        transit: Transit {
            engine: "team/transit".into(),
            key: "k".into(),
        },
        wrapped: Wrapped::File("/etc/wrapped".into()),
    };
    assert!(*unwrapping(&config) == expected);
}

#[test]
fn what_unseals_comes_after_the_key_store() {
    for (keystore, place) in [("{fs: {path: p}}", 0), (VAULT, 1)] {
        let config = config(keystore, FULL);
        let access = &unwrapping(&config).access;
        assert_eq!(access.destination, place);
        let destinations = config.destinations();
        assert_eq!(destinations.len(), place + 1);
        assert!(destinations.get(place) == Some(&access.server));
    }
}

#[test]
fn files_are_those_of_the_key_store_and_of_what_unseals() {
    let files = |unseal| config(VAULT, unseal).files();
    let file = |path: &str, is_private| File {
        path: path.into(),
        is_private,
    };
    let (store, token) = (file("/run/store", false), file("/run/kms", false));
    let wrapped = file("/etc/wrapped", false);
    assert_eq!(files(SMALLEST), std::slice::from_ref(&store));
    assert_eq!(files(FULL), [store.clone(), token, wrapped]);
    assert_eq!(files("    file: f\n"), [store, file("f", true)]);
}

#[test]
fn a_reload_sees_that_the_identity_comes_from_elsewhere() {
    let read = |unseal: &str| config("{mem: {}}", unseal);
    let one = read(SMALLEST);
    assert!(unseal(&one) == unseal(&read(SMALLEST)));
    for (from, to) in [
        ("abc", "abd"),
        ("secret: s", "secret: t"),
        ("key: k", "key: l"),
    ] {
        let other = read(&SMALLEST.replace(from, to));
        assert!(unseal(&one) != unseal(&other), "{to}");
    }
    assert!(unseal(&one) != unseal(&read("    file: f\n")));
}

#[test]
fn a_platform_without_memory_refuses_it_by_name() {
    let text = "version: v1\nadmin: {identity: disabled}\nkeystore: {mem: {}}\nauth: {signatures: off}\n\
         seal:\n  recipients: ['${RECIPIENT}']\n  unseal:\n    \
         vault: {endpoint: 'https://kms', identty: a, tls: {c: d}}\n";
    assert_eq!(
        errors(text, &EDGE),
        [
            "line 8: seal.unseal.vault.identty: unknown field `identty`; did you mean `identity`?",
            "line 8: seal.unseal.vault: auto-unseal needs a platform that keeps memory between requests; \
             use `identity` with `${NAME}` of a secret",
            "line 8: seal.unseal.vault.tls.c: unknown field `c`; did you mean `ca`?",
        ]
    );
}
