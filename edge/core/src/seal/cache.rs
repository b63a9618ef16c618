//! The symmetric form, for what a node keeps for itself alone: no recipients and no signature, but
//! a thousand times faster.
//!
//! `sealedge-cache:v1:`, 32 bytes of salt, the header and the ciphertext; `docs/sealed-record.md`
//! specifies it. Whoever has the node's secret can make such entries, nobody else.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::CannotOpen;
use super::format::{self, Reader};
use super::record::{Header, NONCE};
use crate::crypto::{Crypto, NotSealed, Random, TAG_LENGTH};
use crate::key::Secret;
use crate::name::Name;

/// How an entry begins, and what its key is derived for.
const PREFIX: &[u8] = b"sealedge-cache:v1:";
const SALT_LENGTH: usize = 32;

/// Seals a value under the node's secret. The entry is of bytes, not text.
pub fn seal(
    crypto: &dyn Crypto,
    random: &mut Random<'_>,
    plaintext: &[u8],
    header: &Header,
    secret: &Secret,
) -> Result<Vec<u8>, NotSealed> {
    let mut salt = [0; SALT_LENGTH];
    random(&mut salt);
    let mut entry = [PREFIX, &salt].concat();
    format::write_header(&mut entry, header);

    let mut content = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_LENGTH));
    content.extend_from_slice(plaintext);
    let key = derive(secret, &salt).ok_or(NotSealed)?;
    crypto.aes256_gcm_seal(&key, &NONCE, &entry, &mut content)?;
    entry.extend_from_slice(&content);
    Ok(entry)
}

/// Opens an entry that was found under `name`.
pub fn open(
    crypto: &dyn Crypto,
    entry: &[u8],
    name: &Name,
    secret: &Secret,
) -> Result<(Header, Zeroizing<Vec<u8>>), CannotOpen> {
    let mut reader = Reader::new(entry);
    if reader.take(PREFIX.len()) != Ok(PREFIX) {
        return Err(CannotOpen::NotSealed);
    }
    let salt = reader.array()?;
    let header = reader.header()?;
    let mut content = Zeroizing::new(reader.rest.to_vec());
    let key = derive(secret, &salt).ok_or(CannotOpen::NotAuthentic)?;
    crypto
        .aes256_gcm_open(&key, &NONCE, reader.taken(), &mut content)
        .map_err(|_| CannotOpen::NotAuthentic)?;
    if header.name != *name {
        return Err(CannotOpen::OtherName(header.name));
    }
    Ok((header, content))
}

/// HKDF-SHA-256 (RFC 5869). The key encrypts one entry: its salt is fresh.
fn derive(secret: &Secret, salt: &[u8; SALT_LENGTH]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let hkdf = Hkdf::<Sha256>::new(Some(salt), secret.expose());
    hkdf.expand(PREFIX, key.as_mut_slice()).ok()?;
    Some(key)
}
