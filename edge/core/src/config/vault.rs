//! How to get into a Vault or OpenBao, which several sections say in the same fields.

use super::known::Shape::{self, Group, Value};
use super::known::{Known, group};
use super::walk::{At, Fields, Noted};
use crate::outgoing::{ClientCertificate, Destination};
use crate::store::remote::Endpoint;
use crate::store::vault::{Access, Credentials, Jwt, Login, Transit};

/// The longest path of an engine, or of what is in one, in bytes: it has to go into a URL.
const LONGEST: usize = 512;

pub const TRANSIT: Shape = Group(&[("engine", Value), ("key", Value)]);

pub const APPROLE: Shape = Group(&[
    ("engine", Value),
    ("namespace", Value),
    ("id", Value),
    ("secret", Value),
]);

pub const KUBERNETES: Shape = Group(&[
    ("engine", Value),
    ("namespace", Value),
    ("role", Value),
    ("jwt", Value),
]);

pub const TLS: Shape = Group(&[("key", Value), ("cert", Value), ("ca", Value)]);

/// The way in, by the fields `endpoint`, `namespace`, `approle`, `kubernetes` and `tls` among `known`;
/// what keeps it from being used is noted. `destination` is the server's place among all of them.
pub(super) fn access(section: &Fields<'_>, known: Known, destination: usize) -> Option<Access> {
    // Each of these notes what is wrong with it, so all of them have to be looked at.
    let endpoint = endpoint(section);
    let namespace = namespace(section).flatten();
    let login = login(section, known, namespace.as_deref());
    let trust = group(section, "tls", known).map(|fields| tls(&fields));

    let endpoint = endpoint?;
    if trust.is_some()
        && endpoint.origin.starts_with("http:")
        && let Some(at) = section.get("tls")
    {
        at.warn("this has no effect: the endpoint is not https");
    }
    let (authorities, certificate) = trust.unwrap_or_default();
    Some(Access {
        destination,
        server: Destination {
            origin: endpoint.origin,
            authorities,
            certificate,
        },
        base: endpoint.base,
        namespace,
        login: login?,
    })
}

fn endpoint(section: &Fields<'_>) -> Option<Endpoint> {
    let url = section.required(
        "endpoint",
        "write the URL of the server, such as `https://vault.example.com:8200`",
    )?;
    let at = section.get("endpoint")?;
    match Endpoint::parse(&url) {
        Ok(endpoint) => {
            if endpoint.is_exposed {
                at.warn("keys and credentials travel unencrypted; use https");
            }
            Some(endpoint)
        }
        Err(problem) => {
            at.error(problem);
            None
        }
    }
}

/// A key of transit; what keeps it from being used is noted.
pub(super) fn transit(fields: &Fields<'_>) -> Option<Transit> {
    let engine = path(fields, "engine").unwrap_or_else(|| "transit".into());
    let key = fields.required("key", "write the name of the transit key")?;
    if key.len() > LONGEST || key.contains('/') || !is_segment(&key) {
        let at = fields.get("key")?;
        at.error("no transit key has this name");
        return None;
    }
    Some(Transit { engine, key })
}

fn login(section: &Fields<'_>, known: Known, namespace: Option<&str>) -> Option<Login> {
    let approle = group(section, "approle", known);
    let kubernetes = group(section, "kubernetes", known);
    match (approle, kubernetes) {
        (Some(first), Some(second)) => {
            second.at.error(format!(
                "`{}` is on line {} already; keep one way to log in",
                first.at.name(),
                first.at.line
            ));
            None
        }
        (None, None) => {
            section.at.missing(
                "approle",
                "write how to log in: `approle` or `kubernetes`, with their fields",
            );
            None
        }
        (Some(fields), None) => {
            let id = fields.required_secret("id", "write the role's id");
            let secret = fields.required_secret("secret", "write the role's secret id");
            login_by(&fields, "approle", namespace, || {
                Some(Credentials::AppRole {
                    id: id?,
                    secret: secret?,
                })
            })
        }
        (None, Some(fields)) => {
            let role = fields.required("role", "write the name of the role in Vault");
            let jwt = fields.required_secret(
                "jwt",
                "write the service account's token, or the path of a file with it",
            );
            login_by(&fields, "kubernetes", namespace, || {
                let (jwt, at) = (jwt?, fields.get("jwt")?);
                Some(Credentials::Kubernetes {
                    role: role?,
                    jwt: if jwt.expose().contains('/') {
                        Jwt::File(at.path().ok()??.to_string())
                    } else {
                        Jwt::Token(jwt)
                    },
                })
            })
        }
    }
}

fn login_by(
    fields: &Fields<'_>,
    engine: &str,
    outer: Option<&str>,
    credentials: impl FnOnce() -> Option<Credentials>,
) -> Option<Login> {
    let engine = path(fields, "engine").unwrap_or_else(|| engine.into());
    let namespace = namespace(fields).unwrap_or_else(|| outer.map(Into::into));
    Some(Login {
        engine,
        namespace,
        credentials: credentials()?,
    })
}

/// The authorities of the server's certificate, and the client's certificate.
type Trust = (Option<String>, Option<ClientCertificate>);

fn tls(fields: &Fields<'_>) -> Trust {
    let certificate = match (fields.path("cert"), fields.path("key")) {
        (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
        (Some(_), None) => {
            fields.required("key", "write the path of the certificate's private key");
            None
        }
        (None, Some(_)) => {
            fields.required("cert", "write the path of the private key's certificate");
            None
        }
        (None, None) => None,
    };
    (fields.path("ca"), certificate)
}

/// The namespace: `None` if none is written, and within that `None` for the root.
fn namespace(fields: &Fields<'_>) -> Option<Option<String>> {
    let text = fields.read("namespace", |at| {
        let text = at.text()?;
        // It is sent as a header field.
        let is_sendable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.as_ref().is_some_and(|text| !is_sendable(text)) {
            at.error("no namespace has this name");
            return Err(Noted);
        }
        Ok(text)
    })?;
    let bare = text.trim_matches('/');
    Some((!bare.is_empty()).then(|| bare.to_owned()))
}

/// A path in the server, without slashes around it or two in a row.
pub(super) fn path(fields: &Fields<'_>, name: &str) -> Option<String> {
    let text = fields.read(name, At::text)?;
    if text.len() > LONGEST {
        let at = fields.get(name)?;
        at.error(format!("no path in Vault is longer than {LONGEST} bytes"));
        return None;
    }
    let segments: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    if !segments.iter().all(|segment| is_segment(segment)) {
        let at = fields.get(name)?;
        at.error("no path in Vault is like this; write one such as `team/kv`");
        return None;
    }
    Some(segments.join("/")).filter(|path| !path.is_empty())
}

fn is_segment(text: &str) -> bool {
    !matches!(text, "." | "..") && !text.contains(char::is_control)
}
