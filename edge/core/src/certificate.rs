//! Client certificates (RFC 5280) and what they say about who a client is.

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::auth::forwarded::Form;
use crate::identity::Identity;
use crate::time::Time;

mod algorithms;
pub mod authorities;

/// What a connection's certificates say about the client. Worked out once a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// One certificate: this client.
    Client {
        /// Who it is.
        identity: Identity,
        /// The first moment at which its certificate is not valid any more.
        expires: Time,
    },
    /// No certificate, or only those of authorities.
    Nobody,
    /// More than one certificate that is no authority's.
    Several,
    /// The certificate is not the first: the handshake proved possession of another one's key.
    NotFirst,
    /// One of them is no certificate.
    Unreadable,
    /// A client whose certificate was trusted when its connection began, and is not any more.
    Untrusted,
}

impl Principal {
    /// The client behind a chain of DER certificates in the order of the handshake (RFC 8446, 4.4.2),
    /// of which the first one's key has signed the handshake.
    ///
    /// Authorities' certificates are skipped; exactly one other must remain, and be the first:
    /// else anybody could send another's certificate behind one of their own. That client is not
    /// `trusted` if the platform would refuse these certificates in a handshake now.
    pub fn of_chain<'a>(chain: impl IntoIterator<Item = &'a [u8]>, trusted: bool) -> Self {
        let mut found = Self::Nobody;
        for (position, der) in chain.into_iter().enumerate() {
            let Some(certificate) = parse(der) else {
                return Self::Unreadable;
            };
            if certificate.is_ca() {
                continue;
            }
            found = match found {
                Self::Nobody if position == 0 => Self::Client {
                    identity: identity(&certificate),
                    expires: expiry(&certificate),
                },
                Self::Nobody => Self::NotFirst,
                _ => return Self::Several,
            };
        }
        match found {
            Self::Client { .. } if !trusted => Self::Untrusted,
            found => found,
        }
    }

    /// The length of every principal as bytes.
    pub const LENGTH: usize = 41;

    /// The principal as bytes: its kind, and what is known of a client or zeros.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let nothing = ([0; 32], Time::from_nanos(0));
        let (kind, (identity, expires)) = match self {
            Self::Nobody => (0, nothing),
            Self::Several => (1, nothing),
            Self::NotFirst => (2, nothing),
            Self::Unreadable => (3, nothing),
            Self::Untrusted => (4, nothing),
            Self::Client { identity, expires } => (5, (*identity.as_bytes(), expires)),
        };
        let known = identity.into_iter().chain(expires.as_nanos().to_le_bytes());
        let mut bytes = [kind; Self::LENGTH];
        for (to, from) in bytes.iter_mut().skip(1).zip(known) {
            *to = from;
        }
        bytes
    }

    /// The principal that [`Principal::to_bytes`] wrote; anything else is nobody's certificate.
    pub fn from_bytes([kind, known @ ..]: &[u8; Self::LENGTH]) -> Self {
        match kind {
            0 => Self::Nobody,
            1 => Self::Several,
            2 => Self::NotFirst,
            4 => Self::Untrusted,
            5 => Self::client_from(known).unwrap_or(Self::Unreadable),
            _ => Self::Unreadable,
        }
    }

    fn client_from(bytes: &[u8]) -> Option<Self> {
        let (identity, expires) = bytes.split_first_chunk()?;
        let expires = u64::from_le_bytes(expires.try_into().ok()?);
        Some(Self::Client {
            identity: Identity::from_bytes(*identity),
            expires: Time::from_nanos(expires),
        })
    }
}

/// Why a forwarded certificate does not identify a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedError {
    /// The header is not as its form has it.
    Form(Form),
    /// It is no certificate.
    Unreadable,
    /// It is an authority's certificate.
    Authority,
    /// It is not for clients.
    Usage,
    /// It is not valid yet.
    NotYetValid,
    /// It is not valid any more.
    Expired,
    /// No trusted authority has issued it.
    Untrusted,
}

