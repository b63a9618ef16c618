//! The route table: one line for each part of the API.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustc_hash::FxHashMap;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says which path each one is")]
pub enum Operation {
    Version,
    Ready,
    Status,
    Metrics,
    ListApis,
    CreateKey,
    ImportKey,
    DescribeKey,
    ListKeys,
    DeleteKey,
    Generate,
    Encrypt,
    Decrypt,
    Hmac,
    DescribePolicy,
    ReadPolicy,
    ListPolicies,
    DescribeIdentity,
    ListIdentities,
    DescribeSelf,
    ErrorLog,
    AuditLog,
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Whom a policy allows, unless the configuration says `skip_auth`.
    PolicyOrSkipped,
    /// Whom a policy allows.
    Policy,
    /// Whoever has shown a certificate.
    AnyIdentity,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `PUT` or `DELETE`; a PUT route takes POST as well.
    pub method: &'static str,
    /// The whole path, or, if it ends in `/`, its beginning: what follows is the argument.
    pub path: &'static str,
    /// What it does.
    pub operation: Operation,
    /// Who may call it.
    pub access: Access,
    /// The longest body in bytes; a body on a route with 0 is ignored.
    pub max_body: usize,
    /// How long a request may take; `None` for streams.
    pub timeout: Option<Duration>,
}

const MB: usize = 1 << 20;

/// The longest body that any route takes, in bytes.
pub const LONGEST_BODY: usize = MB;

const fn route(
    method: &'static str,
    path: &'static str,
    operation: Operation,
    access: Access,
    max_body: usize,
    seconds: u64,
) -> Route {
    let timeout = if seconds == 0 {
        None
    } else {
        Some(Duration::from_secs(seconds))
    };
    Route {
        method,
        path,
        operation,
        access,
        max_body,
        timeout,
    }
}

use Access as A;
use Operation as Op;

/// Every route of the service.
#[rustfmt::skip]
pub const ROUTES: [Route; 22] = [
    route("GET", "/version", Op::Version, A::Public, 0, 10),
    route("GET", "/v1/ready", Op::Ready, A::PolicyOrSkipped, 0, 15),
    route("GET", "/v1/status", Op::Status, A::PolicyOrSkipped, 0, 15),
    route("GET", "/v1/metrics", Op::Metrics, A::PolicyOrSkipped, 0, 15),
    route("GET", "/v1/api", Op::ListApis, A::PolicyOrSkipped, 0, 10),
    route("PUT", "/v1/key/create/", Op::CreateKey, A::Policy, 0, 15),
    route("PUT", "/v1/key/import/", Op::ImportKey, A::Policy, MB, 15),
    route("GET", "/v1/key/describe/", Op::DescribeKey, A::Policy, 0, 15),
    route("GET", "/v1/key/list/", Op::ListKeys, A::Policy, 0, 15),
    route("DELETE", "/v1/key/delete/", Op::DeleteKey, A::Policy, 0, 15),
    route("PUT", "/v1/key/generate/", Op::Generate, A::Policy, MB, 15),
    route("PUT", "/v1/key/encrypt/", Op::Encrypt, A::Policy, MB, 15),
    route("PUT", "/v1/key/decrypt/", Op::Decrypt, A::Policy, MB, 15),
    route("PUT", "/v1/key/hmac/", Op::Hmac, A::Policy, MB, 15),
    route("GET", "/v1/policy/describe/", Op::DescribePolicy, A::Policy, 0, 15),
    route("GET", "/v1/policy/read/", Op::ReadPolicy, A::Policy, 0, 15),
    route("GET", "/v1/policy/list/", Op::ListPolicies, A::Policy, 0, 15),
    route("GET", "/v1/identity/describe/", Op::DescribeIdentity, A::Policy, 0, 15),
    route("GET", "/v1/identity/list/", Op::ListIdentities, A::Policy, 0, 15),
    route("GET", "/v1/identity/self/describe", Op::DescribeSelf, A::AnyIdentity, 0, 15),
    route("GET", "/v1/log/error", Op::ErrorLog, A::Policy, 0, 0),
    route("GET", "/v1/log/audit", Op::AuditLog, A::Policy, 0, 0),
];

impl Route {
    /// Whether the route takes the method.
    pub fn takes(&self, method: &str) -> bool {
        method == self.method || (method == "POST" && self.method == "PUT")
    }

    /// Whether what it does can be seen later: doing it twice is not as doing it once.
    pub fn changes(&self) -> bool {
        matches!(
            self.operation,
            Op::CreateKey | Op::ImportKey | Op::DeleteKey
        )
    }

    /// The route's path as the configuration's `api` section writes it: without a slash at its end.
    pub fn configured_as(&self) -> &'static str {
        self.path.strip_suffix('/').unwrap_or(self.path)
    }

    /// Whether the argument may be empty, so that the path may come without its last slash.
    fn is_listing(&self) -> bool {
        matches!(
            self.operation,
            Op::ListKeys | Op::ListPolicies | Op::ListIdentities
        )
    }
}

