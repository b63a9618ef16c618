//! What a configuration may say on Spin.

use super::*;

const REST: &str =
    "version: v1\nadmin: {identity: disabled}\nauth: {authorities: [kms.example.com]}\n";
const SEAL: &str = "seal: {recipients: ['${RECIPIENT}'], unseal: {identity: '${IDENTITY}'}}\n";

fn of_spin(text: &str) -> Result<Parsed, Vec<String>> {
    parse_for_spin(text, &variable)
        .map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

#[test]
fn keys_are_in_its_key_value_store_and_sealed() {
    for (store, atomics) in [
        ("{}", true),
        ("{atomics: on}", true),
        ("{atomics: off}", false),
    ] {
        let keystore = format!("keystore: {{spin: {{keyvalue: {store}}}}}\n");
        let Ok(parsed) = of_spin(&format!("{REST}{keystore}{SEAL}")) else {
            panic!("refused: {store}")
        };
        assert!(parsed.config.keystore == Keystore::SpinKeyValue { atomics });
        assert_eq!(parsed.warnings, []);
        let refused = of_spin(&format!("{REST}{keystore}")).err().unwrap();
        assert!(refused[0].starts_with("seal: keys that the platform keeps have to be sealed"));
    }
}

#[test]
fn what_the_platform_lacks_is_refused_by_the_field() {
    for (more, fields) in [
        ("keystore: {fs: {path: /keys}}\n", &["keystore.fs:"][..]),
        ("keystore: {mem: {}}\n", &["keystore.mem:"]),
        (
            "keystore: {cloudflare: {durableobjects: {}}}\n",
            &["keystore.cloudflare.durableobjects:"],
        ),
        (
            "keystore: {spin: {keyvalue: {path: x}}}\n",
            &["keystore.spin.keyvalue.path:"],
        ),
        (
            "keystore: {spin: {keyvalue: {}}}\ntls: {key: a, cert: b, cloudflare: on}\n",
            &["tls.key:", "tls.cert:", "tls.cloudflare:"],
        ),
    ] {
        let refused = of_spin(&format!("{REST}{SEAL}{more}")).err().unwrap();
        for field in fields {
            assert!(
                refused.iter().any(|it| it.contains(field)),
                "{field} {refused:?}"
            );
        }
    }
}

#[test]
fn no_other_platform_has_it() {
    let keystore = "keystore: {spin: {keyvalue: {}}}\n";
    let errors = errors(&MINIMAL.replace("keystore: {mem: {}}\n", keystore), &ALL);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("keystore.spin.keyvalue"), "{errors:?}");
}
