//! The address of a server, as a configuration writes it.

use http::Uri;
use http::uri::Scheme;

/// The parts of a URL that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://host:port` or `http://host:port`.
    pub origin: String,
    /// What every path begins with: empty, or `/` and more, without a slash at the end.
    pub base: String,
    /// Whether requests travel unencrypted, and farther than this machine.
    pub is_exposed: bool,
}

impl Endpoint {
    /// Reads a URL with the scheme `http` or `https` (RFC 3986).
    ///
    /// # Errors
    /// What is wrong with it. It is not quoted: it may have a password in it.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        const SYNTAX: &str = "write the URL of the server, such as `https://kms.example.com:8200`";
        let uri: Uri = url.parse().map_err(|_| SYNTAX)?;
        let default_port = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => 443,
            Some(scheme) if *scheme == Scheme::HTTP => 80,
            _ => return Err(SYNTAX),
        };
        let authority = uri.authority().ok_or(SYNTAX)?;
        if authority.as_str().contains('@') {
            return Err("a URL with a user in it is not taken; remove that");
        }
        if uri.query().is_some() || url.contains('#') {
            return Err("the URL of a server has no query and no fragment; remove that");
        }
        let host = authority.host();
        // The library takes any text for a port.
        let has_port = host != authority.as_str();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if has_port => return Err(SYNTAX),
            None => default_port,
        };
        if host.is_empty() {
            return Err(SYNTAX);
        }
        let scheme = uri.scheme_str().unwrap_or_default();
        Ok(Self {
            origin: format!("{scheme}://{host}:{port}"),
            base: uri.path().trim_end_matches('/').to_owned(),
            is_exposed: scheme == "http" && !is_loopback(host),
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn endpoints() {
        for (url, origin, base, is_exposed) in [
            ("https://kms:8200", "https://kms:8200", "", false),
            ("https://kms/", "https://kms:443", "", false),
            ("HTTPS://kms/a/b/", "https://kms:443", "/a/b", false),
            ("http://kms", "http://kms:80", "", true),
            ("http://127.8.0.1:1", "http://127.8.0.1:1", "", false),
            ("http://localhost:1", "http://localhost:1", "", false),
            ("http://[::1]:8200", "http://[::1]:8200", "", false),
            ("http://[::2]:8200", "http://[::2]:8200", "", true),
        ] {
            let expected = Endpoint {
                origin: origin.into(),
                base: base.into(),
                is_exposed,
            };
            assert_eq!(Endpoint::parse(url), Ok(expected), "{url}");
        }
        for url in [
            "",
            "kms",
            "kms:8200",
            "/kms",
            "ftp://kms",
            "https://",
            "https://kms:x",
            "https://kms:",
            "https://kms:70000",
            "https://u:p@kms",
            "https://kms?a",
            "https://kms#a",
            "https:// kms",
            "https://kms\r\nx",
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(url in "(https?://)?.{0,40}|https?://[a-z0-9:@/?#\\[\\].]{0,20}") {
            if let Ok(endpoint) = Endpoint::parse(&url) {
                let whole = format!("{}{}", endpoint.origin, endpoint.base);
                prop_assert_eq!(Endpoint::parse(&whole), Ok(endpoint));
            }
        }
    }
}
