//! Sealing and opening: what a record's parts mean, and in which order they are believed.

use zeroize::Zeroizing;

use super::error::{CannotOpen, CannotSeal};
use super::format::{self, Record, Stanza};
use super::identity::{Fingerprint, NodeIdentity, Recipient};
use super::{hpke, signature};
use crate::crypto::{Crypto, Random, TAG_LENGTH};
use crate::key::Secret;
use crate::name::Name;
use crate::time::Time;

pub use super::format::is_sealed;

/// The most recipients that a record has.
pub const MAX_RECIPIENTS: usize = 64;
/// The most bytes that a record holds: with their tag, its length has two bytes.
pub const MAX_PLAINTEXT: usize = u16::MAX as usize - TAG_LENGTH;

/// AES-256-GCM under the content key itself, which encrypts nothing else: the nonce is zero.
const CONTENT_AES256_GCM: u16 = 1;
/// ECDSA on P-256 with SHA-256, see [`signature`].
const SIGNATURE_P256: u16 = 1;
/// HPKE on P-256, see [`hpke`].
const STANZA_HPKE_P256: u16 = 1;
/// The version of the key in the record: a name has only one so far.
const KEY_VERSION: u32 = 1;
pub(super) const NONCE: [u8; 12] = [0; 12];

/// What a record says of itself to everybody, and nobody can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name in the key store, under which alone it opens.
    pub name: Name,
    /// When it was sealed.
    pub sealed_at: Time,
}

/// An opened record.
pub struct Opened {
    /// What was sealed.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// What the record says of itself.
    pub header: Header,
    /// Who sealed it.
    pub signer: Fingerprint,
    /// Who can open it, in order.
    pub recipients: Vec<Fingerprint>,
}

/// Seals a value for each of the recipients, whoever is named twice counting once, in the name of
/// `identity`. The text is ASCII: `sealedge:v1:` and base64url.
pub fn seal(
    crypto: &dyn Crypto,
    random: &mut Random<'_>,
    plaintext: &[u8],
    header: &Header,
    recipients: &[Recipient],
    identity: &NodeIdentity,
) -> Result<String, CannotSeal> {
    let recipients = in_order(recipients)?;
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(CannotSeal::TooLong(plaintext.len()));
    }
    let key = Secret::random(random);
    let mut record = format::begin(
        CONTENT_AES256_GCM,
        SIGNATURE_P256,
        header,
        KEY_VERSION,
        identity.recipient().fingerprint(),
    );
    let info = record.clone();
    record.push(recipients.len() as u8); // at most 64
    for recipient in recipients {
        let opening = recipient.opening();
        let opening = opening.ok_or(CannotSeal::NoKeys(recipient.fingerprint()))?;
        let wrapped =
            hpke::wrap(&key, opening, &info, random).map_err(|_| CannotSeal::Primitive)?;
        let stanza = Stanza {
            recipient: recipient.fingerprint(),
            suite: STANZA_HPKE_P256,
            wrapped: &wrapped,
        };
        format::write_stanza(&mut record, &stanza);
    }
    format::write_length(&mut record, plaintext.len() + TAG_LENGTH);

    let mut content = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_LENGTH));
    content.extend_from_slice(plaintext);
    crypto
        .aes256_gcm_seal(key.expose(), &NONCE, &record, &mut content)
        .map_err(|_| CannotSeal::Primitive)?;
    record.extend_from_slice(&content);
    let signature = signature::sign(identity.signing(), &record).ok_or(CannotSeal::Primitive)?;
    record.extend_from_slice(&signature);
    Ok(format::encode(&record))
}

fn in_order(recipients: &[Recipient]) -> Result<Vec<&Recipient>, CannotSeal> {
    let mut recipients: Vec<_> = recipients.iter().collect();
    recipients.sort_by_key(|recipient| recipient.fingerprint());
    recipients.dedup_by_key(|recipient| recipient.fingerprint());
    match recipients.len() {
        0 => Err(CannotSeal::NoRecipient),
        1..=MAX_RECIPIENTS => Ok(recipients),
        count => Err(CannotSeal::TooManyRecipients(count)),
    }
}

/// Opens a value that was found under `name`, if one of `signers` sealed it for `identity`.
///
/// The signature comes first: nothing that a stranger wrote is decrypted, or believed.
pub fn open(
    crypto: &dyn Crypto,
    value: &[u8],
    name: &Name,
    identity: &NodeIdentity,
    signers: &[Recipient],
) -> Result<Opened, CannotOpen> {
    let bytes = format::decode(value)?;
    let record = format::read(&bytes)?;
    check_signature(&record, signers)?;
    if record.header.name != *name {
        return Err(CannotOpen::OtherName(record.header.name));
    }
    check_versions(&record)?;
    let key = content_key(&record, identity)?;
    let plaintext = decrypt(crypto, &record, &key)?;
    Ok(Opened {
        plaintext,
        signer: record.signer,
        recipients: recipients(&record),
        header: record.header,
    })
}

fn check_signature(record: &Record<'_>, signers: &[Recipient]) -> Result<(), CannotOpen> {
    if record.signature_suite != SIGNATURE_P256 {
        let id = record.signature_suite.into();
        return Err(CannotOpen::Unknown("signature algorithm", id));
    }
    let signer = signers
        .iter()
        .find(|signer| signer.fingerprint() == record.signer)
        .ok_or(CannotOpen::Stranger(record.signer))?;
    let is_valid = signer
        .signing()
        .is_some_and(|key| signature::is_valid(record.signature, key, record.signed));
    if !is_valid {
        return Err(CannotOpen::Forged(record.signer));
    }
    Ok(())
}

fn check_versions(record: &Record<'_>) -> Result<(), CannotOpen> {
    if record.key_version != KEY_VERSION {
        return Err(CannotOpen::Unknown("key version", record.key_version));
    }
    if record.content_suite != CONTENT_AES256_GCM {
        let id = record.content_suite.into();
        return Err(CannotOpen::Unknown("content algorithm", id));
    }
    Ok(())
}

/// Other recipients' stanzas may be of any suite.
fn content_key(record: &Record<'_>, identity: &NodeIdentity) -> Result<Secret, CannotOpen> {
    let node = identity.recipient().fingerprint();
    let stanza = record
        .stanzas
        .iter()
        .find(|stanza| stanza.recipient == node)
        .ok_or_else(|| CannotOpen::NotForThisNode {
            node,
            recipients: recipients(record),
        })?;
    if stanza.suite != STANZA_HPKE_P256 {
        return Err(CannotOpen::Unknown(
            "recipient algorithm",
            stanza.suite.into(),
        ));
    }
    hpke::unwrap(stanza.wrapped, identity.opening(), record.info).ok_or(CannotOpen::NotAuthentic)
}

fn decrypt(
    crypto: &dyn Crypto,
    record: &Record<'_>,
    key: &Secret,
) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
    let mut content = Zeroizing::new(record.ciphertext.to_vec());
    crypto
        .aes256_gcm_open(key.expose(), &NONCE, record.aad, &mut content)
        .map_err(|_| CannotOpen::NotAuthentic)?;
    Ok(content)
}

fn recipients(record: &Record<'_>) -> Vec<Fingerprint> {
    record
        .stanzas
        .iter()
        .map(|stanza| stanza.recipient)
        .collect()
}