/// The client whose certificate (DER) a TLS proxy forwards.
///
/// The second is the first moment at which that certificate is not valid any more.
///
/// # Errors
/// [`ForwardedError`] says what is wrong with it.
pub fn forwarded(der: &[u8], now: Time) -> Result<(Identity, Time), ForwardedError> {
    let certificate = parse(der).ok_or(ForwardedError::Unreadable)?;
    if certificate.is_ca() {
        return Err(ForwardedError::Authority);
    }
    // One that names no usage is for all (RFC 5280, 4.2.1.12).
    match certificate.extended_key_usage() {
        Ok(None) => {}
        Ok(Some(usage)) if usage.value.client_auth || usage.value.any => {}
        Ok(Some(_)) => return Err(ForwardedError::Usage),
        Err(_) => return Err(ForwardedError::Unreadable),
    }
    let seconds = i64::try_from(now.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if seconds < validity.not_before.timestamp() {
        return Err(ForwardedError::NotYetValid);
    }
    if seconds > validity.not_after.timestamp() {
        return Err(ForwardedError::Expired);
    }
    Ok((identity(&certificate), expiry(&certificate)))
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

/// The first moment after the certificate's validity, which has whole seconds (RFC 5280, 4.1.2.5).
fn expiry(certificate: &X509Certificate<'_>) -> Time {
    let last = certificate.validity().not_after.timestamp();
    let seconds = u64::try_from(last.saturating_add(1)).unwrap_or_default();
    Time::from_nanos(seconds.saturating_mul(1_000_000_000))
}

/// The first moment at which a DER certificate is not valid any more.
pub fn expires(der: &[u8]) -> Option<Time> {
    parse(der).map(|certificate| expiry(&certificate))
}

/// The identity of a DER certificate's key, whatever else it says.
pub fn identity_of(der: &[u8]) -> Option<Identity> {
    parse(der).map(|certificate| identity(&certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
    };

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
        Principal::of_chain(chain.iter().copied(), true)
    }

    /// This client, whose certificate outlasts what a time can say, as rcgen has it.
    fn expected(identity: Identity) -> Principal {
        let expires = Time::from_nanos(u64::MAX);
        Principal::Client { identity, expires }
    }

    #[test]
    fn exactly_one_certificate_is_the_clients_and_the_first() {
        let (client, identity) = client();
        let other = certificate(|_| {}).0;
        let authority = authority();
        assert_eq!(of(&[]), Principal::Nobody);
        assert_eq!(of(&[&authority]), Principal::Nobody);
        assert_eq!(of(&[&client]), expected(identity));
        assert_eq!(of(&[&client, &authority]), expected(identity));
        assert_eq!(of(&[&authority, &client]), Principal::NotFirst);
        let untrusted = Principal::of_chain([&client[..], &authority[..]], false);
        assert_eq!(untrusted, Principal::Untrusted);
        assert_eq!(of(&[&client, &other]), Principal::Several);
        assert_eq!(of(&[&authority, &client, &other]), Principal::Several);
        assert_eq!(of(&[&client, b"no certificate"]), Principal::Unreadable);
    }

    #[test]
    fn a_certificate_expires_after_its_last_second() {
        let until = |year| certificate(|params| params.not_after = date_time_ymd(year, 1, 1)).0;
        let expires = |der: &[u8]| match of(&[der]) {
            Principal::Client { expires, .. } => expires.as_nanos(),
            other => panic!("{other:?}"),
        };
        assert_eq!(expires(&until(2030)), 1_893_456_001_000_000_000);
        assert_eq!(expires(&until(1960)), 0);
        assert_eq!(expires(&until(4096)), u64::MAX);
    }

    #[test]
    fn a_principal_survives_as_bytes() {
        for principal in [
            of(&[&client().0]),
            Principal::of_chain([&client().0[..]], false),
            Principal::Nobody,
            Principal::Several,
            Principal::NotFirst,
            Principal::Unreadable,
        ] {
            assert_eq!(Principal::from_bytes(&principal.to_bytes()), principal);
        }
        assert_eq!(
            Principal::from_bytes(&[9; Principal::LENGTH]),
            Principal::Unreadable
        );
    }

    fn now() -> Time {
        Time::from_nanos(1_800_000_000_000_000_000)
    }

    #[test]
    fn a_forwarded_certificate_must_be_a_clients_and_valid() {
        let forwarded = |der: &[u8]| forwarded(der, now());
        let (client, identity) = client();
        let expires = Time::from_nanos(u64::MAX);
        assert_eq!(forwarded(&client), Ok((identity, expires)));
        assert_eq!(forwarded(b"none"), Err(ForwardedError::Unreadable));
        assert_eq!(forwarded(&authority()), Err(ForwardedError::Authority));
        let expired = certificate(|params| params.not_after = date_time_ymd(2020, 1, 1)).0;
        assert_eq!(forwarded(&expired), Err(ForwardedError::Expired));
        let early = certificate(|params| params.not_before = date_time_ymd(2090, 1, 1)).0;
        assert_eq!(forwarded(&early), Err(ForwardedError::NotYetValid));
        for (usage, is_clients) in [
            (ExtendedKeyUsagePurpose::ServerAuth, false),
            (ExtendedKeyUsagePurpose::ClientAuth, true),
            (ExtendedKeyUsagePurpose::Any, true),
        ] {
            let der = certificate(|params| params.extended_key_usages = vec![usage]).0;
            let usage = Err(ForwardedError::Usage);
            assert_eq!(
                forwarded(&der).map(drop),
                if is_clients { Ok(()) } else { usage }
            );
        }
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
            let _ = forwarded(&der, now());
            der.truncate(at.index(length));
            prop_assert_eq!(of(&[&der]), Principal::Unreadable);
        }
    }
}
