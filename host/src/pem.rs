//! Certificates and private keys in PEM files (RFC 7468).

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{file, private_key};

/// All certificates of a PEM file, of which there must be one.
///
/// # Errors
/// What is wrong with the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = file::read(path).map_err(|reason| reason.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(chain) if chain.is_empty() => Err("no certificate in it (PEM is expected)".to_owned()),
        Ok(chain) => Ok(chain),
        Err(reason) => Err(format!("no PEM: {reason}")),
    }
}

/// A certificate as PEM.
pub fn certificate(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines = base64.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: String = lines.map(|line| line.into_owned() + "\n").collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

/// Adds all certificates of a PEM file, or of all files of a directory.
///
/// # Errors
/// What is wrong with which file.
pub fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    for file in authority_files(path).map_err(|reason| reason.to_string())? {
        let named = |reason: &dyn fmt::Display| format!("{}: {reason}", file.display());
        for authority in certificates(&file).map_err(|reason| named(&reason))? {
            roots.add(authority).map_err(|reason| named(&reason))?;
        }
    }
    Ok(())
}

/// The system's authorities.
pub fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// The file, or all files of the directory, that names authorities.
///
/// # Errors
/// The directory can't be read.
pub fn authority_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries: Result<Vec<_>, _> = fs::read_dir(path)?.collect();
    let paths = entries?.into_iter().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    files.sort_unstable();
    Ok(files)
}

/// The private key of a PEM file, which may be under a password.
///
/// # Errors
/// What is wrong with the file, or that it needs another password.
pub fn private_key(path: &Path, password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let pem = file::read(path).map_err(|reason| reason.to_string())?;
    if private_key::is_encrypted_unsafely(&pem) {
        return Err(
            "it is encrypted in OpenSSL's old way, which is not safe: convert it by \
                    `openssl pkcs8 -topk8 -in OLD -out NEW`"
                .to_owned(),
        );
    }
    let read = if private_key::is_encrypted(&pem) {
        let password = password.ok_or("it is encrypted: set tls.password")?;
        let plain = private_key::decrypt(&pem, password).map_err(|reason| reason.to_string())?;
        PrivateKeyDer::from_pem_slice(plain.as_bytes())
    } else {
        PrivateKeyDer::from_pem_slice(&pem)
    };
    read.map_err(|_| "no private key in it (PEM is expected)".to_owned())
}
