//! The section `auth`: how clients may prove who they are, beside their certificates.

use std::time::Duration;

use super::walk::{At, Fields};
use super::{Config, Supported};
use crate::auth::authority::OwnAuthority;

/// How clients may prove who they are, beside their certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// Whether by signing requests (RFC 9421). Default: on.
    pub signatures: bool,
    /// Whether by sending an API key itself. Default: off.
    pub bearer: bool,
    /// How far the clock of a client that signs may be from the server's. Default: 60 s.
    pub window: Duration,
    /// Which signed requests are answered once. Default: all.
    pub once: Once,
    /// The authorities that signed requests may be for; if there are none, those of the server's
    /// certificate.
    pub authorities: Vec<OwnAuthority>,
}

/// Which signed requests are answered once, and no second time within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// All.
    All,
    /// Those that create, import or delete a key. Whoever has seen another one may have it answered again.
    Changes,
}

impl Once {
    const NAMES: [(&'static str, Self); 2] = [("all", Self::All), ("changes", Self::Changes)];
}

impl Config {
    /// By what clients may prove who they are, for the operator.
    pub fn clients(&self) -> String {
        let (is_certified, auth) = (self.tls.verify_clients, &self.auth);
        let methods = [
            (!is_certified, "certificates"),
            (is_certified, "certificates of an authority"),
            (auth.signatures && !is_certified, "signatures"),
            (
                auth.signatures && is_certified,
                "signatures by such a certificate",
            ),
            (auth.bearer && !is_certified, "bearer keys"),
            (
                !self.tls.proxies.is_empty(),
                "certificates that a listed proxy forwards",
            ),
        ];
        let methods: Vec<_> = methods.iter().filter(|it| it.0).map(|it| it.1).collect();
        methods.join(", ")
    }
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
            once: Once::All,
            authorities: Vec::new(),
        }
    }
}

pub(super) fn auth(section: &At<'_>, verifies_clients: bool) -> Auth {
    let default = Auth::default();
    let fields = section.fields(&["signatures", "bearer", "window", "nonces", "authorities"]);
    let switch = |name| fields.read(name, At::switch);
    let bearer = switch("bearer").unwrap_or(default.bearer);
    if bearer
        && verifies_clients
        && let Some(at) = fields.get("bearer")
    {
        at.warn("bearer keys have no certificate, and are refused while `tls.auth` is on");
    }
    Auth {
        signatures: switch("signatures").unwrap_or(default.signatures),
        bearer,
        window: window(&fields).unwrap_or(default.window),
        once: fields
            .read("nonces", |at| at.one_of(&Once::NAMES))
            .unwrap_or(default.once),
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

fn authorities(fields: &Fields<'_>) -> Vec<OwnAuthority> {
    let Some(list) = fields.get("authorities") else {
        return Vec::new();
    };
    let mut authorities = Vec::new();
    for at in list.items() {
        let Ok(text) = at.text() else { continue };
        match OwnAuthority::parse(&text.unwrap_or_default()) {
            Some(authority) => authorities.push(authority),
            None => at.error(
                "write a host, or a host and the only port that counts, such as `kms.example.com` or \
                 `kms.example.com:7373`; there are no wildcards",
            ),
        }
    }
    authorities
}
