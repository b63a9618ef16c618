//! Client certificates (RFC 5280) and what they say about who a client is.

use percent_encoding::percent_decode;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::identity::Identity;
use crate::time::Time;

/// What a connection's certificates say about the client. Worked out once a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// One certificate: this client.
    Client(Identity),
    /// No certificate, or only those of authorities.
    Nobody,
    /// More than one certificate that is no authority's.
    Several,
    /// The certificate is not the first: the handshake proved possession of another one's key.
    NotFirst,
    /// One of them is no certificate.
    Unreadable,
}

impl Principal {
    /// The client behind a chain of DER certificates in the order of the handshake (RFC 8446, 4.4.2),
    /// of which the first one's key has signed the handshake.
    ///
    /// Authorities' certificates are skipped; exactly one other must remain, and be the first:
    /// else anybody could send another's certificate behind one of their own.
    pub fn of_chain<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut found = Self::Nobody;
        for (position, der) in chain.into_iter().enumerate() {
            let Some(certificate) = parse(der) else {
                return Self::Unreadable;
            };
            if certificate.is_ca() {
                continue;
            }
            found = match found {
                Self::Nobody if position == 0 => Self::Client(identity(&certificate)),
                Self::Nobody => Self::NotFirst,
                _ => return Self::Several,
            };
        }
        found
    }

    /// The principal as bytes that a door can keep with a connection.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Client(identity) => identity.as_bytes().to_vec(),
            Self::Nobody => vec![0],
            Self::Several => vec![1],
            Self::NotFirst => vec![2],
            Self::Unreadable => vec![3],
        }
    }

    /// The principal that [`Principal::to_bytes`] wrote; anything else is nobody's certificate.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match bytes {
            [0] => Self::Nobody,
            [1] => Self::Several,
            [2] => Self::NotFirst,
            _ => bytes.try_into().map_or(Self::Unreadable, |hash| {
                Self::Client(Identity::from_bytes(hash))
            }),
        }
    }
}

/// Why a forwarded certificate does not identify a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedError {
    /// It is not one URL-escaped PEM certificate.
    Unreadable,
    /// It is an authority's certificate.
    Authority,
    /// It is not valid yet.
    NotYetValid,
    /// It is not valid any more.
    Expired,
}

/// The client whose certificate a TLS proxy forwards as URL-escaped PEM (RFC 7468).
///
/// # Errors
/// [`ForwardedError`] says what is wrong with it.
pub fn forwarded(header: &[u8], now: Time) -> Result<Identity, ForwardedError> {
    let text: Vec<u8> = percent_decode(header).collect();
    let mut blocks = Pem::iter_from_buffer(&text);
    let (Some(Ok(pem)), None) = (blocks.next(), blocks.next()) else {
        return Err(ForwardedError::Unreadable);
    };
    if pem.label != "CERTIFICATE" {
        return Err(ForwardedError::Unreadable);
    }
    let certificate = parse(&pem.contents).ok_or(ForwardedError::Unreadable)?;
    if certificate.is_ca() {
        return Err(ForwardedError::Authority);
    }
    let seconds = i64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if seconds < validity.not_before.timestamp() {
        return Err(ForwardedError::NotYetValid);
    }
    if seconds > validity.not_after.timestamp() {
        return Err(ForwardedError::Expired);
    }
    Ok(identity(&certificate))
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Some(certificate),
        _ => None,
    }
}

fn identity(certificate: &X509Certificate<'_>) -> Identity {
    Identity::of_public_key(certificate.public_key().raw)
}

/// The identity of a DER certificate's key, whatever else it says.
pub fn identity_of(der: &[u8]) -> Option<Identity> {
    parse(der).map(|certificate| identity(&certificate))
}
