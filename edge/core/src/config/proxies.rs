//! The section `tls.proxy`: who may forward the certificates of clients, and how.

use std::net::IpAddr;

use ipnet::IpNet;

use super::Proxies;
use super::sections::{Holders, Role};
use super::walk::{At, Fields};
use crate::auth::forwarded::Form;

/// Headers that say something else about a request already.
const TAKEN: [&str; 7] = [
    "authorization",
    "content-digest",
    "content-length",
    "host",
    "signature",
    "signature-input",
    "transfer-encoding",
];

/// The least bytes of the secret: whoever has it is any client.
const SHORTEST_SECRET: usize = 32;

pub(super) fn proxies(section: &At<'_>, holders: &mut Holders) -> Proxies {
    let default = Proxies::default();
    let fields = section.fields(&["identities", "addresses", "secret", "header"]);
    let mut proxies = Proxies {
        addresses: addresses(&fields),
        secret: fields.secret("secret"),
        ..default
    };
    if let Some(list) = fields.get("identities") {
        let identities = list.items();
        proxies.identities = identities
            .filter_map(|at| holders.claim(&at, &Role::Proxy))
            .collect();
    }
    secret(section, &fields, &proxies);
    if let Some(header) = fields.get("header") {
        let fields = header.fields(&["cert", "form", "secret"]);
        let form = fields.read("form", |at| at.one_of(&Form::NAMES));
        proxies.form = form.unwrap_or(proxies.form);
        proxies.header = name(&fields, "cert").unwrap_or_else(|| proxies.form.header().into());
        proxies.secret_header = name(&fields, "secret").unwrap_or(proxies.secret_header);
        if proxies.secret_header == proxies.header {
            header.error("`cert` and `secret` are the same header: write two");
        }
    }
    proxies
}

fn secret(section: &At<'_>, fields: &Fields<'_>, proxies: &Proxies) {
    match &proxies.secret {
        None if !proxies.addresses.is_empty() && fields.get("secret").is_none() => section.missing(
            "secret",
            "no secret; an address alone proves nothing: write one of at least 32 bytes that the proxies \
             send, such as `${PROXY_SECRET}`",
        ),
        Some(secret) if secret.expose().len() < SHORTEST_SECRET => {
            if let Some(at) = fields.get("secret") {
                at.error("the secret has less than 32 bytes: make one by `openssl rand -hex 32`");
            }
        }
        Some(secret) if !secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) => {
            if let Some(at) = fields.get("secret") {
                at.error("a header can't have it as it is: write visible ASCII characters, without spaces");
            }
        }
        Some(_) if fields.get("addresses").is_none() => {
            if let Some(at) = fields.get("secret") {
                at.error("this is of no use without `addresses`: write those of the proxies");
            }
        }
        _ => {}
    }
}

fn addresses(fields: &Fields<'_>) -> Vec<IpNet> {
    let Some(list) = fields.get("addresses") else {
        return Vec::new();
    };
    let mut addresses = Vec::new();
    for at in list.items() {
        let Ok(Some(text)) = at.text() else { continue };
        let address = text.parse::<IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or(address) {
            // Addresses of IPv4 are compared as such.
            Ok(IpNet::V6(net)) if net.addr().to_ipv4_mapped().is_some() => {
                at.error("write it as a network of IPv4, without `::ffff:`");
            }
            Ok(net) => addresses.push(net),
            Err(_) => {
                at.error("write an address or a network, such as `10.0.0.7` or `10.0.0.0/24`")
            }
        }
    }
    addresses
}

/// A header's name (a token, RFC 9110, 5.6.2), in lower case.
fn name(fields: &Fields<'_>, field: &str) -> Option<String> {
    let name = fields.text(field)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = name.to_ascii_lowercase();
    let why = if !name.bytes().all(is_token) {
        "no HTTP header has this name; write one such as `x-tls-client-cert`"
    } else if TAKEN.contains(&name.as_str()) {
        "this header has a meaning of its own; write one such as `x-tls-client-cert`"
    } else {
        return Some(name);
    };
    if let Some(at) = fields.get(field) {
        at.error(why);
    }
    None
}
