//! TLS as the configuration wants it: the server's certificate, and what is asked of clients.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};

use x509_parser::prelude::{FromDer, X509Certificate};

use crate::guest::types::Tls;
use crate::pem;

/// The server's private key and its certificate chain.
pub struct ServerCertificate {
    /// The chain, the server's own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

/// Why there can be no TLS.
#[derive(Debug)]
pub struct TlsError {
    /// The configuration's field at fault.
    field: &'static str,
    /// The file that it names.
    path: String,
    reason: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.field, self.path, self.reason)
    }
}

impl std::error::Error for TlsError {}

impl Clone for ServerCertificate {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

impl ServerCertificate {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// [`TlsError`] names the field, the file and what is wrong with it.
    pub fn read(tls: &Tls) -> Result<Self, TlsError> {
        let failed = |field, path: &str, reason: &dyn fmt::Display| TlsError {
            field,
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let chain = pem::certificates(Path::new(&tls.certificate))
            .map_err(|reason| failed("tls.cert", &tls.certificate, &reason))?;
        let key = pem::private_key(Path::new(&tls.key), tls.password.as_deref())
            .map_err(|reason| failed("tls.key", &tls.key, &reason))?;
        Ok(Self { chain, key })
    }

    /// One for this machine's own names, of a new key.
    ///
    /// # Errors
    /// Why it can't be made.
    pub fn of_this_machine() -> Result<Self, String> {
        let failed = |error: rcgen::Error| error.to_string();
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.self_signed(&key))
            .map_err(failed)?;
        Ok(Self {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }
}

impl ServerCertificate {
    /// What the operator should know of the certificate at this time, in seconds since the Unix epoch.
    pub fn warning(&self, now: i64) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(self.chain.first()?).ok()?;
        let validity = certificate.validity();
        let is_expired = now > validity.not_after.timestamp();
        let is_early = now < validity.not_before.timestamp();
        match (is_expired, is_early) {
            (true, _) => Some(format!(
                "tls.cert: the certificate has expired ({}): clients will refuse it",
                validity.not_after
            )),
            (_, true) => Some(format!(
                "tls.cert: the certificate is not valid before {}: clients will refuse it",
                validity.not_before
            )),
            (false, false) => None,
        }
    }
}

/// What is asked of clients' certificates.
///
/// # Errors
/// [`TlsError`] names the field at fault.
pub fn client_verifier(tls: &Tls) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    if !tls.verify_clients {
        return Ok(Arc::new(AnyCertificate {
            provider,
            mandatory: !tls.certificate_optional,
        }));
    }
    let path = tls
        .authorities
        .as_deref()
        .unwrap_or("the system's authorities");
    let failed = |reason: &dyn fmt::Display| TlsError {
        field: "tls.ca",
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let roots =
        authorities(tls.authorities.as_deref().map(Path::new)).map_err(|reason| failed(&reason))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = if tls.certificate_optional {
        verifier.allow_unauthenticated()
    } else {
        verifier
    };
    verifier.build().map_err(|reason| failed(&reason))
}

/// Whether certificates (DER, the client's own first) would be let in now.
pub fn admits(clients: &dyn ClientCertVerifier, chain: &[Vec<u8>]) -> bool {
    let chain: Vec<CertificateDer<'_>> = chain
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    match chain.split_first() {
        Some((own, others)) => clients
            .verify_client_cert(own, others, UnixTime::now())
            .is_ok(),
        None => !clients.client_auth_mandatory(),
    }
}

/// The settings of the server's side of TLS.
///
/// # Errors
/// [`TlsError`] names the field at fault.
pub fn server_config(
    tls: &Tls,
    server: ServerCertificate,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, TlsError> {
    let failed = |field, path: &str, reason: &dyn fmt::Display| TlsError {
        field,
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|reason| failed("tls", "", &reason))?
        .with_client_cert_verifier(clients)
        .with_single_cert(server.chain, server.key)
        .map_err(|reason| match reason {
            Error::InconsistentKeys(_) => {
                let certificate = &tls.certificate;
                let reason = format!("it is not the key of tls.cert: {certificate}");
                failed("tls.key", &tls.key, &reason)
            }
            reason => failed("tls.key", &tls.key, &reason),
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The system's authorities and those of a PEM file, or of all files of a directory.
fn authorities(path: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = pem::system_authorities();
    path.map_or(Ok(()), |path| pem::add_authorities(&mut roots, path))?;
    Ok(roots)
}

/// Takes any client certificate (`tls.auth: off`): its public key is who the client is. That the
/// client has the private key is always verified, by the handshake's signature.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
