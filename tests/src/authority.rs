//! A certificate authority of a test's own.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};
use rustls::pki_types::CertificateDer;

use crate::client::{Credentials, to_pem};

/// An authority that issues certificates to clients.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// An authority of this name with a certificate that it has signed itself.
    ///
    /// # Panics
    /// If there is no such certificate.
    pub fn new(name: &str) -> Self {
        Self::signed(name, |params, key| params.self_signed(key))
    }

    /// One of this name that has its certificate from this one.
    ///
    /// # Panics
    /// If there is no such certificate.
    pub fn below(&self, name: &str) -> Self {
        Self::signed(name, |params, key| params.signed_by(key, &self.issuer))
    }

    fn signed(
        name: &str,
        sign: impl FnOnce(&CertificateParams, &KeyPair) -> Result<Certificate, rcgen::Error>,
    ) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = sign(&params, &key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's own certificate as PEM.
    pub fn pem(&self) -> String {
        to_pem(&self.certificate)
    }

    /// Issues a certificate with these contents, for a new key: a client's, unless they say otherwise.
    ///
    /// # Panics
    /// If there is no such certificate.
    pub fn issue(&self, mut params: CertificateParams) -> Credentials {
        if params.extended_key_usages.is_empty() {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credentials {
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
        }
    }
}
