//! The section `keystore.vault`.

use super::super::walk::{At, Fields, Noted};
use super::Shape::{Group, Unread, Value};
use super::{Known, group};
use crate::outgoing::{ClientCertificate, Destination};
use crate::store::remote::Endpoint;
use crate::store::vault::{Credentials, EngineVersion, Jwt, Login, Settings, Transit};

pub(super) const FIELDS: Known = &[
    ("endpoint", Value),
    ("engine", Value),
    ("version", Value),
    ("namespace", Value),
    ("prefix", Value),
    ("transit", Group(&[("engine", Value), ("key", Value)])),
    (
        "approle",
        Group(&[
            ("engine", Value),
            ("namespace", Value),
            ("id", Value),
            ("secret", Value),
        ]),
    ),
    (
        "kubernetes",
        Group(&[
            ("engine", Value),
            ("namespace", Value),
            ("role", Value),
            ("jwt", Value),
        ]),
    ),
    (
        "tls",
        Group(&[("key", Value), ("cert", Value), ("ca", Value)]),
    ),
    ("status", Group(&[("ping", Unread)])),
];

/// The store; what keeps it from being used is noted.
pub(super) fn vault(store: &Fields<'_>) -> Option<Settings> {
    let endpoint = endpoint(store);
    let version = store.read("version", |at| {
        at.one_of(&[("v1", EngineVersion::V1), ("v2", EngineVersion::V2)])
    });
    let namespace = namespace(store).flatten();
    let engine = path(store, "engine").unwrap_or_else(|| "kv".into());
    let prefix = path(store, "prefix").unwrap_or_default();
    // Each of these notes what is wrong with it, so all of them have to be looked at.
    let transit = group(store, "transit", FIELDS).map(|fields| transit(&fields));
    let login = login(store, namespace.as_deref());
    let trust = group(store, "tls", FIELDS).map(|fields| tls(&fields));
    group(store, "status", FIELDS);

    let endpoint = endpoint?;
    if trust.is_some()
        && endpoint.origin.starts_with("http:")
        && let Some(at) = store.get("tls")
    {
        at.warn("this has no effect: the endpoint is not https");
    }
    let (authorities, certificate) = trust.unwrap_or_default();
    Some(Settings {
        server: Destination {
            origin: endpoint.origin,
            authorities,
            certificate,
        },
        base: endpoint.base,
        engine,
        version: version.unwrap_or(EngineVersion::V1),
        namespace,
        prefix,
        transit: match transit {
            Some(transit) => Some(transit?),
            None => None,
        },
        login: login?,
    })
}

fn endpoint(store: &Fields<'_>) -> Option<Endpoint> {
    let url = store.required(
        "endpoint",
        "write the URL of the server, such as `https://vault.example.com:8200`",
    )?;
    let at = store.get("endpoint")?;
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

fn transit(fields: &Fields<'_>) -> Option<Transit> {
    let engine = path(fields, "engine").unwrap_or_else(|| "transit".into());
    let key = fields.required("key", "write the name of the transit key")?;
    if key.contains('/') || !is_segment(&key) {
        let at = fields.get("key")?;
        at.error("no transit key has this name");
        return None;
    }
    Some(Transit { engine, key })
}

fn login(store: &Fields<'_>, namespace: Option<&str>) -> Option<Login> {
    let approle = group(store, "approle", FIELDS);
    let kubernetes = group(store, "kubernetes", FIELDS);
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
            store.at.missing(
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
                let jwt = jwt?;
                Some(Credentials::Kubernetes {
                    role: role?,
                    jwt: if jwt.expose().contains('/') {
                        Jwt::File(jwt.expose().to_owned())
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
    store_namespace: Option<&str>,
    credentials: impl FnOnce() -> Option<Credentials>,
) -> Option<Login> {
    let engine = path(fields, "engine").unwrap_or_else(|| engine.into());
    let namespace = namespace(fields).unwrap_or_else(|| store_namespace.map(Into::into));
    Some(Login {
        engine,
        namespace,
        credentials: credentials()?,
    })
}

/// The authorities of the server's certificate, and the client's certificate.
type Trust = (Option<String>, Option<ClientCertificate>);

fn tls(fields: &Fields<'_>) -> Trust {
    let certificate = match (fields.text("cert"), fields.text("key")) {
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
    (fields.text("ca"), certificate)
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
fn path(fields: &Fields<'_>, name: &str) -> Option<String> {
    let text = fields.read(name, At::text)?;
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
