//! Where the server is: `KES_SERVER` and its kin.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sealedge_core::auth::authority;
use ureq::http::Uri;

/// The variables that name the servers; the first one set wins.
pub const SERVER: [&str; 3] = ["MINIO_KES_SERVER", "KES_SERVER", "MINIO_KMS_KES_ENDPOINT"];
const DEFAULT: &str = "127.0.0.1:7373";
/// Where a server listens if nothing else is said.
const DEFAULT_PORT: u16 = 7373;

/// The first of `variables` that is set and not blank, with its name.
pub fn first_set(
    variables: &[&'static str],
    get: impl Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    variables.iter().find_map(|name| {
        get(name)
            .filter(|value| !value.trim().is_empty())
            .map(|value| (*name, value))
    })
}

/// The address of a server, as `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// Everything that is not unreserved in a URI (RFC 3986, 2.3); `*` becomes `%2A` as KES's client sends it.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Endpoint {
    /// Whether the server is on this machine, to which no proxy leads.
    pub fn is_local(&self) -> bool {
        let uri: Option<Uri> = self.0.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|it| it.is_loopback())
    }

    /// `https`, or `http` for an [`upstream`] on this machine.
    pub fn scheme(&self) -> &str {
        self.parts().0
    }

    /// Its host and port, as requests for it are signed.
    pub fn authority(&self) -> Option<String> {
        authority::normal(self.parts().1)
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once("://").unwrap_or_default()
    }

    /// The URL of `route` here, with `segment` after it as one percent-encoded path segment.
    pub fn url(&self, route: &str, segment: &str) -> String {
        format!("{}{route}{}", self.0, utf8_percent_encode(segment, SEGMENT))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A server's address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnEndpoint {
    /// The address as it was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: EndpointProblem,
}

/// What is wrong with a server's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointProblem {
    /// It is no host and port.
    Syntax,
    /// It has a scheme other than `https`.
    Scheme,
    /// It has a user, a path or a query.
    Surplus,
}

impl fmt::Display for NotAnEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, problem } = self;
        match problem {
            EndpointProblem::Syntax => write!(f, "`{text}` is not the address of a server"),
            EndpointProblem::Scheme => write!(f, "`{text}`: a server is reached over https only"),
            EndpointProblem::Surplus => write!(
                f,
                "`{text}`: the address of a server is a host and a port, nothing else"
            ),
        }
    }
}

/// The servers to try, in order.
pub fn endpoints(get: impl Fn(&str) -> Option<String>) -> Result<Vec<Endpoint>, NotAnEndpoint> {
    let list = first_set(&SERVER, get).map_or_else(|| DEFAULT.to_owned(), |(_, list)| list);
    list.split(',').map(str::trim).map(endpoint).collect()
}

/// The server behind a proxy. On this machine it may speak plain HTTP, as one does that is tried out.
pub fn upstream(text: &str) -> Result<Endpoint, NotAnEndpoint> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("http") {
        return endpoint(text);
    }
    let server = endpoint(&format!("https://{rest}"))?;
    if !server.is_local() {
        return Err(NotAnEndpoint {
            text: text.to_owned(),
            problem: EndpointProblem::Scheme,
        });
    }
    Ok(Endpoint(server.0.replacen("https", "http", 1)))
}

