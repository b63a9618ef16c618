//! Why a server could not be asked: what ureq and rustls say, in the words of an operator.

use std::{fmt, io};

use rustls::{AlertDescription as Alert, CertificateError};
use ureq::Timeout;

use super::endpoint::SERVER;

/// Why a server could not be asked.
#[derive(Debug)]
pub enum Fault {
    /// Its name has no address.
    HostNotFound,
    /// Nobody listens there.
    Refused,
    /// The network does not lead there.
    NoRoute(io::Error),
    /// It took too long to connect.
    ConnectTimeout,
    /// It was connected but took too long to answer.
    AnswerTimeout,
    /// Its certificate is not trusted.
    Untrusted(CertificateError),
    /// It does not want our certificate.
    ClientCertificate(Alert),
    /// It wants a certificate in the handshake, and we have shown none.
    NoCertificate,
    /// It wants signed requests, and may be anybody, for its certificate is not verified.
    AskedByAnybody,
    /// The proxy does not lead there.
    Proxy(String),
    /// TLS failed in another way.
    Tls(rustls::Error),
    /// The connection broke.
    Io(io::Error),
    /// It does not speak HTTP as it should.
    Http(ureq::Error),
}

impl Fault {
    /// Whether the server may have done what it was asked to, so that asking again could be wrong.
    pub const fn may_have_been_asked(&self) -> bool {
        matches!(self, Self::AnswerTimeout | Self::Io(_) | Self::Http(_))
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let addresses = SERVER.join(", ");
        Some(match self {
            Self::HostNotFound => format!("check the address in {addresses}"),
            Self::Refused => format!(
                "start a server to try things out with `sealedge server --dev`,\n\
                 or set one of {addresses} to where yours is"
            ),
            Self::NoRoute(_) | Self::ConnectTimeout => "check the address, the network and the firewall".to_owned(),
            Self::Untrusted(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                "reach the server by a name that its certificate has, make it a certificate with this name\n\
                 (`sealedge identity new --dns NAME --ip ADDRESS`), or skip the check with -k (not in production)"
                    .to_owned()
            }
            Self::Untrusted(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                "check the clock of this machine; if it is right, renew the server's certificate".to_owned()
            }
            Self::Untrusted(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                "check the clock of this machine, and of the one where the server's certificate was made".to_owned()
            }
            Self::Untrusted(CertificateError::Other(_)) => {
                "a server's own certificate must not be that of an authority (CA:TRUE): make another with\n\
                 `sealedge identity new --ip ADDRESS --dns NAME`, or skip the check with -k (not in production)"
                    .to_owned()
            }
            Self::Untrusted(_) => "name the certificate of the server or of its authority in SSL_CERT_FILE,\n\
                 or skip the check with -k (not in production)"
                .to_owned(),
            Self::ClientCertificate(_) => "the server verifies client certificates (`tls.auth: on`):\n\
                 use one that its `tls.ca` signed"
                .to_owned(),
            Self::NoCertificate => "show it one by --auth mtls (or SEALEDGE_AUTH),\n\
                 or turn `auth.signatures` on in its configuration"
                .to_owned(),
            Self::AskedByAnybody => "name its certificate or that of its authority in SSL_CERT_FILE, and leave -k out;\n\
                 or sign for whoever answers there (--auth signature)"
                .to_owned(),
            Self::Proxy(_) => "check HTTPS_PROXY, and NO_PROXY for servers without a proxy".to_owned(),
            Self::Tls(_) => "is it an HTTPS server?".to_owned(),
            Self::AnswerTimeout | Self::Io(_) | Self::Http(_) => return None,
        })
    }

    fn from_io(reason: io::Error) -> Self {
        match reason.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Self::NoRoute(reason)
            }
            _ => match reason
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                Some(tls) => Self::from_tls(tls.clone()),
                None => Self::Io(reason),
            },
        }
    }

    fn from_tls(reason: rustls::Error) -> Self {
        match reason {
            rustls::Error::InvalidCertificate(reason) => Self::Untrusted(reason),
            rustls::Error::AlertReceived(Alert::CertificateRequired) => Self::NoCertificate,
            rustls::Error::AlertReceived(
                alert @ (Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied),
            ) => Self::ClientCertificate(alert),
            other => Self::Tls(other),
        }
    }
}

impl From<ureq::Error> for Fault {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::HostNotFound => Self::HostNotFound,
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => Self::ConnectTimeout,
            ureq::Error::Timeout(_) => Self::AnswerTimeout,
            ureq::Error::ConnectProxyFailed(reason) => Self::Proxy(reason),
            ureq::Error::Rustls(reason) => Self::from_tls(reason),
            ureq::Error::Io(reason) => Self::from_io(reason),
            other => Self::Http(other),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostNotFound => f.write_str("there is no such host"),
            Self::Refused => f.write_str("connection refused: no server listens there"),
            Self::NoRoute(reason) => write!(f, "no way to the server: {reason}"),
            Self::ConnectTimeout => f.write_str("no connection in time"),
            Self::AnswerTimeout => f.write_str("no answer in time"),
            Self::Untrusted(CertificateError::UnknownIssuer) => {
                f.write_str("the server's certificate is not trusted: its issuer is not known here")
            }
            Self::Untrusted(CertificateError::BadSignature) => f.write_str(
                "the server's certificate is not trusted: what is trusted has the same name but another key",
            ),
            Self::Untrusted(CertificateError::Other(reason)) => {
                write!(f, "the server's certificate is not trusted: {}", reason.0)
            }
            Self::Untrusted(reason) => {
                write!(f, "the server's certificate is not trusted: {reason}")
            }
            Self::ClientCertificate(alert) => write!(
                f,
                "the server does not accept the client certificate: {alert:?}"
            ),
            Self::NoCertificate => f.write_str(
                "the server wants a client certificate in the handshake, and takes no signatures",
            ),
            Self::AskedByAnybody => f.write_str(
                "the server asks for a signed request, and by -k it may be anybody, who could use that elsewhere",
            ),
            Self::Proxy(reason) => write!(f, "the proxy does not lead there: {reason}"),
            Self::Tls(reason) => write!(f, "TLS failed: {reason}"),
            Self::Io(reason) => write!(f, "the connection broke: {reason}"),
            Self::Http(reason) => write!(f, "HTTP failed: {reason}"),
        }
    }
}
