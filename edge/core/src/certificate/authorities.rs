//! Authorities that issue client certificates, where the platform has no TLS of its own that judges them.

use std::fmt;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::algorithms::ALL;
use crate::time::Time;

/// Authorities that are trusted.
pub struct Authorities(Vec<TrustAnchor<'static>>);

/// Why a text has no authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAuthorities {
    /// It is no PEM (RFC 7468), or has no certificate.
    NoCertificate,
    /// The certificate with this number, the first being 1, can't be read.
    Unreadable(usize),
}

impl fmt::Display for BadAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("there is no certificate in PEM in it"),
            Self::Unreadable(number) => write!(f, "its certificate {number} can't be read"),
        }
    }
}

impl std::error::Error for BadAuthorities {}

impl Authorities {
    /// Those whose certificates are in a PEM text.
    ///
    /// # Errors
    /// There is none, or one can't be read.
    pub fn from_pem(text: &str) -> Result<Self, BadAuthorities> {
        let certificates = CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| BadAuthorities::NoCertificate)?;
        if certificates.is_empty() {
            return Err(BadAuthorities::NoCertificate);
        }
        let anchors = certificates.iter().enumerate().map(|(at, certificate)| {
            let anchor = anchor_from_trusted_cert(certificate);
            let anchor = anchor.map_err(|_| BadAuthorities::Unreadable(at + 1))?;
            Ok(anchor.to_owned())
        });
        anchors.collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them has issued the first certificate (DER), by way of the others, for a client and for
    /// now (RFC 5280, 6.1). Revocation is not looked at.
    pub fn have_issued(&self, certificates: &[Vec<u8>], now: Time) -> bool {
        let certificates: Vec<_> = certificates
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let Some((own, others)) = certificates.split_first() else {
            return false;
        };
        let Ok(own) = EndEntityCert::try_from(own) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_nanos(now.as_nanos()));
        own.verify_for_usage(
            ALL,
            &self.0,
            others,
            now,
            KeyUsage::client_auth(),
            None,
            None,
        )
        .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa,
        KeyPair, SignatureAlgorithm, date_time_ymd,
    };

    /// 2030-01-01T00:00:00Z.
    fn now() -> Time {
        Time::from_nanos(1_893_456_000_000_000_000)
    }

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn params() -> CertificateParams {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2040, 1, 1);
        params
    }

    fn client() -> CertificateParams {
        let mut params = params();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params
    }

    fn authority_params() -> CertificateParams {
        let mut params = params();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn authority(key: KeyPair) -> Issuer {
        CertifiedIssuer::self_signed(authority_params(), key).unwrap()
    }

    fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
        KeyPair::generate_for(algorithm).unwrap()
    }

    /// A certificate in DER of a new key.
    fn issued(params: &CertificateParams, by: &Issuer) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, by).unwrap().der().to_vec()
    }

    fn have_issued(authority: &Issuer, certificates: &[Vec<u8>]) -> bool {
        let authorities = Authorities::from_pem(&authority.pem()).unwrap();
        authorities.have_issued(certificates, now())
    }

    /// The key of an authority by RSA, of 2048 bits: a fixed one, for making one takes seconds.
    fn rsa_key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
        KeyPair::from_pem_and_sign_algo(include_str!("rsa-of-tests.pem"), algorithm).unwrap()
    }

    #[test]
    fn certificates_of_every_algorithm_are_judged() {
        let other = authority(key(&rcgen::PKCS_ECDSA_P256_SHA256));
        for key in [
            key(&rcgen::PKCS_ECDSA_P256_SHA256),
            key(&rcgen::PKCS_ECDSA_P384_SHA384),
            key(&rcgen::PKCS_ED25519),
            rsa_key(&rcgen::PKCS_RSA_SHA256),
            rsa_key(&rcgen::PKCS_RSA_SHA384),
            rsa_key(&rcgen::PKCS_RSA_SHA512),
        ] {
            let algorithm = format!("{:?}", key.algorithm());
            let authority = authority(key);
            let certificate = issued(&client(), &authority);
            assert!(
                have_issued(&authority, std::slice::from_ref(&certificate)),
                "{algorithm}"
            );
            assert!(
                !have_issued(&other, std::slice::from_ref(&certificate)),
                "{algorithm}"
            );
            // What is signed is its first part; the signature is at its end.
            for at in [certificate.len() / 2, certificate.len() - 9] {
                let mut changed = certificate.clone();
                changed[at] ^= 1;
                assert!(!have_issued(&authority, &[changed]), "{algorithm}");
            }
        }
    }

    #[test]
    fn what_is_not_for_a_client_now_is_refused() {
        let authority = authority(KeyPair::generate().unwrap());
        let is_issued = |change: fn(&mut CertificateParams)| {
            let mut params = client();
            change(&mut params);
            have_issued(&authority, &[issued(&params, &authority)])
        };
        assert!(is_issued(|_| {}));
        assert!(is_issued(|params| params.extended_key_usages.clear()));
        assert!(!is_issued(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }));
        assert!(!is_issued(
            |params| params.not_after = date_time_ymd(2029, 12, 31)
        ));
        assert!(!is_issued(
            |params| params.not_before = date_time_ymd(2030, 1, 2)
        ));
        assert!(!have_issued(&authority, &[]));
        assert!(!have_issued(&authority, &[b"no certificate".to_vec()]));
    }

    #[test]
    fn a_chain_is_followed_to_its_authority() {
        let root = authority(KeyPair::generate().unwrap());
        let between = |params: CertificateParams| {
            let key = KeyPair::generate().unwrap();
            CertifiedIssuer::signed_by(params, key, &root).unwrap()
        };
        let issuer = between(authority_params());
        let own = issued(&client(), &issuer);
        let der = issuer.der().to_vec();
        assert!(have_issued(&root, &[own.clone(), der.clone()]));
        assert!(!have_issued(&root, &[own]));
        // A client is no authority.
        let client_key = between(client());
        let own = issued(&client(), &client_key);
        assert!(!have_issued(&root, &[own, client_key.der().to_vec()]));
    }

    #[test]
    fn authorities_are_read_or_refused() {
        let pem = authority(KeyPair::generate().unwrap()).pem();
        assert_eq!(
            Authorities::from_pem(&format!("{pem}{pem}"))
                .unwrap()
                .0
                .len(),
            2
        );
        let bad = |text: &str| Authorities::from_pem(text).err();
        assert_eq!(bad(""), Some(BadAuthorities::NoCertificate));
        let cut = pem.get(..pem.len() / 2).unwrap();
        assert_eq!(bad(cut), Some(BadAuthorities::NoCertificate));
        let other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(
            bad(&format!("{pem}{other}")),
            Some(BadAuthorities::Unreadable(2))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(text: String, certificates: Vec<Vec<u8>>) {
            prop_assert!(Authorities::from_pem(&text).is_err());
            prop_assert!(!Authorities(Vec::new()).have_issued(&certificates, now()));
        }
    }
}
