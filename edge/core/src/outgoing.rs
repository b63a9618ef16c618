//! What the service asks of servers elsewhere, over HTTP: key stores and key management services.
//!
//! The service can't reach a host of its own choice. The configuration names [`Destination`]s, the
//! platform knows how to get there, and a request says only to which of them it goes.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

/// A server that the configuration names.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// `https://host:port` or `http://host:port`, without a path.
    pub origin: String,
    /// Path of a PEM file, or of a folder of them, with the authorities that its certificate may come
    /// from, and no others. `None`: those of the system.
    pub authorities: Option<String>,
    /// How the service proves there by TLS who it is.
    pub certificate: Option<ClientCertificate>,
}

/// Files with a client's certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Path of the certificate chain (PEM).
    pub certificate: String,
    /// Path of the private key (PEM).
    pub key: String,
}

/// A request.
///
/// Its header and body may be secret, so it has no `Debug`.
pub struct Request {
    /// The place of the server among the configured destinations.
    pub destination: usize,
    /// The HTTP method in capitals.
    pub method: Cow<'static, str>,
    /// The path with its query, percent-encoded.
    pub path: String,
    /// Header fields, their names in lower case.
    pub headers: Vec<(Cow<'static, str>, Zeroizing<String>)>,
    /// The body; empty if there is none.
    pub body: Zeroizing<Vec<u8>>,
    /// The most bytes that the answer's body may have.
    pub limit: usize,
    /// How long all of it may take, connecting included.
    pub timeout: Duration,
}

/// An answer, all of it.
///
/// Its body may be secret, so it has no `Debug`.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header fields, their names in lower case. Those whose value is not ASCII are left out.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

impl Response {
    /// The first value of a header field, named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer. The texts are for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server can't be reached, or the connection broke before all of the answer was there.
    Unreachable(String),
    /// It took too long.
    TimedOut,
    /// The answer is longer than it may be.
    TooLarge,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::TooLarge => f.write_str("the answer is too long"),
        }
    }
}

impl std::error::Error for Fault {}
