//! Why a proxy does not start, and what to do then.

use std::{fmt, io};

use sealedge_core::identity::Identity;

use crate::cli::endpoint::NotAnEndpoint;
use crate::server::tls::TlsError;

/// Why a proxy does not start.
#[derive(Debug)]
pub enum ProxyError {
    Upstream(NotAnEndpoint),
    Mtls,
    AllowOnSocket,
    CertificateOnSocket,
    AnyFromElsewhere(String),
    Certificate(String),
    Tls(TlsError),
    NoTls(rustls::Error),
    OtherIdentity { own: Identity, other: Identity },
    Listen { address: String, reason: io::Error },
    Io(io::Error),
}

impl From<ProxyError> for crate::cli::error::Error {
    fn from(error: ProxyError) -> Self {
        Self::Proxy(error)
    }
}

impl ProxyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Upstream(_) => {
                "name the server by --upstream https://HOST or https://HOST:PORT; http:// only on this machine"
            }
            Self::Mtls => "leave --auth mtls (SEALEDGE_AUTH) out",
            Self::AllowOnSocket => "leave --allow out: the socket's file says who may connect",
            Self::CertificateOnSocket => "leave --tls-key, --tls-cert and --cert-out out",
            Self::AnyFromElsewhere(_) => {
                "listen on 127.0.0.1, or let identities in one by one (--allow IDENTITY)"
            }
            Self::Listen { reason, .. } if reason.kind() == io::ErrorKind::AddrInUse => {
                "stop what is there, or choose another address by --listen"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(reason) => reason.fmt(f),
            Self::Mtls => f.write_str("a proxy signs its requests, and shows no certificate"),
            Self::AllowOnSocket => f.write_str("on a Unix socket nobody shows an identity"),
            Self::CertificateOnSocket => f.write_str("there is no TLS on a Unix socket"),
            Self::AnyFromElsewhere(address) => write!(
                f,
                "--allow any on {address} would let everybody use the proxy's API key who can reach it"
            ),
            Self::Certificate(reason) => write!(f, "can't make a certificate: {reason}"),
            Self::Tls(reason) => reason.fmt(f),
            Self::NoTls(reason) => write!(f, "there can be no TLS: {reason}"),
            Self::OtherIdentity { own, other } => write!(
                f,
                "the files of the key are those of the identity {other}, and this proxy acts as {own}: \
                 restart it to change that"
            ),
            Self::Listen { address, reason } => write!(f, "can't listen on {address}: {reason}"),
            Self::Io(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for ProxyError {}
