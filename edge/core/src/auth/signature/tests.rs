//! Vectors of RFC 9421, and every way in which a signature proves nothing.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::api_key::ApiKey;
use crate::auth::BadHeader;
use crate::crypto::RustCrypto;

const NOW: u64 = 1_700_000_000;
const WINDOW: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

fn message() -> Message<'static> {
    Message {
        method: "POST",
        authority: "kms.example.com",
        path: "/v1/key/decrypt/my%20key",
        query: None,
    }
}

fn signer() -> Signer {
    Signer::new(ApiKey::from_seed(&[7; 32]))
}

fn signed(message: &Message<'_>, body: &[u8]) -> Presented {
    let headers = signer().headers(message, body, [9; 16], at(NOW));
    Presented {
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .collect(),
        ..Presented::default()
    }
}

fn verified(message: &Message<'_>, presented: &Presented) -> Result<Signed, SignatureError> {
    verified_at(NOW, message, presented)
}

fn verified_at(
    seconds: u64,
    message: &Message<'_>,
    presented: &Presented,
) -> Result<Signed, SignatureError> {
    let is_genuine = async |key: &PublicKey, message: &[u8], signature: &[u8]| {
        key.verifies(&RustCrypto, message, signature)
    };
    let key = PublicKey::from_key_id;
    let verified = pin!(verify(
        is_genuine,
        key,
        message,
        presented,
        WINDOW,
        at(seconds)
    ));
    match verified.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verified) => verified,
        Poll::Pending => panic!("it waits"),
    }
}

/// A header, changed.
fn with(presented: &Presented, name: &str, change: impl Fn(&str) -> String) -> Presented {
    let mut presented = presented.clone();
    for (_, value) in presented.headers.iter_mut().filter(|it| it.0 == name) {
        *value = change(std::str::from_utf8(value).unwrap()).into_bytes();
    }
    presented
}

#[test]
fn what_is_signed_is_genuine() {
    let body = b"{\"ciphertext\":\"AAAA\"}";
    let signed_request = verified(&message(), &signed(&message(), body)).unwrap();
    assert_eq!(signed_request.identity, signer().identity());
    assert_eq!(signed_request.lives.until, at(NOW + 60));
    assert!(signed_request.digest.unwrap().is_of(body));
    let empty = verified(&message(), &signed(&message(), b"")).unwrap();
    assert_eq!((empty.digest, empty.certificates.len()), (None, 0));
    let query = Message {
        query: Some("a=b&c"),
        ..message()
    };
    assert!(verified(&query, &signed(&query, body)).is_ok());
}

#[test]
fn another_request_is_not() {
    let presented = signed(&message(), b"body");
    let refused = |message| verified(&message, &presented).err();
    let method = Message {
        method: "PUT",
        ..message()
    };
    assert_eq!(refused(method), Some(method.not_authentic()));
    let path = Message {
        path: "/v1/key/decrypt/my+key",
        ..message()
    };
    assert_eq!(refused(path), Some(path.not_authentic()));
    let authority = Message {
        authority: "kms.example.org",
        ..message()
    };
    assert_eq!(refused(authority), Some(authority.not_authentic()));
    for query in ["", "a"] {
        let query = Message {
            query: Some(query),
            ..message()
        };
        assert_eq!(refused(query), Some(SignatureError::NotCovered("@query")));
    }
    let other = with(&presented, digest::HEADER, |_| digest::of(b"other"));
    assert_eq!(
        verified(&message(), &other).err(),
        Some(message().not_authentic())
    );
}

#[test]
fn clocks_may_differ_by_the_window() {
    let presented = signed(&message(), b"");
    let verified = |seconds| verified_at(seconds, &message(), &presented);
    for seconds in [NOW - 60, NOW, NOW + 60] {
        assert!(verified(seconds).is_ok(), "{seconds}");
    }
    for seconds in [0, NOW - 61, NOW + 61, u64::MAX / 1_000_000_000] {
        let clock = SignatureError::Clock {
            created: NOW as i64,
            now: at(seconds),
            window: 60,
        };
        assert_eq!(verified(seconds).err(), Some(clock), "{seconds}");
    }
}

