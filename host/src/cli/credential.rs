//! Who we are to the server: an API key or a key file and a certificate file, from the environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sealedge_core::api_key::ApiKey;
use sealedge_core::auth::signature::{Sign, Signer};
use sealedge_core::identity::Identity;
use zeroize::Zeroizing;

use super::certificate;
use super::endpoint::first_set;
use super::error::Error;
use crate::{file, private_key};

/// The variables that hold an API key; the first one set wins.
pub const API_KEY: [&str; 3] = ["MINIO_KES_API_KEY", "KES_API_KEY", "MINIO_KMS_KES_API_KEY"];
/// The variables that name the file of the private key.
pub const KEY_FILE: [&str; 3] = [
    "MINIO_KES_KEY_FILE",
    "KES_CLIENT_KEY",
    "MINIO_KES_CLIENT_KEY",
];
/// The variables that name the file of the certificate.
pub const CERTIFICATE_FILE: [&str; 3] = [
    "MINIO_KES_CERT_FILE",
    "KES_CLIENT_CERT",
    "MINIO_KES_CLIENT_CERT",
];

/// What the environment says who we are. An API key goes before files, as in KES.
pub enum Credential {
    /// A client certificate will be made of it.
    ApiKey(ApiKey),
    /// PEM files.
    Files {
        /// The private key: PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
        /// The certificate, leaf first.
        certificate: PathBuf,
    },
}

impl Credential {
    /// Looks at the variables through `get`.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        if let Some((variable, text)) = first_set(&API_KEY, &get) {
            let text = Zeroizing::new(text);
            let key = text.trim().parse().map_err(|reason| Error::ApiKey {
                source: variable,
                reason,
            })?;
            return Ok(Self::ApiKey(key));
        }
        match (
            first_set(&KEY_FILE, &get),
            first_set(&CERTIFICATE_FILE, &get),
        ) {
            (Some((_, key)), Some((_, certificate))) => Ok(Self::Files {
                key: key.into(),
                certificate: certificate.into(),
            }),
            (Some((set, _)), None) => Err(Error::HalfCredential {
                set,
                missing: CERTIFICATE_FILE,
            }),
            (None, Some((set, _))) => Err(Error::HalfCredential {
                set,
                missing: KEY_FILE,
            }),
            (None, None) => Err(Error::NoCredential),
        }
    }

    /// The certificate chain and private key for TLS. Reads the files.
    pub fn load(&self) -> Result<ClientCertificate, Error> {
        match self {
            Self::ApiKey(key) => {
                let (certificate, pem) =
                    certificate::of_api_key(key).map_err(Error::Certificate)?;
                Ok(ClientCertificate {
                    chain: vec![certificate],
                    key: pem.as_bytes().to_vec().into(),
                    identity: key.identity(),
                })
            }
            Self::Files { key, certificate } => from_files(key, certificate),
        }
    }

    /// What signs requests, if this can: `certificate` is what was loaded of it.
    pub fn into_signer(self, certificate: &ClientCertificate) -> Option<Signer> {
        match self {
            Self::ApiKey(key) => Some(Signer::new(key)),
            Self::Files { .. } => {
                let chain: Vec<_> = certificate.chain.iter().map(|der| &**der).collect();
                Signer::of_certificate(&chain, by_key(&certificate.key)?)
            }
        }
    }
}

/// Signs by a private key as PEM: Ed25519 or P-256, in PKCS#8.
fn by_key(pem: &[u8]) -> Option<Sign> {
    let PrivateKeyDer::Pkcs8(key) = PrivateKeyDer::from_pem_slice(pem).ok()? else {
        return None;
    };
    let der = key.secret_pkcs8_der();
    if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Some(Box::new(move |message| key.sign(message).as_ref().to_vec()));
    }
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random).ok()?;
    Some(Box::new(move |message| {
        let signature = key.sign(&random, message);
        signature.map_or_else(|_| Vec::new(), |signature| signature.as_ref().to_vec())
    }))
}

/// What the client shows in the TLS handshake.
pub struct ClientCertificate {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key, as PEM.
    pub key: Zeroizing<Vec<u8>>,
    /// Who the leaf stands for.
    pub identity: Identity,
}

fn from_files(key_file: &Path, certificate_file: &Path) -> Result<ClientCertificate, Error> {
    let in_certificate_file = |reason| Error::CertificateFile {
        path: certificate_file.to_owned(),
        reason,
    };
    let chain = certificate::chain(&read(certificate_file)?).map_err(in_certificate_file)?;
    let identity = certificate::identity(&chain).map_err(in_certificate_file)?;
    let key = read_key(key_file)?;
    let in_key_file = |reason| Error::KeyFile {
        path: key_file.to_owned(),
        reason,
    };
    let private_key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| in_key_file(None))?;
    // A key of another certificate is refused here, where its file can be named.
    CertifiedKey::from_der(chain.clone(), private_key, &provider())
        .map_err(|reason| in_key_file(Some(reason)))?;
    Ok(ClientCertificate {
        chain,
        key,
        identity,
    })
}

