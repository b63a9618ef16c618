//! Private keys under a password: PKCS#8 with PBES2 (RFC 5958, 8018) as PEM (RFC 7468, 11).

use std::fmt;

use pkcs8::der::pem::PemLabel;
use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

/// Why a private key cannot be put under a password or be freed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateKeyError {
    /// The text is not one PEM block of the right kind.
    NotPem,
    /// The block is damaged, of an unknown kind, or the password is wrong: the format does not tell.
    WrongPassword,
    /// The private key could not be encrypted.
    Encrypt,
}

impl fmt::Display for PrivateKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPem => "there is no private key under a password in it",
            Self::WrongPassword => "the password is wrong, or the private key is damaged",
            Self::Encrypt => "the private key cannot be encrypted",
        })
    }
}

impl std::error::Error for PrivateKeyError {}

/// Whether a PEM file has a private key that [`decrypt`] reads.
pub fn is_encrypted(pem: &[u8]) -> bool {
    contains(pem, b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// Whether a PEM file has a private key under a password in the older way of OpenSSL
/// (RFC 1421, 4.6), which has no safe derivation of the key and is not read.
pub fn is_encrypted_unsafely(pem: &[u8]) -> bool {
    contains(pem, b"Proc-Type: 4,ENCRYPTED")
}

fn contains(text: &[u8], mark: &[u8]) -> bool {
    text.windows(mark.len()).any(|window| window == mark)
}

/// The private key of an `ENCRYPTED PRIVATE KEY` block, as a `PRIVATE KEY` block.
///
/// # Errors
/// If there is no such block, or the password is not its own.
pub fn decrypt(pem: &[u8], password: &str) -> Result<Zeroizing<String>, PrivateKeyError> {
    let document = block(pem, EncryptedPrivateKeyInfoRef::PEM_LABEL)?;
    EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
        .and_then(|encrypted| encrypted.decrypt(password))
        .map_err(|_| PrivateKeyError::WrongPassword)?
        .to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
        .map_err(|_| PrivateKeyError::WrongPassword)
}

/// A `PRIVATE KEY` block as an `ENCRYPTED PRIVATE KEY` block (scrypt, AES-256-CBC).
///
/// # Errors
/// If there is no such block, or no randomness.
pub fn encrypt(pem: &[u8], password: &str) -> Result<Zeroizing<String>, PrivateKeyError> {
    let document = block(pem, PrivateKeyInfoRef::PEM_LABEL)?;
    PrivateKeyInfoRef::try_from(document.as_bytes())
        .and_then(|key| key.encrypt(password))
        .map_err(|_| PrivateKeyError::Encrypt)?
        .to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
        .map_err(|_| PrivateKeyError::Encrypt)
}

fn block(pem: &[u8], expected: &str) -> Result<SecretDocument, PrivateKeyError> {
    let text = std::str::from_utf8(pem).map_err(|_| PrivateKeyError::NotPem)?;
    match SecretDocument::from_pem(text) {
        Ok((label, document)) if label == expected => Ok(document),
        _ => Err(PrivateKeyError::NotPem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_comes_back_with_its_password_only() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let encrypted = encrypt(key.as_bytes(), "correct horse").unwrap();
        assert!(is_encrypted(encrypted.as_bytes()) && !is_encrypted(key.as_bytes()));
        let plain = |pem: &str| pem.split_whitespace().collect::<String>();
        assert_eq!(
            plain(&decrypt(encrypted.as_bytes(), "correct horse").unwrap()),
            plain(&key)
        );
        assert_eq!(
            decrypt(encrypted.as_bytes(), "battery").unwrap_err(),
            PrivateKeyError::WrongPassword
        );
        assert_eq!(
            decrypt(key.as_bytes(), "").unwrap_err(),
            PrivateKeyError::NotPem
        );
    }

    /// Made by `openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:x` of a throw-away key.
    const OPENSSL: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgteaIZLSXXNwICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEA2COpnDaLd4pqt3oyLLasQEQLG9
85YxOQauUQ/mh4UQ3HV4GjVAw3Sh/WvFDoDvic3DjJPvmq+uMBsPYdFJEkSUP6kO
U+jqraHUNEdYDIwOXmY=
-----END ENCRYPTED PRIVATE KEY-----
";

    #[test]
    fn openssl_is_understood() {
        assert!(decrypt(OPENSSL.as_bytes(), "x").is_ok());
        assert_eq!(
            decrypt(OPENSSL.as_bytes(), "y").unwrap_err(),
            PrivateKeyError::WrongPassword
        );
    }

    proptest! {
        #[test]
        fn any_file_is_refused(text in "(-----BEGIN ENCRYPTED PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{0,80}\n-----END ENCRYPTED PRIVATE KEY-----\n)?.{0,80}") {
            prop_assert!(decrypt(text.as_bytes(), "x").is_err());
        }
    }
}
