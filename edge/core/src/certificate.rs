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

    /// The length of every principal as bytes.
    pub const LENGTH: usize = 33;

    /// The principal as bytes: its kind, and its identity or zeros.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let (kind, identity) = match self {
            Self::Client(identity) => (4, *identity.as_bytes()),
            Self::Nobody => (0, [0; 32]),
            Self::Several => (1, [0; 32]),
            Self::NotFirst => (2, [0; 32]),
            Self::Unreadable => (3, [0; 32]),
        };
        let mut bytes = [kind; Self::LENGTH];
        for (to, from) in bytes.iter_mut().skip(1).zip(identity) {
            *to = from;
        }
        bytes
    }

    /// The principal that [`Principal::to_bytes`] wrote; anything else is nobody's certificate.
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        let [kind, identity @ ..] = bytes;
        match kind {
            4 => Self::Client(Identity::from_bytes(*identity)),
            0 => Self::Nobody,
            1 => Self::Several,
            2 => Self::NotFirst,
            _ => Self::Unreadable,
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

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    /// A certificate in DER, and its key's identity.
    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> (Vec<u8>, Identity) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        change(&mut params);
        let certificate = params.self_signed(&key).unwrap();
        let identity = identity_of(certificate.der()).unwrap();
        (certificate.der().to_vec(), identity)
    }

    fn client() -> (Vec<u8>, Identity) {
        certificate(|_| {})
    }

    fn authority() -> Vec<u8> {
        certificate(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)).0
    }

    fn of(chain: &[&[u8]]) -> Principal {
        Principal::of_chain(chain.iter().copied())
    }

    #[test]
    fn exactly_one_certificate_is_the_clients_and_the_first() {
        let (client, identity) = client();
        let other = certificate(|_| {}).0;
        let authority = authority();
        assert_eq!(of(&[]), Principal::Nobody);
        assert_eq!(of(&[&authority]), Principal::Nobody);
        assert_eq!(of(&[&client]), Principal::Client(identity));
        assert_eq!(of(&[&client, &authority]), Principal::Client(identity));
        assert_eq!(of(&[&authority, &client]), Principal::NotFirst);
        assert_eq!(of(&[&client, &other]), Principal::Several);
        assert_eq!(of(&[&authority, &client, &other]), Principal::Several);
        assert_eq!(of(&[&client, b"no certificate"]), Principal::Unreadable);
    }

    #[test]
    fn a_principal_survives_as_bytes() {
        for principal in [
            Principal::Client(client().1),
            Principal::Nobody,
            Principal::Several,
            Principal::NotFirst,
            Principal::Unreadable,
        ] {
            assert_eq!(Principal::from_bytes(&principal.to_bytes()), principal);
        }
        assert_eq!(Principal::from_bytes(&[9; 33]), Principal::Unreadable);
    }

    fn now() -> Time {
        Time::from_nanos(1_800_000_000_000_000_000)
    }

    /// The certificates as a proxy forwards them.
    fn header(certificates: &[&[u8]]) -> Vec<u8> {
        use base64::Engine;
        let pem: String = certificates
            .iter()
            .map(|der| {
                let text = base64::engine::general_purpose::STANDARD.encode(der);
                format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
            })
            .collect();
        percent_encode(pem.as_bytes(), NON_ALPHANUMERIC)
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_forwarded_certificate_must_be_one_and_valid() {
        let (client, identity) = client();
        assert_eq!(forwarded(&header(&[&client]), now()), Ok(identity));
        let unreadable = Err(ForwardedError::Unreadable);
        assert_eq!(forwarded(&header(&[&client, &client]), now()), unreadable);
        assert_eq!(forwarded(&header(&[]), now()), unreadable);
        assert_eq!(forwarded(&header(&[b"no certificate"]), now()), unreadable);
        assert_eq!(forwarded(b"%zz", now()), unreadable);
        assert_eq!(
            forwarded(&header(&[&authority()]), now()),
            Err(ForwardedError::Authority)
        );
        let expired = certificate(|params| params.not_after = date_time_ymd(2020, 1, 1)).0;
        assert_eq!(
            forwarded(&header(&[&expired]), now()),
            Err(ForwardedError::Expired)
        );
        let early = certificate(|params| params.not_before = date_time_ymd(2090, 1, 1)).0;
        assert_eq!(
            forwarded(&header(&[&early]), now()),
            Err(ForwardedError::NotYetValid)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = of(&[&bytes]);
            let _ = forwarded(&bytes, now());
        }

        #[test]
        fn a_damaged_certificate_is_read_or_refused(at: prop::sample::Index, byte: u8) {
            let (mut der, _) = client();
            let length = der.len();
            der[at.index(length)] = byte;
            let _ = of(&[&der]);
            let _ = forwarded(&header(&[&der]), now());
            der.truncate(at.index(length));
            prop_assert_eq!(of(&[&der]), Principal::Unreadable);
        }
    }
}
