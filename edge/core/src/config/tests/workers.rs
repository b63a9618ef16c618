//! What a configuration may say on Cloudflare Workers.

use super::*;

const REST: &str =
    "version: v1\nadmin: {identity: disabled}\nauth: {authorities: [kms.example.com]}\n";
const OBJECTS: &str = "keystore: {cloudflare: {durableobjects: {}}}\n";
const SEAL: &str = "seal: {recipients: ['${RECIPIENT}'], unseal: {identity: '${IDENTITY}'}}\n";

fn of_workers(text: &str) -> Result<Parsed, Vec<String>> {
    parse_for_workers(text, &variable)
        .map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

fn refused(text: &str) -> Vec<String> {
    of_workers(text)
        .err()
        .unwrap_or_else(|| panic!("accepted:\n{text}"))
}

#[test]
fn keys_are_in_durable_objects_and_sealed() {
    let Ok(parsed) = of_workers(&format!("{REST}{OBJECTS}{SEAL}")) else {
        panic!("refused")
    };
    assert!(parsed.config.keystore == Keystore::DurableObjects);
    assert_eq!(parsed.warnings, []);
    assert_eq!(
        refused(&format!("{REST}{OBJECTS}")),
        [
            "seal: keys that the platform keeps have to be sealed: write `recipients`, and `unseal.identity` with \
             `${NAME}` of a secret (`sealedge seal new`)"
        ]
    );
}

#[test]
fn no_other_platform_has_them() {
    assert_eq!(
        errors(&MINIMAL.replace("keystore: {mem: {}}\n", OBJECTS), &ALL).len(),
        1
    );
    let keystore = "keystore: {cloudflare: {durableobject: {}}}\n";
    let text = MINIMAL.replace("keystore: {mem: {}}\n", keystore);
    let errors = errors(&text, &ALL);
    assert!(
        errors[0].contains("did you mean `durableobjects`?"),
        "{errors:?}"
    );
}

#[test]
fn files_are_refused_by_the_field() {
    let no_files = |line, field| {
        format!(
            "line {line}: {field}: this platform has no files: remove this, or write what would be in the file \
             as `${{NAME}}` of a secret where that is taken"
        )
    };
    let vault = "keystore:\n  vault:\n    endpoint: https://vault\n    \
                 kubernetes: {role: r, jwt: /var/run/token}\n    \
                 tls:\n      ca: ca.pem\n      cert: c.pem\n      key: k.pem\n";
    assert_eq!(
        refused(&format!("{REST}{vault}")),
        [
            no_files(7, "keystore.vault.kubernetes.jwt"),
            no_files(9, "keystore.vault.tls.ca"),
            no_files(10, "keystore.vault.tls.cert"),
            no_files(11, "keystore.vault.tls.key"),
        ]
    );
    let seal = SEAL.replace("identity: '${IDENTITY}'", "file: node.identity");
    assert_eq!(
        refused(&format!("{REST}{OBJECTS}{seal}")),
        [no_files(5, "seal.unseal.file")]
    );
}

#[test]
fn without_seal_what_offline_promises_is_brief() {
    let vault = "keystore: {vault: {endpoint: 'https://vault', approle: {id: i, secret: s}}}\n";
    let warned = |text: &str| {
        let Ok(parsed) = of_workers(text) else {
            panic!("refused")
        };
        let warnings = parsed.warnings.iter();
        warnings.map(Problem::to_string).collect::<Vec<_>>()
    };
    let offline = "cache: {expiry: {offline: 1h}}\n";
    assert_eq!(
        warned(&format!("{REST}{vault}{offline}")),
        [
            "line 5: cache.expiry.offline: without `seal` no sealed copies of keys are kept, so this lasts only \
             as long as the platform keeps an instance in memory"
        ]
    );
    let none: [&str; 0] = [];
    assert_eq!(warned(&format!("{REST}{vault}{offline}{SEAL}")), none);
    assert_eq!(warned(&format!("{REST}{vault}")), none);
    assert_eq!(warned(&format!("{REST}{OBJECTS}{SEAL}{offline}")), none);
    // Where memory lasts nothing is said.
    let text = MINIMAL.replace("keystore: {mem: {}}\n", vault) + offline;
    let Ok(parsed) = parse(&text, &variable, &ALL) else {
        panic!("refused")
    };
    assert!(
        parsed
            .warnings
            .iter()
            .all(|it| !it.field.starts_with("cache"))
    );
}

#[test]
fn what_it_has_otherwise_is_refused_by_the_field() {
    let text = format!(
        "{}{SEAL}keystore: {{fs: {{path: keys}}}}\ntls: {{key: k, auth: on}}\n",
        REST.replace("[kms.example.com]", "[]")
    );
    assert_eq!(
        refused(&text),
        [
            "auth.authorities: no authorities; write the names by which clients reach this server, such as \
             `kms.example.com`, or turn `auth.signatures` off",
            "line 5: keystore.fs: this key store is not supported on this platform; use \
             `cloudflare.durableobjects`, `vault`",
            "line 6: tls.key: this platform brings its own TLS; remove this field",
            "line 6: tls.ca: write the certificates of the authorities that issue those of clients, in PEM, \
             such as `${CLIENT_CA}`",
        ]
    );
}

#[test]
fn what_cloudflare_tells_of_clients_is_believed_if_that_is_on() {
    for (tls, believes) in [
        ("", false),
        ("tls: {cloudflare: off}\n", false),
        ("tls: {cloudflare: on}\n", true),
    ] {
        let Ok(parsed) = of_workers(&format!("{REST}{OBJECTS}{SEAL}{tls}")) else {
            panic!("refused: {tls}")
        };
        assert_eq!(parsed.config.tls.cloudflare, believes);
    }
    let text = MINIMAL.replace("cert: c", "cert: c, cloudflare: on");
    assert_ne!(text, MINIMAL);
    assert_eq!(
        errors(&text, &ALL),
        ["line 3: tls.cloudflare: only Cloudflare Workers have this; remove this field"]
    );
}
