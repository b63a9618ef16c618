//! `sealedge proxy`: the options; the proxy itself is elsewhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use sealedge_core::identity::Identity;

/// Let applications on this machine use a server that wants signed requests
///
/// It listens as a KES server does, signs each request with its own API key or private key (see the
/// environment) and hands it on: who uses the proxy acts as its identity. A client shows a certificate,
/// whose identity must be let in; a Unix socket is for this user alone.
#[derive(Args, Clone, Debug)]
pub struct ProxyOptions {
    /// The server: `https://host`, `https://host:port`, `host:port`, or `http://` on this machine
    #[arg(long, value_name = "URL")]
    pub upstream: String,

    /// Where to listen: `IP:PORT`, or `unix:PATH` for plain HTTP on a socket of this user
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7373")]
    pub listen: Listen,

    /// Let this identity in, by its certificate; may be repeated; `any` lets every certificate in
    /// [default: the proxy's own identity, so a client with the same API key]
    #[arg(long, value_name = "IDENTITY")]
    pub allow: Vec<Allowed>,

    /// The private key to listen with (PEM) [default: one made for this run]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Its certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Write the certificate that is made for this run to this file, for clients to trust
    #[arg(long, value_name = "FILE", conflicts_with = "tls_cert")]
    pub cert_out: Option<PathBuf>,
}

/// Where a proxy listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// By mTLS.
    Tcp(SocketAddr),
    /// By plain HTTP.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("after `unix:` the path of a socket is missing"),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let on_this_machine = |port: &str| Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into());
        let address = match text.strip_prefix("localhost:") {
            Some(port) => on_this_machine(port),
            None => text.parse().ok(),
        };
        address
            .map(Self::Tcp)
            .ok_or("an address is written as 127.0.0.1:7373, [::1]:7373 or unix:/run/sealedge.sock")
    }
}

/// Who may use a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Whoever has a certificate.
    Any,
    /// A client.
    Identity(Identity),
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Self::Any),
            identity => identity
                .parse()
                .map(Self::Identity)
                .map_err(|reason| format!("{reason}, or `any`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_listens_at_an_address_or_on_a_socket() {
        let tcp = |text: &str| Listen::Tcp(text.parse().unwrap());
        for (text, listen) in [
            ("127.0.0.1:7373", tcp("127.0.0.1:7373")),
            ("[::1]:0", tcp("[::1]:0")),
            ("localhost:80", tcp("127.0.0.1:80")),
            ("unix:/run/a b", Listen::Unix("/run/a b".into())),
            ("unix:socket", Listen::Unix("socket".into())),
        ] {
            assert_eq!(text.parse(), Ok(listen), "{text}");
        }
        for text in ["", "7373", "127.0.0.1", "host:7373", "unix:", "localhost:x"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn identities_are_let_in_or_all() {
        let identity = "3ecfcdf38fcbe141ae26a1030f81e96b753365a46760ae6b578698a97c59fd22";
        assert_eq!(
            identity.parse(),
            Ok(Allowed::Identity(identity.parse().unwrap()))
        );
        assert_eq!("any".parse(), Ok(Allowed::Any));
        assert!("all".parse::<Allowed>().is_err());
    }
}
