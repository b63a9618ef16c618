//! What holds for any text.

use proptest::prelude::*;

use super::*;

/// What the sample does not have.
const SEAL: &str = "seal:
  recipients: ['${RECIPIENT}']
  unseal:
    vault:
      endpoint: https://kms
      kubernetes: {role: r, jwt: j}
      transit: {key: k}
      identity: vault:v1:abc
";

/// Text made of what YAML and this configuration are made of.
fn pieces() -> impl Strategy<Value = String> {
    let words = [
        "version",
        "v1",
        "tls",
        "key",
        "cert",
        "policy",
        "allow",
        "identities",
        "api",
        "keystore",
        "fs",
        "path",
        "cache",
        "expiry",
        "any",
        ": ",
        ":",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "? ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "!t ",
        "!!str ",
        "|",
        ">",
        "|2-",
        "'",
        "\"",
        "\\",
        "#",
        "${APP}",
        "${",
        "}",
        "~",
        "---",
        "...",
        "%YAML 1.2",
        "\t",
        "\u{feff}",
        "\u{85}",
        "ä",
        "\0",
        "<<",
        "0",
        "\r",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.concat())
}

/// A configuration, or at least one error; every problem is on a line of the text.
fn check(text: &str) -> Result<(), TestCaseError> {
    let problems = match parse(text, &variable, &ALL) {
        Ok(Parsed { warnings, .. }) => warnings,
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            errors
        }
    };
    let lines = 1 + text.matches(['\n', '\r']).count();
    for problem in problems {
        prop_assert!(
            problem.line.is_none_or(|line| (1..=lines).contains(&line)),
            "{problem}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_read_or_refused_with_a_reason(text in prop_oneof![any::<String>(), pieces()]) {
        check(&text)?;
    }

    #[test]
    fn a_mutated_configuration_is_read_or_refused_with_a_reason(
        at: prop::sample::Index,
        removed in 0..30_usize,
        inserted in prop_oneof![Just(String::new()), pieces(), any::<char>().prop_map(String::from)],
    ) {
        let mut characters: Vec<char> = SAMPLE.chars().chain(SEAL.chars()).collect();
        let start = at.index(characters.len());
        let end = characters.len().min(start + removed);
        characters.splice(start..end, inserted.chars());
        let text: String = characters.into_iter().collect();
        check(&text)?;
    }

    /// Whatever is wrong is found where it is.
    #[test]
    fn an_unknown_field_is_named_with_its_line(before in 0..50_usize, field in "zz[a-z]{8,20}") {
        let text = format!("{}{field}: 1\n{MINIMAL}", "# a comment\n".repeat(before));
        let errors = errors(&text, &ALL);
        prop_assert_eq!(errors.len(), 1);
        let expected = format!("line {}: {field}: unknown field `{field}`; ", before + 1);
        prop_assert!(errors[0].starts_with(&expected), "{}", errors[0]);
    }
}