fn endpoint(text: &str) -> Result<Endpoint, NotAnEndpoint> {
    let refuse = |problem| NotAnEndpoint {
        text: text.to_owned(),
        problem,
    };
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case("https")) {
        return Err(refuse(EndpointProblem::Scheme));
    }
    let uri: Uri = format!("https://{rest}")
        .parse()
        .map_err(|_| refuse(EndpointProblem::Syntax))?;
    let authority = uri.authority().ok_or(refuse(EndpointProblem::Syntax))?;
    if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
        return Err(refuse(EndpointProblem::Surplus));
    }
    // The library takes any text for a port.
    let host_only = authority.host() == authority.as_str();
    if authority.host().is_empty() || !host_only && authority.port_u16().is_none() {
        return Err(refuse(EndpointProblem::Syntax));
    }
    // A URL without a port has that of its scheme, as for MinIO, which reads the same variable.
    Ok(Endpoint(if host_only && scheme.is_none() {
        format!("https://{authority}:{DEFAULT_PORT}")
    } else {
        format!("https://{authority}")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn given(variables: &[(&str, &str)]) -> Result<Vec<String>, NotAnEndpoint> {
        let get = |name: &str| {
            variables
                .iter()
                .find(|it| it.0 == name)
                .map(|it| it.1.to_owned())
        };
        endpoints(get).map(|list| list.iter().map(Endpoint::to_string).collect())
    }

    #[test]
    fn the_default_is_this_machine() {
        for variables in [&[][..], &[("KES_SERVER", "")], &[("KES_SERVER", " ")]] {
            assert_eq!(given(variables).unwrap(), ["https://127.0.0.1:7373"]);
        }
    }

    #[test]
    fn the_first_variable_wins_and_the_list_keeps_its_order() {
        let all = [
            ("MINIO_KMS_KES_ENDPOINT", "https://c"),
            ("KES_SERVER", "b:1, https://[::1]:2"),
            ("MINIO_KES_SERVER", "a"),
        ];
        assert_eq!(given(&all).unwrap(), ["https://a:7373"]);
        assert_eq!(
            given(&all[..2]).unwrap(),
            ["https://b:1", "https://[::1]:2"]
        );
        assert_eq!(given(&all[..1]).unwrap(), ["https://c"]);
    }

    #[test]
    fn a_name_without_a_port_has_the_server_s_and_a_url_that_of_its_scheme() {
        for (text, server) in [
            ("a", "https://a:7373"),
            ("[::1]", "https://[::1]:7373"),
            ("a:443", "https://a:443"),
            ("https://a", "https://a"),
            ("HTTPS://a:1", "https://a:1"),
        ] {
            assert_eq!(endpoint(text).unwrap().to_string(), server);
        }
    }

    #[test]
    fn refusals() {
        let problem = |text| given(&[("KES_SERVER", text)]).unwrap_err().problem;
        assert_eq!(problem("http://a:7373"), EndpointProblem::Scheme);
        assert_eq!(problem("a:7373/v1"), EndpointProblem::Surplus);
        assert_eq!(problem("https://user@a:7373"), EndpointProblem::Surplus);
        assert_eq!(problem("a,,b"), EndpointProblem::Syntax);
        assert_eq!(problem("a:port"), EndpointProblem::Syntax);
    }

    #[test]
    fn this_machine_is_known() {
        for (server, local) in [
            ("127.0.0.1:7373", true),
            ("localhost", true),
            ("[::1]:7373", true),
            ("10.0.0.1", false),
            ("localhost.org", false),
        ] {
            assert_eq!(endpoint(server).unwrap().is_local(), local, "{server}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        let server = upstream("http://127.0.0.1:3000").unwrap();
        assert_eq!(server.to_string(), "http://127.0.0.1:3000");
        assert_eq!(server.scheme(), "http");
        for text in ["http://kms.example.com", "ftp://a", "http://a.localhost"] {
            assert_eq!(upstream(text).unwrap_err().problem, EndpointProblem::Scheme);
        }
        for (text, authority) in [
            ("https://KMS.Example.com", "kms.example.com"),
            ("https://a:443", "a"),
            ("a", "a:7373"),
            ("https://[::1]:2", "[::1]:2"),
        ] {
            let server = upstream(text).unwrap();
            assert_eq!(server.authority().as_deref(), Some(authority));
            assert_eq!(server.scheme(), "https");
        }
    }

    #[test]
    fn a_segment_stays_one() {
        let server = endpoint("https://a").unwrap();
        assert_eq!(
            server.url("/v1/key/list/", "*"),
            "https://a/v1/key/list/%2A"
        );
        assert_eq!(
            server.url("/v1/key/list/", "x/../y?%\u{e4}"),
            "https://a/v1/key/list/x%2F..%2Fy%3F%25%C3%A4"
        );
        assert_eq!(server.url("/version", ""), "https://a/version");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,40}|[a-z0-9:/@?\\[\\].-]{0,30}") {
            if let Ok(server) = endpoint(&text) {
                let uri: Uri = server.url("/v1/key/list/", &text).parse().unwrap();
                prop_assert_eq!(uri.scheme_str(), Some("https"));
                prop_assert_eq!(uri.path().matches('/').count(), 4);
            }
        }
    }
}
