//! TLS on both sides of a proxy.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_rustls::TlsAcceptor;

use super::ProxyError;
use crate::cli::error::Error as CliError;
use crate::cli::proxy::ProxyOptions;
use crate::cli::{certificate, credential};
use crate::guest::types::Tls;
use crate::server::tls::{self, ServerCertificate};

/// What clients see of a proxy: any certificate of theirs is taken, or none, and judged by its identity
/// afterwards, where there are words to refuse it with.
///
/// # Errors
/// The key is not that of the certificate.
pub fn server_side(
    certificate: ServerCertificate,
    named: (&Path, &Path),
) -> Result<TlsAcceptor, ProxyError> {
    let settings = Tls {
        key: named.0.display().to_string(),
        certificate: named.1.display().to_string(),
        password: None,
        verify_clients: false,
        certificate_optional: true,
        authorities: None,
    };
    let clients = tls::client_verifier(&settings).map_err(ProxyError::Tls)?;
    let config = tls::server_config(&settings, certificate, clients).map_err(ProxyError::Tls)?;
    Ok(Arc::new(config).into())
}

/// The same with the certificate that the options name, if they name one.
///
/// # Errors
/// Which file can't be used, and why.
pub fn of_files(options: &ProxyOptions) -> Result<Option<TlsAcceptor>, CliError> {
    let (Some(key), Some(certificate)) = (&options.tls_key, &options.tls_cert) else {
        return Ok(None);
    };
    let acceptor = server_side(read(key, certificate)?, (key, certificate))?;
    Ok(Some(acceptor))
}

/// The key and the certificate of these files.
fn read(key: &Path, certificate: &Path) -> Result<ServerCertificate, CliError> {
    let chain = certificate::chain(&credential::read(certificate)?).map_err(|reason| {
        CliError::CertificateFile {
            path: certificate.to_owned(),
            reason,
        }
    })?;
    let pem = credential::read_key(key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| CliError::KeyFile {
        path: key.to_owned(),
        reason: None,
    })?;
    Ok(ServerCertificate { chain, key })
}

/// What a proxy shows to the server: no certificate, for a request has one credential.
///
/// # Errors
/// There are no certificates to trust.
pub fn client_side(insecure: bool) -> Result<ClientConfig, CliError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|reason| CliError::Proxy(ProxyError::NoTls(reason)))?;
    let builder: ConfigBuilder<ClientConfig, WantsClientCert> = if insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(credential::trusted()?);
        builder.with_root_certificates(roots)
    };
    Ok(builder.with_no_client_auth())
}

/// Takes any server's certificate (`-k`).
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
