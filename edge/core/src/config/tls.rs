//! The section `tls`: the server's certificate, and those of clients.

use super::proxies::proxies;
use super::sections::Holders;
use super::walk::{At, Fields};
use super::{Proxies, Supported};
use crate::certificate::authorities::Authorities;
use crate::secret_text::SecretText;

const NO_KEY: &str = "no TLS private key; write the path of its PEM file";
const NO_CERT: &str = "no TLS certificate; write the path of its PEM file";
const NO_AUTHORITIES: &str = "write the certificates of the authorities that issue those of clients, in PEM, such as `${CLIENT_CA}`";

/// The section `tls`.
#[derive(Default)]
pub struct Tls {
    /// Path of the server's private key (PEM). Empty only where [`Supported::tls`] is false.
    pub key: String,
    /// Path of the server's certificate chain (PEM). Empty only where [`Supported::tls`] is false.
    pub cert: String,
    /// Decrypts the private key.
    pub password: Option<SecretText>,
    /// Path of a PEM file, or of a folder of them, with the authorities that issue client
    /// certificates, beside the system's own. Where [`Supported::tls`] is false they themselves in PEM,
    /// beside no others.
    pub ca: Option<String>,
    /// Whether client certificates must come from a trusted authority (`auth: on`). Otherwise any
    /// certificate is taken: only its public key counts.
    pub verify_clients: bool,
    /// Whether the certificate that Cloudflare has seen in the handshake says who the client is. Default: off;
    /// always off where [`Supported::cloudflare`] is false.
    pub cloudflare: bool,
    /// The TLS proxies that may forward a client's certificate.
    pub proxies: Proxies,
}

pub(super) fn tls(
    root: &At<'_>,
    section: Option<&At<'_>>,
    supported: &Supported<'_>,
    holders: &mut Holders,
) -> Tls {
    let mut tls = Tls::default();
    let Some(section) = section else {
        if supported.tls {
            root.missing("tls.key", NO_KEY);
            root.missing("tls.cert", NO_CERT);
        }
        return tls;
    };
    let fields = section.fields(&[
        "key",
        "cert",
        "password",
        "ca",
        "auth",
        "cloudflare",
        "proxy",
    ]);
    if supported.tls {
        own(&fields, &mut tls);
    } else {
        elsewhere(&fields, &mut tls);
    }
    let switch = |name| fields.read(name, At::switch).unwrap_or_default();
    tls.verify_clients = switch("auth");
    if tls.verify_clients && !supported.tls && fields.get("ca").is_none() {
        section.missing("ca", NO_AUTHORITIES);
    }
    match fields.get("cloudflare") {
        Some(at) if !supported.cloudflare => {
            at.error("only Cloudflare Workers have this; remove this field");
        }
        _ => tls.cloudflare = switch("cloudflare"),
    }
    if let Some(section) = fields.get("proxy") {
        tls.proxies = proxies(section, holders);
    }
    tls
}

/// Where the service ends TLS itself.
fn own(fields: &Fields<'_>, tls: &mut Tls) {
    tls.key = fields.required_path("key", NO_KEY).unwrap_or_default();
    tls.cert = fields.required_path("cert", NO_CERT).unwrap_or_default();
    tls.password = fields.secret("password");
    tls.ca = fields.path("ca");
}

/// Where the platform does. The authorities are there themselves, for there are neither files nor the system's own.
fn elsewhere(fields: &Fields<'_>, tls: &mut Tls) {
    let names = ["key", "cert", "password"];
    for at in names.iter().filter_map(|name| fields.get(name)) {
        at.error("this platform brings its own TLS; remove this field");
    }
    tls.ca = fields
        .text("ca")
        .filter(|text| match Authorities::from_pem(text) {
            Ok(_) => true,
            Err(why) => {
                if let Some(at) = fields.get("ca") {
                    at.error(format!("{why}; {NO_AUTHORITIES}"));
                }
                false
            }
        });
}