/// The paths that the configuration's section `api` may name, and whether each may skip
/// authentication.
pub fn configurable() -> [(&'static str, bool); ROUTES.len()] {
    ROUTES.map(|route| {
        (
            route.configured_as(),
            route.access == Access::PolicyOrSkipped,
        )
    })
}

/// Finds the route of a path in constant time.
pub struct Router {
    routes: FxHashMap<&'static str, Route>,
}

impl Router {
    /// A router over a table, which may differ from [`ROUTES`] in what the configuration can change.
    pub fn new(table: impl IntoIterator<Item = Route>) -> Self {
        let mut routes = FxHashMap::default();
        for route in table {
            routes.insert(route.path, route);
        }
        Self { routes }
    }

    /// The route of a [`canonical`] path, and the argument that follows it.
    pub fn find<'a>(&self, path: &'a str) -> Option<(&Route, &'a str)> {
        if let Some((prefix, argument)) = split_argument(path)
            && let Some(route) = self.routes.get(prefix)
        {
            return Some((route, argument));
        }
        self.routes
            .get(path)
            .filter(|route| !route.path.ends_with('/'))
            .map(|route| (route, ""))
    }
}

/// `/v1/key/create/name` as `/v1/key/create/` and `name`.
fn split_argument(path: &str) -> Option<(&str, &str)> {
    let slash = path
        .bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'/')
        .nth(3)?
        .0;
    path.split_at_checked(slash + 1)
}

/// A request's path as router, policies and audit log see it: decoded, and with the last slash of
/// a listing that asks for all names, which clients may leave out. That all three see one text
/// leaves no way of writing a path that is routed and yet passes by a policy's patterns.
///
/// `None` if an encoding is broken or is no UTF-8.
pub fn canonical(path: &str) -> Option<Cow<'_, str>> {
    let path = decode(path)?;
    if !path.ends_with("/list") {
        return Some(path);
    }
    let listing = ROUTES
        .iter()
        .find(|route| route.is_listing() && route.configured_as() == path);
    Some(listing.map_or(path, |route| Cow::Borrowed(route.path)))
}

/// A text with its percent-encoding (RFC 3986, 2.1) undone, once; `None` if that is broken.
pub(crate) fn decode(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        let digits = after.as_bytes().first_chunk::<2>()?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = after;
    }
    percent_decode_str(path).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(path: &str) -> Option<(Operation, String)> {
        let router = Router::new(ROUTES);
        router
            .find(path)
            .map(|(route, argument)| (route.operation, argument.to_owned()))
    }

    #[test]
    fn every_route_is_found() {
        for route in ROUTES {
            let expected = Some((route.operation, String::new()));
            assert_eq!(found(route.path), expected, "{}", route.path);
            if route.path.ends_with('/') {
                let with_argument = format!("{}x/y", route.path);
                assert_eq!(found(&with_argument), Some((route.operation, "x/y".into())));
            }
        }
    }

    #[test]
    fn no_route_takes_a_longer_body_than_the_longest() {
        let longest = ROUTES.iter().map(|route| route.max_body).max();
        assert_eq!(longest, Some(LONGEST_BODY));
    }

    #[test]
    fn what_is_no_route_is_not_found() {
        for path in [
            "",
            "/",
            "/v1",
            "/v1/",
            "/v1/nope",
            "/version/",
            "/v1/ready/",
            "//v1/ready",
            "/v1//key/create/a",
            "/v1/key/create",
            "/v1/key/list",
            "/v1/key//create/a",
            "/v1/./key/create/a",
            "/v1/key/../key/create/a",
            "v1/ready",
            "/V1/ready",
            "/v1/identity/self/describe/",
            "/v1/identity/self/",
            "/v1/log/audit/",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
    }

    #[test]
    fn decoding() {
        assert_eq!(
            decode("/v1/key/list/%2A").as_deref(),
            Some("/v1/key/list/*")
        );
        assert_eq!(decode("/%252F").as_deref(), Some("/%2F"));
        for broken in ["/%", "/%2", "/%zz", "/%ff", "/a%%20", "/%+1"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_listing_of_all_has_one_path() {
        for (path, expected) in [
            ("/v1/key/list", "/v1/key/list/"),
            ("/v1/key/lis%74", "/v1/key/list/"),
            ("/v1/policy/list", "/v1/policy/list/"),
            ("/v1/identity/list", "/v1/identity/list/"),
            ("/v1/key/list/", "/v1/key/list/"),
            ("/v1/key/list/a", "/v1/key/list/a"),
            ("/v1/key/create", "/v1/key/create"),
        ] {
            assert_eq!(canonical(path).as_deref(), Some(expected), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_decoded_or_refused(path in "[/%a-f0-9.*~-]{0,40}|.{0,40}") {
            if let Some(decoded) = canonical(&path) {
                let router = Router::new(ROUTES);
                if let Some((route, argument)) = router.find(&decoded) {
                    // The argument is exactly what follows the route, so a policy's prefix covers both.
                    prop_assert!(decoded.ends_with(argument) && decoded.starts_with(route.configured_as()));
                }
            }
        }
    }
}