#[test]
fn what_is_missing_or_doubled_is_named() {
    let whole = signed(&message(), b"body");
    let input =
        |from: &'static str, to: &'static str| with(&whole, INPUT, |value| value.replace(from, to));
    let key_id = "keyid=\"MCow";
    for (presented, error) in [
        (
            with(&whole, INPUT, |_| String::new()),
            SignatureError::NoTag,
        ),
        (input("sealedge\"", "other\""), SignatureError::NoTag),
        (
            with(&whole, INPUT, |value| {
                format!("{value}, {}", value.replacen("sealedge", "b", 1))
            }),
            SignatureError::Several,
        ),
        (
            with(&whole, SIGNATURE, |value| value.replace("sealedge", "b")),
            SignatureError::NoSignature,
        ),
        (
            with(&whole, SIGNATURE, |_| "sealedge=1".to_owned()),
            SignatureError::Malformed(SIGNATURE),
        ),
        (
            with(&whole, SIGNATURE, |_| "sealedge=:AAAA:".to_owned()),
            message().not_authentic(),
        ),
        (
            with(&whole, INPUT, |_| "sealedge=1;tag=\"sealedge\"".to_owned()),
            SignatureError::Malformed(INPUT),
        ),
        (input(" \"@path\"", ""), SignatureError::NotCovered("@path")),
        (
            input("\"@method\" ", ""),
            SignatureError::NotCovered("@method"),
        ),
        (
            input(" \"@authority\"", ""),
            SignatureError::NotCovered("@authority"),
        ),
        (
            input("\"@path\"", "\"@path\" \"@path\""),
            SignatureError::Component,
        ),
        (
            input("\"@path\"", "\"@path\";req"),
            SignatureError::Component,
        ),
        (
            input("\"@path\"", "\"@path\" \"x-other\""),
            SignatureError::Component,
        ),
        (
            input(";created", ";made"),
            SignatureError::Parameter("created"),
        ),
        (
            input("created=", "created=a"),
            SignatureError::Parameter("created"),
        ),
        (input(";nonce", ";once"), SignatureError::Parameter("nonce")),
        (input(";alg", ";algo"), SignatureError::Parameter("alg")),
        (input(";keyid", ";key"), SignatureError::Parameter("keyid")),
        (input(key_id, "keyid=\"AAAA"), SignatureError::KeyId),
        (
            input("alg=\"ed25519\"", "alg=\"hmac-sha256\""),
            SignatureError::Algorithm("ed25519"),
        ),
        (input(";tag", ";expires=1;tag"), SignatureError::Expired),
        (input(";tag", ";other=1;tag"), message().not_authentic()),
    ] {
        assert_eq!(verified(&message(), &presented).err(), Some(error));
    }
}

#[test]
fn headers_come_once() {
    let whole = signed(&message(), b"body");
    for name in [INPUT, SIGNATURE, digest::HEADER] {
        let mut twice = whole.clone();
        let again = twice.headers.iter().find(|it| it.0 == name).cloned();
        twice.headers.extend(again);
        let refused = verified(&message(), &twice).err().unwrap();
        assert!(matches!(refused, SignatureError::Header(BadHeader { .. })));
        assert!(refused.to_string().contains("more than once"), "{refused}");
        let mut without = whole.clone();
        without.headers.retain(|it| it.0 != name);
        let refused = verified(&message(), &without).err();
        assert_eq!(refused, Some(SignatureError::HalfSigned(name)));
        let long = with(&whole, name, |value| {
            value.to_owned() + &" ".repeat(1 << 15)
        });
        let refused = verified(&message(), &long).err().unwrap();
        assert!(refused.to_string().contains("16384 bytes"), "{refused}");
    }
}

/// A signature of RFC 9421's appendix that is by one of our algorithms.
struct Vector<'a> {
    key_id: &'a str,
    components: &'a [(&'a str, &'a str)],
    params: &'a str,
    signature: &'a str,
}

/// B.2.4, with the key of B.1.3: of a response, whose base is made alike.
const B24: Vector<'_> = Vector {
    key_id: "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM4\
             GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==",
    components: &[
        ("@status", "200"),
        ("content-type", "application/json"),
        (
            "content-digest",
            "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5\
             aGgfLQ==:",
        ),
        ("content-length", "23"),
    ],
    params: "(\"@status\" \"content-type\" \"content-digest\" \"content-length\")\
             ;created=1618884473;keyid=\"test-key-ecc-p256\"",
    signature: "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==",
};

/// B.2.6, with the key of B.1.4.
const B26: Vector<'_> = Vector {
    key_id: "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=",
    components: &[
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@method", "POST"),
        ("@path", "/foo"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ],
    params: "(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
             ;created=1618884473;keyid=\"test-key-ed25519\"",
    signature: "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
};

/// The others there are by RSA and HMAC, or name components that no request of ours has.
#[test]
fn the_signatures_of_the_standard() {
    for vector in [B24, B26] {
        let components = vector.components.iter().copied();
        let base = base::base(components, |base| base.push_str(vector.params));
        let (key, _) = PublicKey::from_key_id(vector.key_id).unwrap();
        let signature = STANDARD.decode(vector.signature).unwrap();
        let verifies = |base: &str| key.verifies(&RustCrypto, base.as_bytes(), &signature);
        assert!(verifies(&base), "{}", vector.key_id);
        assert!(!verifies(&base.replace("application", "text")));
    }
}