/// The private key as PEM; asks for its password if it is under one.
pub fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let pem = read(path)?;
    if private_key::is_encrypted_unsafely(&pem) {
        return Err(Error::OldEncryption {
            path: path.to_owned(),
        });
    }
    if !private_key::is_encrypted(&pem) {
        return Ok(pem);
    }
    let password = ask_password(&format!("Password of `{}`: ", path.display()))?;
    let key = private_key::decrypt(&pem, &password).map_err(|reason| Error::PasswordOfKey {
        path: path.to_owned(),
        reason,
    })?;
    Ok(key.as_bytes().to_vec().into())
}

/// Asks at the terminal, where nothing that is typed is shown.
pub fn ask_password(question: &str) -> Result<Zeroizing<String>, Error> {
    rpassword::prompt_password(question)
        .map(Zeroizing::new)
        .map_err(Error::AskPassword)
}

/// The content of a file that may hold a secret.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    file::read(path).map_err(|reason| Error::Read {
        path: path.to_owned(),
        reason,
    })
}

/// The certificates that the system trusts, or those of SSL_CERT_FILE and SSL_CERT_DIR.
pub fn trusted() -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut loaded = rustls_native_certs::load_native_certs();
    // One bad file among the system's own is no matter, but one that somebody named is.
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    match loaded.errors.pop() {
        Some(reason) if named => Err(Error::Roots(Some(reason))),
        reason if loaded.certs.is_empty() => Err(Error::Roots(reason)),
        _ => Ok(loaded.certs),
    }
}

/// The cryptography of TLS.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc";
    const OTHER: &str = "kes:v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn given(variables: &[(&str, &str)]) -> Result<Credential, Error> {
        Credential::from_environment(|name| {
            variables
                .iter()
                .find(|it| it.0 == name)
                .map(|it| it.1.to_owned())
        })
    }

    fn identity(variables: &[(&str, &str)]) -> String {
        match given(variables) {
            Ok(Credential::ApiKey(key)) => key.identity().to_string(),
            _ => panic!("no API key"),
        }
    }

    #[test]
    fn the_first_api_key_wins_over_files() {
        let expected = "3ecfcdf38fcbe141ae26a1030f81e96b753365a46760ae6b578698a97c59fd22";
        let files = [("KES_CLIENT_KEY", "k"), ("KES_CLIENT_CERT", "c")];
        assert_eq!(
            identity(&[
                files[0],
                files[1],
                ("KES_API_KEY", OTHER),
                ("MINIO_KES_API_KEY", KEY)
            ]),
            expected
        );
        assert_eq!(
            identity(&[("MINIO_KMS_KES_API_KEY", OTHER), ("KES_API_KEY", KEY)]),
            expected
        );
        assert_eq!(identity(&[("MINIO_KMS_KES_API_KEY", KEY)]), expected);
    }

    #[test]
    fn files_come_in_pairs() {
        let pair = [
            ("MINIO_KES_CLIENT_KEY", "k"),
            ("MINIO_KES_CERT_FILE", "c"),
            ("KES_CLIENT_CERT", "d"),
        ];
        let Ok(Credential::Files { key, certificate }) = given(&pair) else {
            panic!("no files")
        };
        assert_eq!((key, certificate), ("k".into(), "c".into()));
        assert!(matches!(
            given(&pair[..1]),
            Err(Error::HalfCredential {
                set: "MINIO_KES_CLIENT_KEY",
                missing: CERTIFICATE_FILE
            })
        ));
        assert!(matches!(
            given(&pair[2..]),
            Err(Error::HalfCredential {
                set: "KES_CLIENT_CERT",
                missing: KEY_FILE
            })
        ));
        assert!(matches!(given(&[]), Err(Error::NoCredential)));
    }

    #[test]
    fn a_wrong_api_key_is_not_repeated() {
        let error = given(&[("KES_API_KEY", "kes:v1:secret")]).err().unwrap();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(error.to_string().contains("KES_API_KEY"), "{error}");
    }

    #[test]
    fn a_key_of_another_kind_signs_nothing() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let p256 = rcgen::KeyPair::generate().unwrap();
        assert!(by_key(p384.serialize_pem().as_bytes()).is_none());
        let sign = by_key(p256.serialize_pem().as_bytes()).unwrap();
        assert_eq!(sign(b"message").len(), 64);
        assert!(by_key(b"no key").is_none());
    }

    #[test]
    fn an_api_key_can_sign_for_its_certificate() {
        let ClientCertificate { chain, key, .. } =
            given(&[("KES_API_KEY", KEY)]).unwrap().load().unwrap();
        let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
        assert!(CertifiedKey::from_der(chain, key, &provider()).is_ok());
    }
}
