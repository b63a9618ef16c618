use proptest::prelude::*;

use super::*;
use crate::seal::NodeIdentity;

const KEY: &str = "kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc";

fn identity() -> String {
    let identity = NodeIdentity::generate(&mut |bytes| bytes.fill(1));
    identity.text().to_owned()
}

#[test]
fn an_identity_and_an_api_key_are_hidden_wherever_they_stand() {
    let base64 = STANDARD_NO_PAD.encode(identity());
    let small = STANDARD_NO_PAD.encode(identity().to_lowercase());
    let escaped = utf8_percent_encode(KEY, NON_ALPHANUMERIC).to_string();
    for (secret, shown) in [
        (identity(), IDENTITY),
        (identity().to_lowercase(), IDENTITY),
        // One that is mistyped or cut off is secret all the same.
        ("Sealedge-Identity-1QBI".to_owned(), IDENTITY),
        (base64, IDENTITY),
        (small, IDENTITY),
        (KEY.to_owned(), API_KEY),
        (KEY.to_uppercase(), API_KEY),
        (escaped, API_KEY),
    ] {
        for (before, after) in [
            ("", ""),
            ("`", "`"),
            ("'", "' found"),
            (" ", ""),
            ("\u{feff}", ""),
            ("/etc/", ": No such file"),
            ("file://", ""),
            ("line 1: seal.", ": unknown field"),
            ("identity: ", "\n"),
            ("\u{1b}[33m", "\u{1b}[0m"),
            ("\u{e4}", " \u{e4}"),
        ] {
            let text = format!("{before}{secret}{after}");
            let expected = format!("{before}{shown}{after}");
            assert_eq!(conceal(&text), expected);
            assert!(has_secret(&text));
            assert_eq!(conceal(&expected), expected, "once more");
        }
    }
    let two = format!("{} and {KEY}", identity());
    assert_eq!(conceal(&two), format!("{IDENTITY} and {API_KEY}"));
}

#[test]
fn what_only_speaks_of_secrets_is_shown() {
    for text in [
        "",
        "an identity begins with `SEALEDGE-IDENTITY-1`",
        "`SEALEDGE-IDENTITY-1\u{2026}`, is needed here",
        "SEALEDGE-IDENTITY-***",
        "kes:v1:***, kes:v1:",
        "sealedge1q, SEALEDGE-IDENTITY",
    ] {
        assert_eq!(conceal(text), text);
        assert!(!has_secret(text), "{text}");
    }
}

/// A text is looked at once: otherwise this would take minutes.
#[test]
fn long_texts_take_their_length() {
    for text in ["a", "k", "s", "kes:v1:", "SEALEDGE-IDENTITY-", "kes:v1:a "] {
        let long = text.repeat((1 << 18) / text.len());
        assert_eq!(has_secret(&long), text.contains("v1:"), "{text}");
        assert!(!has_secret(&conceal(&long)), "{text}");
    }
}

fn of(secret: &str) -> Secrets {
    let mut secrets = Secrets::default();
    secrets.add(secret);
    secrets
}

#[test]
fn a_secret_of_a_request_is_hidden_in_what_is_said_of_it() {
    let secret = "hvs.CAES\"IJab\\cdef/ghijkl";
    for said in [
        secret.to_owned(),
        serde_json::to_string(secret).unwrap(),
        STANDARD_NO_PAD.encode(secret),
        utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
        secret.get(3..20).unwrap().to_owned(),
    ] {
        let shown = of(secret).hide(&format!("bad request: <{said}>, sorry"));
        assert!(shown.starts_with("bad request: <"), "{shown}");
        assert!(shown.ends_with(">, sorry"), "{shown}");
        assert!(shown.contains(HIDDEN) && shown.len() < 40, "{shown}");
    }
    assert_eq!(of("word").hide("a word, and words"), "a ***, and ***s");
    // Nothing is left of a text that hides what three letters hide.
    assert_eq!(of("err").hide("an error"), "an error");
    assert_eq!(of("secretsecret").hide("a secret"), "a secret");
}

#[test]
fn what_is_said_is_one_short_line() {
    assert_eq!(shown(" a\r\n b\t\u{1b}[2Jc "), "a b [2Jc");
    assert_eq!(shown(&"\u{e4}".repeat(200)), "\u{e4}".repeat(200));
    assert_eq!(
        shown(&"\u{e4}".repeat(201)),
        format!("{}...", "\u{e4}".repeat(200))
    );
}

/// No part of a secret that gives it away.
fn tells_nothing(shown: &str, secret: &str) -> bool {
    let ends = secret.char_indices().map(|(at, _)| at);
    let ends: Vec<usize> = ends.chain([secret.len()]).collect();
    let width = TELLING.min(ends.len() - 1);
    ends.windows(width + 1)
        .all(|window| !shown.contains(secret.get(window[0]..window[width]).unwrap()))
}

proptest! {
    #[test]
    fn nothing_of_an_identity_is_left(before in ".{0,20}", body in "[a-zA-Z0-9]{1,80}", after in ".{0,20}") {
        let secret = format!("SEALEDGE-IDENTITY-1{body}");
        let text = format!("{before}{secret}{after}");
        prop_assert!(!conceal(&text).contains(&secret));
        prop_assert!(!has_secret(&conceal(&text)));
    }

    #[test]
    fn any_text_is_shown(text in ".{0,60}|(?i:kes:v1:|SEALEDGE-IDENTITY-1|[ a-c*]){0,9}") {
        let shown = conceal(&text);
        prop_assert!(!has_secret(&shown), "{shown}");
        if !has_secret(&text) {
            prop_assert_eq!(&shown, &text);
        }
    }

    #[test]
    fn no_secret_of_a_request_shows(
        secret in "[!-)+-~ \u{e4}\u{1f600}\n]{4,60}",
        before in ".{0,30}",
        after in ".{0,30}",
        cut in 0_usize..60,
        way in 0..5,
    ) {
        let around = format!("{before}{secret}{after}");
        let said = match way {
            0 => around,
            1 => serde_json::to_string(&around).unwrap(),
            2 => STANDARD_NO_PAD.encode(&around),
            3 => utf8_percent_encode(&around, NON_ALPHANUMERIC).to_string(),
            // A part of it.
            _ => around.chars().skip(cut).collect(),
        };
        let hidden = of(&secret).hide(&shown(&said));
        for form in forms(&secret) {
            // What is shown of several spaces is one.
            prop_assert!(tells_nothing(&hidden, &form) || form.contains("  "), "{hidden:?} {:?}", *form);
        }
    }

    #[test]
    fn what_has_no_secret_stays(secret in "[a-f]{4,60}", text in "[g-zG-Z .:]{0,80}") {
        prop_assert_eq!(of(&secret).hide(&text), text);
    }
}
