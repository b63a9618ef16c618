//! How a configuration is summed up for the operator.

use super::*;

#[test]
fn what_protects_the_values_is_in_one_line() {
    let vault = "vault: {endpoint: 'https://kms:8200/base', engine: team/kv, version: v2, prefix: p, \
                 namespace: org, approle: {id: i, secret: hunter2}";
    let seal = "seal: {recipients: [\"${RECIPIENT}\"], unseal: {identity: \"${IDENTITY}\"}";
    for (keystore, seal, values) in [
        (
            "mem: {}",
            String::new(),
            "not sealed: whoever reads the key store has the keys",
        ),
        ("mem: {}", format!("{seal}}}"), "sealed"),
        (
            "mem: {}",
            format!("{seal}, accept_unsealed: on}}"),
            "sealed; those that are not sealed are read too",
        ),
        (
            &format!("{vault}, transit: {{key: k}}}}"),
            String::new(),
            "encrypted by transit key k, not sealed",
        ),
        (
            &format!("{vault}, transit: {{key: k}}}}"),
            format!("{seal}}}"),
            "sealed, then encrypted by transit key k",
        ),
    ] {
        let yaml = format!(
            "version: v1\nadmin: {{identity: disabled}}\ntls: {{key: k, cert: c}}\n\
             keystore: {{{keystore}}}\n{seal}\n"
        );
        let parsed = parse(&yaml, &variable, &ALL);
        let config = parsed.unwrap_or_else(|it| panic!("{it:?}")).config;
        assert_eq!(config.values(), values);
        if let Keystore::Vault(settings) = &config.keystore {
            assert_eq!(
                settings.to_string(),
                "https://kms:8200/base, engine team/kv (v2), prefix p, namespace org, transit key transit/k"
            );
        }
    }
}
