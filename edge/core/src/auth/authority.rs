//! For whom a request is: its authority (RFC 9110, 7.2), and whether that is this server.

use http::uri::Authority;
use rustls_pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

/// The default port.
const HTTPS: u16 = 443;

/// An authority as it is signed (RFC 9421, 2.2.3): in lower case, and without the default port of HTTPS;
/// `None` if it is no `host` or `host:port`.
pub fn normal(text: &str) -> Option<String> {
    let parsed: Authority = text.parse().ok()?;
    let is_plain = !text.contains('@') && !parsed.host().is_empty();
    let host = parsed.host().to_ascii_lowercase();
    let authority = match parsed.port() {
        Some(port) if port.as_u16() != HTTPS => format!("{host}:{}", port.as_u16()),
        _ => host,
    };
    is_plain.then_some(authority)
}

/// An authority of this server, as the configuration has it: a host, and a port if no other one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAuthority {
    host: String,
    port: Option<u16>,
}

impl OwnAuthority {
    /// `None` if it is no host (a DNS name or an IP address, without wildcards) with or without a port.
    pub fn parse(text: &str) -> Option<Self> {
        let parsed: Authority = text.parse().ok()?;
        let host = parsed.host().to_ascii_lowercase();
        let rest = text.get(host.len()..)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None => rest.is_empty().then_some(None)?,
        };
        let name = host.trim_matches(['[', ']']);
        ServerName::try_from(name).ok()?;
        Some(Self { host, port })
    }

    /// Whether a request is for it: one with this [`normal`] authority.
    pub fn is(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else {
            return false;
        };
        let port = authority.port_u16().unwrap_or(HTTPS);
        authority.host() == self.host && self.port.is_none_or(|own| own == port)
    }
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
    fn a_port_counts_if_it_is_there() {
        for (own, authority, is_own) in [
            ("Kms.Example.com", "kms.example.com", true),
            ("kms.example.com", "kms.example.com:7373", true),
            ("kms.example.com", "a.kms.example.com", false),
            ("kms.example.com:7373", "kms.example.com:7373", true),
            ("kms.example.com:7373", "kms.example.com", false),
            ("kms.example.com:443", "kms.example.com", true),
            ("kms.example.com:443", "kms.example.com:7373", false),
            ("127.0.0.1", "127.0.0.1:1", true),
            ("[::1]", "[::1]:7373", true),
            ("[::1]:1", "[::1]:2", false),
        ] {
            let parsed = OwnAuthority::parse(own).unwrap();
            assert_eq!(parsed.is(authority), is_own, "{own} {authority}");
        }
        for text in [
            "",
            ":1",
            "*.example.com",
            "a:99999",
            "a:",
            "user@a",
            "a/b",
            "a b",
            "https://a",
        ] {
            assert_eq!(OwnAuthority::parse(text), None, "{text}");
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
            if let Some(own) = OwnAuthority::parse(&text) {
                prop_assert!(own.is(&normal(&text).unwrap()));
            }
            if let Some(authority) = normal(&text) {
                prop_assert_eq!(normal(&authority), Some(authority.clone()));
                prop_assert!(!is_named_by(&authority, &der));
            }
        }
    }
}
