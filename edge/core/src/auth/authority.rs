//! For whom a request is: its authority (RFC 9110, 7.2), and whether that is this server.

use http::uri::Authority;
use rustls_pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

/// An authority as it is signed (RFC 9421, 2.2.3): in lower case, and without the default port of HTTPS;
/// `None` if it is no `host` or `host:port`.
pub fn normal(text: &str) -> Option<String> {
    let parsed: Authority = text.parse().ok()?;
    let is_plain = !text.contains('@') && !parsed.host().is_empty();
    let host = parsed.host().to_ascii_lowercase();
    let authority = match parsed.port() {
        Some(port) if port.as_u16() != 443 => format!("{host}:{}", port.as_u16()),
        _ => host,
    };
    is_plain.then_some(authority)
}

/// Whether a certificate (DER) is for the host of this authority.
pub fn is_named_by(authority: &str, certificate: &[u8]) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let certificate = CertificateDer::from(certificate);
    let host = authority.host().trim_matches(['[', ']']);
    let (Ok(certificate), Ok(name)) = (
        EndEntityCert::try_from(&certificate),
        ServerName::try_from(host),
    ) else {
        return false;
    };
    certificate.verify_is_valid_for_subject_name(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn case_and_the_default_port_mean_nothing() {
        for (text, expected) in [
            ("Kms.Example.com", Some("kms.example.com")),
            ("a:443", Some("a")),
            ("a:7373", Some("a:7373")),
            ("[::1]:7373", Some("[::1]:7373")),
            ("", None),
            (":443", None),
            ("user@a", None),
            ("a/b", None),
            ("a b", None),
        ] {
            assert_eq!(normal(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_certificate_is_for_its_names() {
        let names = ["*.example.com", "localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let certificate = rcgen::generate_simple_self_signed(names).unwrap();
        let der = certificate.cert.der();
        for (authority, is_named) in [
            ("localhost:7373", true),
            ("a.example.com", true),
            ("127.0.0.1:1", true),
            ("[::1]:7373", true),
            ("example.com", false),
            ("a.b.example.com", false),
            ("127.0.0.2", false),
            ("", false),
        ] {
            assert_eq!(is_named_by(authority, der), is_named, "{authority}");
        }
        assert!(!is_named_by("localhost", b"no certificate"));
    }

    proptest! {
        #[test]
        fn any_text_is_an_authority_or_none(text: String, der: Vec<u8>) {
            if let Some(authority) = normal(&text) {
                prop_assert_eq!(normal(&authority), Some(authority.clone()));
                prop_assert!(!is_named_by(&authority, &der));
            }
        }
    }
}
