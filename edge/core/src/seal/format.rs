//! A record as bytes: what is where, and nothing of what it means.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::CannotOpen;
use super::identity::Fingerprint;
use super::record::{Header, MAX_RECIPIENTS};
use crate::name::Name;
use crate::time::Time;

/// How a record of this format begins. What is authenticated begins with it too.
const PREFIX: &[u8] = b"sealedge:v1:";
/// How records of all formats begin. None of what KES stores has a colon there.
const FAMILY: &[u8] = b"sealedge:";
/// Longer texts are not read.
const MAX_TEXT: usize = 128 * 1024;

/// A record's parts, none of which has been judged.
pub(super) struct Record<'a> {
    pub content_suite: u16,
    pub signature_suite: u16,
    pub header: Header,
    pub key_version: u32,
    pub signer: Fingerprint,
    pub stanzas: Vec<Stanza<'a>>,
    pub ciphertext: &'a [u8],
    pub signature: &'a [u8],
    /// All up to the signer: what each wrapped key is bound to.
    pub info: &'a [u8],
    /// All before the ciphertext: what the content is bound to.
    pub aad: &'a [u8],
    /// All before the signature.
    pub signed: &'a [u8],
}

/// The content key for one recipient.
pub(super) struct Stanza<'a> {
    pub recipient: Fingerprint,
    pub suite: u16,
    pub wrapped: &'a [u8],
}

/// Whether the value is a sealed record, be it of a format that is still to come.
pub fn is_sealed(value: &[u8]) -> bool {
    value.starts_with(FAMILY)
}

/// The prefix and the bytes that the rest of the value stands for.
pub(super) fn decode(value: &[u8]) -> Result<Vec<u8>, CannotOpen> {
    let Some(encoded) = value.strip_prefix(PREFIX) else {
        return Err(if is_sealed(value) {
            CannotOpen::LaterFormat
        } else {
            CannotOpen::NotSealed
        });
    };
    if value.len() > MAX_TEXT {
        return Err(CannotOpen::Damaged("it is too long"));
    }
    let mut record = PREFIX.to_vec();
    match URL_SAFE_NO_PAD.decode_vec(encoded, &mut record) {
        Ok(()) => Ok(record),
        Err(_) => Err(CannotOpen::Damaged("it is not base64url without padding")),
    }
}

/// The text of a finished record.
pub(super) fn encode(record: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(PREFIX).into_owned();
    URL_SAFE_NO_PAD.encode_string(record.get(PREFIX.len()..).unwrap_or_default(), &mut text);
    text
}

/// The beginning of a new record, up to the signer.
pub(super) fn begin(
    content_suite: u16,
    signature_suite: u16,
    header: &Header,
    key_version: u32,
    signer: Fingerprint,
) -> Vec<u8> {
    let mut record = PREFIX.to_vec();
    record.extend_from_slice(&content_suite.to_be_bytes());
    record.extend_from_slice(&signature_suite.to_be_bytes());
    write_header(&mut record, header);
    record.extend_from_slice(&key_version.to_be_bytes());
    record.extend_from_slice(&signer.0);
    record
}

pub(super) fn write_header(to: &mut Vec<u8>, header: &Header) {
    let name = header.name.as_str().as_bytes();
    to.push(name.len() as u8); // at most 80
    to.extend_from_slice(name);
    to.extend_from_slice(&header.sealed_at.as_nanos().to_be_bytes());
}

pub(super) fn write_stanza(to: &mut Vec<u8>, stanza: &Stanza<'_>) {
    to.extend_from_slice(&stanza.recipient.0);
    to.extend_from_slice(&stanza.suite.to_be_bytes());
    write_length(to, stanza.wrapped.len());
    to.extend_from_slice(stanza.wrapped);
}

/// Two bytes, which hold every length that [`super::record`] writes.
pub(super) fn write_length(to: &mut Vec<u8>, length: usize) {
    to.extend_from_slice(&(length as u16).to_be_bytes());
}

/// The parts of a decoded record. Every record has exactly one encoding.
pub(super) fn read(record: &[u8]) -> Result<Record<'_>, CannotOpen> {
    let mut reader = Reader::new(record);
    reader.take(PREFIX.len())?;
    let content_suite = u16::from_be_bytes(reader.array()?);
    let signature_suite = u16::from_be_bytes(reader.array()?);
    let header = reader.header()?;
    let key_version = u32::from_be_bytes(reader.array()?);
    let signer = Fingerprint(reader.array()?);
    let info = reader.taken();
    let stanzas = reader.stanzas()?;
    let length = reader.length()?;
    let aad = reader.taken();
    let ciphertext = reader.take(length)?;
    Ok(Record {
        content_suite,
        signature_suite,
        header,
        key_version,
        signer,
        stanzas,
        ciphertext,
        signature: reader.rest,
        info,
        aad,
        signed: reader.taken(),
    })
}

/// Reads from the front.
pub(super) struct Reader<'a> {
    all: &'a [u8],
    pub rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub const fn new(all: &'a [u8]) -> Self {
        Self { all, rest: all }
    }

    /// All that has been read.
    pub fn taken(&self) -> &'a [u8] {
        let length = self.all.len() - self.rest.len();
        self.all.get(..length).unwrap_or_default()
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], CannotOpen> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CannotOpen> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn header(&mut self) -> Result<Header, CannotOpen> {
        let [length] = self.array()?;
        let name = str::from_utf8(self.take(length.into())?).ok();
        let name = name.and_then(Name::new);
        Ok(Header {
            name: name.ok_or(CannotOpen::Damaged("its name is no name of a key"))?,
            sealed_at: Time::from_nanos(u64::from_be_bytes(self.array()?)),
        })
    }

    fn length(&mut self) -> Result<usize, CannotOpen> {
        Ok(u16::from_be_bytes(self.array()?).into())
    }

    fn stanzas(&mut self) -> Result<Vec<Stanza<'a>>, CannotOpen> {
        let [count] = self.array()?;
        if !(1..=MAX_RECIPIENTS).contains(&count.into()) {
            return Err(CannotOpen::Damaged("it has no or too many recipients"));
        }
        let mut stanzas: Vec<Stanza<'_>> = Vec::with_capacity(count.into());
        for _ in 0..count {
            let stanza = self.stanza()?;
            if stanzas
                .last()
                .is_some_and(|last| last.recipient >= stanza.recipient)
            {
                return Err(CannotOpen::Damaged("its recipients are not in order"));
            }
            stanzas.push(stanza);
        }
        Ok(stanzas)
    }

    fn stanza(&mut self) -> Result<Stanza<'a>, CannotOpen> {
        let recipient = Fingerprint(self.array()?);
        let suite = u16::from_be_bytes(self.array()?);
        let length = self.length()?;
        Ok(Stanza {
            recipient,
            suite,
            wrapped: self.take(length)?,
        })
    }
}

const CUT_OFF: CannotOpen = CannotOpen::Damaged("it is cut off");
