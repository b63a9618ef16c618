//! How a request proves who sends it, beside the certificates of its connection.

pub mod authority;
pub mod cloudflare;
pub mod digest;
mod fields;
pub mod forwarded;
pub mod nonces;
mod packed;
pub mod public_key;
pub mod signature;

use std::fmt;

use serde::Serialize;

pub use packed::Packed;

/// How a client has proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By the certificate of its connection.
    Mtls,
    /// By the certificate that a listed TLS proxy forwards.
    Forwarded,
    /// By a signature of the request (RFC 9421).
    Signature,
    /// By its API key itself, as a bearer token (RFC 6750).
    Bearer,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mtls => "a client certificate",
            Self::Forwarded => "a forwarded certificate",
            Self::Signature => "a signature",
            Self::Bearer => "a bearer key",
        })
    }
}

/// The longest value of a header that proves who sends a request, in bytes.
pub const LONGEST_HEADER: usize = 16 << 10;

/// What a request carries beside its line and its body that may prove who sends it.
///
/// It may hold bearer keys, so it has no `Debug`.
#[derive(Clone, Default)]
pub struct Presented {
    /// For whom the request is: the header `Host` or `:authority`, as it came.
    pub authority: String,
    /// Whether it came over plain HTTP, so that others may have read it.
    pub is_plain: bool,
    /// What follows the path's `?`, if there is one.
    pub query: Option<String>,
    /// The headers that [`crate::service::Service::credential_headers`] names: names in lower case,
    /// values as they came, a line each.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The certificate (DER) that the server has shown on the connection; `None` where TLS ends
    /// elsewhere.
    pub shown: Option<Vec<u8>>,
}

impl Presented {
    /// The values of a header, a line each.
    pub fn lines(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = self.headers.iter().filter(move |header| header.0 == name);
        named.map(|(_, value)| value.as_slice())
    }

    /// The only value of a header, without white space around it; `None` if the header is not there.
    ///
    /// # Errors
    /// It comes more than once, is too long, or is no ASCII text.
    pub fn only(&self, name: &str) -> Result<Option<&str>, BadHeader> {
        let mut lines = self.lines(name);
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        let bad = |why| BadHeader {
            name: name.to_owned(),
            why,
        };
        if lines.next().is_some() {
            return Err(bad(Why::Several));
        }
        if line.len() > LONGEST_HEADER {
            return Err(bad(Why::TooLong));
        }
        match std::str::from_utf8(line) {
            Ok(text) if text.is_ascii() => Ok(Some(text.trim_matches([' ', '\t']))),
            _ => Err(bad(Why::NotAscii)),
        }
    }
}

/// A header that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHeader {
    name: String,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Several,
    TooLong,
    NotAscii,
}

impl fmt::Display for BadHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.why {
            Why::Several => write!(f, "the header '{name}' comes more than once: send it once"),
            Why::TooLong => write!(
                f,
                "the header '{name}' has more than {LONGEST_HEADER} bytes"
            ),
            Why::NotAscii => write!(f, "the header '{name}' is no ASCII text"),
        }
    }
}

impl std::error::Error for BadHeader {}
