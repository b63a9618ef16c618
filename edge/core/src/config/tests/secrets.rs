//! A secret in a wrong place of the configuration is said by none of its problems.

use super::*;
use crate::seal::Recipient;

const API_KEY: &str = "kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc";

/// Places, `@` in each: of a name, a variable or a value.
const PLACES: [&str; 30] = [
    "@: 1",
    "address: @",
    "log: {error: @}",
    "keys: [{name: @}]",
    "policy: {@: {allow: [a, b], identities: [x]}}",
    "policy: {@: {allow: 1}}",
    "policy: {p: {allow: [@], identities: [@]}}",
    "api: {@: {timeout: 1s}}",
    "api: {/v1/ready: {timeout: @}}",
    "cache: {expiry: {any: @}}",
    "tls: {key: k, cert: @}",
    "tls: {key: ${@}, cert: c}",
    "tls: {key: k, cert: c, proxy: {identities: [@], header: {cert: @}}}",
    "admin: {identity: @}",
    "version: @",
    "keystore: @",
    "keystore: {@: {}}",
    "keystore: {fs: {path: @}}",
    "keystore: {fs: {path: ${@}}}",
    "keystore: {vault: {endpoint: @, approle: {id: i, secret: s}}}",
    "keystore: {vault: {endpoint: 'https://v', approle: {id: i, secret: s, @: 1}, @: 2}}",
    "keystore: {vault: {endpoint: 'https://v', version: @, approle: {@: i, secret: s}}}",
    "keystore: {vault: {endpoint: 'https://v', kubernetes: {role: r, jwt: @}, tls: {ca: @}}}",
    "seal: {@: 1}",
    "seal: {recipients: [@], signers: [@], unseal: {file: f}}",
    "seal: {recipients: ['${RECIPIENT}'], unseal: {file: @}}",
    "seal: {recipients: ['${RECIPIENT}'], unseal: {@: 1}}",
    "seal: {recipients: ['${RECIPIENT}'], unseal: {file: ${@}}}",
    "seal: {recipients: ['${RECIPIENT}'], unseal: @, accept_unsealed: @}",
    "seal: {recipients: [], unseal: {vault: {endpoint: @, @: 1, identity: @, identity_file: @}}}",
];

/// A place among the sections of the smallest configuration.
fn around(place: &str) -> String {
    let section = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let others = MINIMAL
        .lines()
        .filter(|line| section(line) != section(place));
    let others: Vec<&str> = others.collect();
    format!("{}\n{place}\n", others.join("\n"))
}

#[test]
fn nothing_that_is_said_of_a_configuration_has_a_secret() {
    let identity = node().text().to_owned();
    let mut hidden = 0;
    for secret in [
        identity.clone(),
        identity.to_lowercase(),
        API_KEY.to_owned(),
    ] {
        let bare = secret.get(20..).unwrap();
        for written in [
            secret.clone(),
            format!("'{secret}"),
            format!(" {secret} "),
            format!("/etc/{secret}"),
            format!("file://{secret}"),
            format!("identity: {secret}"),
            format!("\u{feff}{secret}\n"),
        ] {
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            for place in PLACES {
                let text = around(place)
                    .replace("${@}", &quoted(&format!("${{{written}}}")))
                    .replace('@', &quoted(&written));
                let said = match read(&text, &ALL) {
                    Ok((_, warnings)) => warnings,
                    Err(errors) => errors,
                };
                for line in said {
                    assert!(!line.contains(bare), "{place} {written}\n{line}");
                    hidden += usize::from(line.contains("***"));
                }
            }
        }
    }
    assert!(hidden > 200, "{hidden}");
}

#[test]
fn no_path_is_a_secret_or_would_break_a_message() {
    let identity = node();
    let long = "a".repeat(4097);
    for (path, why) in [
        (identity.text(), "looks like a secret"),
        (API_KEY, "looks like a secret"),
        ("a\\nb", "control characters"),
        ("a\\e[2Jb", "control characters"),
        (&long, "4096 bytes"),
    ] {
        for place in [
            "keystore: {fs: {path: \"@\"}}",
            "tls: {key: \"@\", cert: c}",
            "tls: {key: k, cert: \"@\"}",
            "tls: {key: k, cert: c, ca: \"@\"}",
            "seal: {recipients: ['${RECIPIENT}'], unseal: {file: \"@\"}}",
            "keystore: {vault: {endpoint: 'https://v', kubernetes: {role: r, jwt: \"/@\"}}}",
        ] {
            let found = errors(&around(place).replace('@', path), &ALL);
            let [error] = &found[..] else {
                panic!("{found:?}")
            };
            assert!(error.contains(why), "{error}");
        }
    }
}

fn recipients(count: u32) -> String {
    let recipient = |number: u32| -> Recipient {
        let seed = number.to_be_bytes();
        let identity = NodeIdentity::generate(&mut |bytes| {
            for (to, from) in bytes.iter_mut().zip(seed.iter().cycle()) {
                *to = *from;
            }
        });
        identity.recipient().clone()
    };
    let texts = (1..=count).map(|number| recipient(number).to_string());
    texts.collect::<Vec<_>>().join(", ")
}

#[test]
fn there_may_be_more_signers_than_recipients() {
    let config = |recipients: &str, signers: &str| {
        let lists = format!("recipients: [{recipients}], signers: [{signers}]");
        format!("{MINIMAL}seal: {{{lists}, unseal: {{file: f}}}}\n")
    };
    let (one, most, many) = (recipients(1), recipients(64), recipients(65));
    let (read, _) = good(&config(&most, &many));
    assert_eq!(read.seal.unwrap().signers.len(), 65);
    assert_eq!(
        errors(&config(&many, &one), &ALL),
        ["line 5: seal.recipients: a record has at most 64 recipients"]
    );
    assert_eq!(
        errors(&config(&one, &vec!["x"; 1025].join(", ")), &ALL),
        ["line 5: seal.signers: at most 1024 signers can be listed"]
    );
}

#[test]
fn no_path_in_vault_is_too_long_for_a_url() {
    let (long, longer) = ("a".repeat(512), "a".repeat(513));
    for field in [
        "engine: @",
        "prefix: @",
        "transit: {key: @}",
        "transit: {key: k, engine: @}",
    ] {
        let login = "endpoint: 'https://v', approle: {id: i, secret: s}";
        let place = format!("keystore: {{vault: {{{login}, {field}}}}}");
        good(&around(&place).replace('@', &long));
        assert_eq!(errors(&around(&place).replace('@', &longer), &ALL).len(), 1);
    }
}

#[test]
fn no_name_is_an_identity() {
    let identity = node();
    for place in ["keys: [{name: @}]", "policy: {@: {}}"] {
        let found = errors(&around(place).replace('@', identity.text()), &ALL);
        let [error] = &found[..] else {
            panic!("{found:?}")
        };
        assert!(error.contains("this is a node's identity"), "{error}");
    }
}
