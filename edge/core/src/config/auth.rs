//! The section `auth`: how clients may prove who they are, beside their certificates.

use std::time::Duration;

use super::Supported;
use super::walk::{At, Fields};
use crate::auth::authority;

/// How clients may prove who they are, beside their certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Whether by signing requests (RFC 9421). Default: on.
    pub signatures: bool,
    /// Whether by sending an API key itself. Default: off.
    pub bearer: bool,
    /// How far the clock of a client that signs may be from the server's. Default: 60 s.
    pub window: Duration,
    /// The authorities that signed requests may be for, in lower case and without the default port;
    /// if there are none, those of the server's certificate.
    pub authorities: Vec<String>,
}

impl Auth {
    /// Which credentials are taken, as `WWW-Authenticate` says it (RFC 9110, 11.6.1).
    pub const fn challenge(&self) -> &'static str {
        match (self.signatures, self.bearer) {
            (true, true) => "Signature realm=\"sealedge\", Bearer realm=\"sealedge\"",
            (false, true) => "Bearer realm=\"sealedge\"",
            (_, false) => "Signature realm=\"sealedge\"",
        }
    }
}

/// The longest window: all requests in it are remembered.
const LONGEST_WINDOW: Duration = Duration::from_secs(15 * 60);

impl Default for Auth {
    fn default() -> Self {
        Self {
            signatures: true,
            bearer: false,
            window: Duration::from_secs(60),
            authorities: Vec::new(),
        }
    }
}

pub(super) fn auth(section: &At<'_>) -> Auth {
    let default = Auth::default();
    let fields = section.fields(&["signatures", "bearer", "window", "authorities"]);
    let switch = |name| fields.read(name, At::switch);
    Auth {
        signatures: switch("signatures").unwrap_or(default.signatures),
        bearer: switch("bearer").unwrap_or(default.bearer),
        window: window(&fields).unwrap_or(default.window),
        authorities: authorities(&fields),
    }
}

/// Where TLS ends elsewhere, no certificate of ours says which authorities are ours.
pub(super) fn needs_authorities(root: &At<'_>, auth: &Auth, supported: &Supported<'_>) {
    if auth.signatures && auth.authorities.is_empty() && !supported.tls {
        root.missing(
            "auth.authorities",
            "no authorities; write the names by which clients reach this server, such as `kms.example.com`, \
             or turn `auth.signatures` off",
        );
    }
}

fn window(fields: &Fields<'_>) -> Option<Duration> {
    let window = fields.read("window", At::duration)?;
    if window.as_secs() == 0 || window > LONGEST_WINDOW {
        fields
            .get("window")?
            .error("write a time from `1s` to `15m`: how far the clocks of clients may be off");
        return None;
    }
    Some(window)
}

fn authorities(fields: &Fields<'_>) -> Vec<String> {
    let Some(list) = fields.get("authorities") else {
        return Vec::new();
    };
    let mut authorities = Vec::new();
    for at in list.items() {
        let Ok(Some(text)) = at.text() else { continue };
        match authority::normal(&text) {
            Some(authority) => authorities.push(authority),
            None => at.error("write a host, or a host and a port, such as `kms.example.com`"),
        }
    }
    authorities
}
