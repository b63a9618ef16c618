//! X.509: certificates made for API keys and for files, and the identity of one read.

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealedge_core::api_key::ApiKey;
use sealedge_core::identity::Identity;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

/// How long the certificate made of an API key is valid (the KES protocol, section 1).
const API_KEY_VALIDITY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long before now a new certificate becomes valid: whoever reads it may have a clock that is behind.
const BACKDATED: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a certificate cannot be made or read.
#[derive(Debug)]
pub enum CertificateError {
    /// There is no `BEGIN CERTIFICATE` block.
    NoPem,
    /// The block is not a certificate.
    Malformed,
    /// The generator refused.
    Generate(rcgen::Error),
    /// The private key could not be encoded.
    Encode,
}

impl std::fmt::Display for CertificateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoPem => f.write_str("there is no PEM certificate in it"),
            Self::Malformed => f.write_str("its certificate is damaged"),
            Self::Generate(reason) => write!(f, "the certificate cannot be made: {reason}"),
            Self::Encode => f.write_str("the private key cannot be encoded"),
        }
    }
}

/// What a new certificate says.
pub struct Subject {
    /// The common name.
    pub name: String,
    /// DNS names and IP addresses that a server with it may be reached at.
    pub alternative_names: Vec<String>,
    /// From now on.
    pub validity: Duration,
    /// Client and, for a server, server authentication.
    pub usages: Vec<ExtendedKeyUsagePurpose>,
}

/// A certificate for `key`, signed with it.
pub fn self_signed(
    key: &KeyPair,
    subject: Subject,
) -> Result<rcgen::Certificate, CertificateError> {
    let mut params =
        CertificateParams::new(subject.alternative_names).map_err(CertificateError::Generate)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, subject.name);
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + subject.validity).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = subject.usages;
    params.self_signed(key).map_err(CertificateError::Generate)
}

/// An Ed25519 key pair to sign certificates with.
pub fn key_pair(api_key: &ApiKey) -> Result<KeyPair, CertificateError> {
    let document = api_key.to_pkcs8().map_err(|_| CertificateError::Encode)?;
    let private_key = PrivatePkcs8KeyDer::from(document.as_bytes());
    KeyPair::from_pkcs8_der_and_sign_algo(&private_key, &rcgen::PKCS_ED25519)
        .map_err(CertificateError::Generate)
}

/// The certificate that stands for an API key in TLS, and its private key as PEM.
pub fn of_api_key(
    api_key: &ApiKey,
) -> Result<(CertificateDer<'static>, Zeroizing<String>), CertificateError> {
    let key = key_pair(api_key)?;
    let subject = Subject {
        name: api_key.identity().to_string(),
        alternative_names: Vec::new(),
        validity: API_KEY_VALIDITY,
        usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    let certificate = self_signed(&key, subject)?;
    Ok((
        certificate.der().clone(),
        Zeroizing::new(key.serialize_pem()),
    ))
}

/// All certificates of a PEM file, in its order: the leaf is the first.
pub fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| CertificateError::Malformed)?;
    if chain.is_empty() {
        Err(CertificateError::NoPem)
    } else {
        Ok(chain)
    }
}

/// Who the first certificate of a chain stands for.
pub fn identity(chain: &[CertificateDer<'_>]) -> Result<Identity, CertificateError> {
    let leaf = chain.first().ok_or(CertificateError::NoPem)?;
    let (_, certificate) = parse_x509_certificate(leaf).map_err(|_| CertificateError::Malformed)?;
    Ok(Identity::of_public_key(certificate.public_key().raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use x509_parser::time::ASN1Time;

    #[test]
    fn an_api_key_and_its_certificate_are_one_identity() {
        let key: ApiKey = "kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc"
            .parse()
            .unwrap();
        let (der, _) = of_api_key(&key).unwrap();
        let (_, certificate) = parse_x509_certificate(&der).unwrap();
        let expected = "3ecfcdf38fcbe141ae26a1030f81e96b753365a46760ae6b578698a97c59fd22";
        assert_eq!(
            identity(std::slice::from_ref(&der)).unwrap().to_string(),
            expected
        );
        assert_eq!(certificate.subject().to_string(), format!("CN={expected}"));
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        let validity = certificate.validity();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let from_now = |time: ASN1Time| time.timestamp() - now.as_ref().unwrap().as_secs() as i64;
        let (day, minute) = (24 * 60 * 60, 60);
        assert!(from_now(validity.not_before).abs_diff(-day) < minute);
        assert!(from_now(validity.not_after).abs_diff(90 * day) < minute);
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in "(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]{0,80}\n-----END CERTIFICATE-----\n)?.{0,80}") {
            if let Ok(chain) = chain(text.as_bytes()) {
                prop_assert!(identity(&chain).is_err());
            }
        }
    }
}