/// However the list comes, it is signed in one form; of what comes twice the last counts, in the place of the
/// first (RFC 9651, 3.1.2 and 3.2).
#[test]
fn a_list_is_signed_as_the_standard_writes_it() {
    let wide = "other=(), sealedge=1, sealedge=( \"@method\"   \"@path\" );a;  created=1;a=?0; b=:YQ:;\
                 c=*t;tag=\"sealedge\"";
    let mut written = String::new();
    Input::ours(wide).unwrap().write_to(&mut written);
    assert_eq!(
        written,
        "(\"@method\" \"@path\");a=?0;created=1;b=:YQ==:;c=*t;tag=\"sealedge\""
    );
}

proptest! {
    #[test]
    fn any_headers_are_judged(
        input: String,
        signature: String,
        digest: String,
        query: Option<String>,
        at_byte: prop::sample::Index,
        with_byte: u8,
    ) {
        let message = Message { query: query.as_deref(), ..message() };
        let headers = [(INPUT, input), (SIGNATURE, signature), (digest::HEADER, digest)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes()));
        let presented = Presented { headers: headers.into(), ..Presented::default() };
        prop_assert!(verified(&message, &presented).is_err());
        // A genuine one with another byte: if it is genuine still, it says the same.
        let genuine = signed(&message, b"body");
        let expected = verified(&message, &genuine).unwrap();
        let mut changed = genuine.clone();
        let header = at_byte.index(changed.headers.len());
        let value = &mut changed.headers[header].1;
        let byte = at_byte.index(value.len());
        value[byte] = with_byte;
        if let Ok(signed) = verified(&message, &changed) {
            prop_assert_eq!(signed, expected);
        }
    }
}

/// What `docs/authentication.md` shows, to the byte.
#[test]
fn the_documented_signature() {
    let api_key: ApiKey = "kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc"
        .parse()
        .unwrap();
    let message = Message {
        method: "POST",
        authority: "kms.example.com",
        path: "/v1/key/generate/my-app-1",
        query: None,
    };
    let body = b"{\"context\":\"YXBw\"}";
    let nonce = std::array::from_fn(|at| at as u8);
    let headers = Signer::new(api_key).headers(&message, body, nonce, at(NOW));
    let header = |name| &headers.iter().find(|it| it.0 == name).unwrap().1;
    let base = base::base(
        [
            ("@method", "POST"),
            ("@authority", "kms.example.com"),
            ("@path", "/v1/key/generate/my-app-1"),
            ("content-digest", header("content-digest")),
        ],
        |base| base.push_str(header(INPUT).strip_prefix("sealedge=").unwrap()),
    );
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    let lines = lines.collect::<Vec<_>>().join("\n");
    let document = include_str!("../../../../../docs/authentication.md");
    for text in [base, lines] {
        assert!(document.contains(&text), "{text}");
    }
}

/// A request that is signed with this value of `Client-Cert`.
fn with_certificate(value: &str, is_covered: bool) -> Presented {
    let api_key = ApiKey::from_seed(&[7; 32]);
    let key_id = STANDARD.encode(api_key.public_key());
    let mut components = vec![
        ("@method", "POST"),
        ("@authority", "kms.example.com"),
        ("@path", message().path),
    ];
    components.extend(is_covered.then_some((CERTIFICATE, value)));
    let names: Vec<_> = components
        .iter()
        .map(|it| format!("\"{}\"", it.0))
        .collect();
    let names = names.join(" ");
    let params = format!(
        "({names});created={NOW};nonce=\"n\";alg=\"ed25519\";keyid=\"{key_id}\";tag=\"sealedge\""
    );
    let signature = api_key.sign(base::base(components, |base| base.push_str(&params)).as_bytes());
    let headers = [
        (INPUT, format!("s={params}")),
        (SIGNATURE, format!("s=:{}:", STANDARD.encode(signature))),
        (CERTIFICATE, value.to_owned()),
    ];
    Presented {
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .into(),
        ..Presented::default()
    }
}

#[test]
fn a_certificate_is_signed_and_that_of_the_key() {
    let anothers = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    let anothers = format!(":{}:", STANDARD.encode(anothers.cert.der()));
    let verified =
        |value: &str, is_covered| verified(&message(), &with_certificate(value, is_covered)).err();
    assert_eq!(
        verified(&anothers, true),
        Some(SignatureError::OtherCertificate)
    );
    let not_covered = SignatureError::NotCovered(CERTIFICATE);
    assert_eq!(verified(&anothers, false), Some(not_covered));
    for value in [":AAAA:", "AAAA", "1"] {
        let refused = verified(value, true).unwrap();
        let malformed = SignatureError::Malformed(CERTIFICATE);
        assert!(
            refused == malformed || refused == SignatureError::OtherCertificate,
            "{refused}"
        );
    }
}
