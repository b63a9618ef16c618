//! The three forms of a ciphertext (KES protocol, section 6). Only the current one is written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmp::decode::{Bytes, RmpRead, ValueReadError, read_array_len, read_bin_len, read_str_len};
use serde::Deserialize;
use std::borrow::Cow;
use zeroize::Zeroizing;

use super::cipher::{Cipher, Salt};
use crate::crypto::TAG_LENGTH;

/// Bytes by which a ciphertext is longer than its plaintext: tag, IV and nonce.
pub(super) const OVERHEAD: usize = TAG_LENGTH + Salt::LENGTH;

/// A ciphertext taken apart.
pub(super) struct Ciphertext {
    /// The cipher that the ciphertext names, in the older forms.
    pub cipher: Option<Cipher>,
    pub salt: Salt,
    /// The encrypted bytes and their tag, to be decrypted in place: a buffer that wipes itself.
    pub sealed: Zeroizing<Vec<u8>>,
}

impl Ciphertext {
    /// Takes a ciphertext of any form apart.
    ///
    /// A ciphertext of the current form may begin with any byte, so one that looks like an older
    /// form but is none is of the current form. `None` if it is too short even for that.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let older = match bytes.first()? {
            0x95 => Self::from_messagepack(bytes),
            b'{' => Self::from_json(bytes),
            _ => None,
        };
        older.or_else(|| Self::from_current(bytes))
    }

    /// Encrypted bytes and tag, IV, nonce.
    fn from_current(bytes: &[u8]) -> Option<Self> {
        let (rest, &nonce) = bytes.split_last_chunk()?;
        let (sealed, &iv) = rest.split_last_chunk()?;
        Some(Self {
            cipher: None,
            salt: Salt { iv, nonce },
            sealed: Zeroizing::new(sealed.to_vec()),
        })
    }

    /// An array of algorithm, id of the key, IV, nonce, encrypted bytes and tag.
    fn from_messagepack(bytes: &[u8]) -> Option<Self> {
        let mut rest = Bytes::new(bytes);
        if read_array_len(&mut rest).ok()? != 5 {
            return None;
        }
        let algorithm = take(&mut rest, read_str_len)?;
        let _id = take(&mut rest, read_str_len)?;
        let iv = take(&mut rest, read_bin_len)?;
        let nonce = take(&mut rest, read_bin_len)?;
        let sealed = take(&mut rest, read_bin_len)?;
        if !rest.remaining_slice().is_empty() {
            return None;
        }
        Some(Self {
            cipher: Some(std::str::from_utf8(algorithm).ok()?.parse().ok()?),
            salt: Salt {
                iv: iv.try_into().ok()?,
                nonce: nonce.try_into().ok()?,
            },
            sealed: Zeroizing::new(sealed.to_vec()),
        })
    }

    fn from_json(bytes: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(bytes).ok()?;
        let cipher = match &*json.aead {
            "AES-256-GCM-HMAC-SHA-256" => Cipher::Aes256,
            "ChaCha20Poly1305" => Cipher::ChaCha20,
            _ => return None,
        };
        let decode = |text: &str| STANDARD.decode(text).ok();
        Some(Self {
            cipher: Some(cipher),
            salt: Salt {
                iv: decode(&json.iv)?.try_into().ok()?,
                nonce: decode(&json.nonce)?.try_into().ok()?,
            },
            sealed: Zeroizing::new(decode(&json.bytes)?),
        })
    }
}

/// The oldest form; it may also hold the id of the key, which nothing needs.
#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    aead: Cow<'a, str>,
    #[serde(borrow)]
    iv: Cow<'a, str>,
    #[serde(borrow)]
    nonce: Cow<'a, str>,
    #[serde(borrow)]
    bytes: Cow<'a, str>,
}

/// Takes the next string or byte string, whose length `read_length` reads.
fn take<'a>(
    rest: &mut Bytes<'a>,
    read_length: impl FnOnce(
        &mut Bytes<'a>,
    ) -> Result<u32, ValueReadError<<Bytes<'a> as RmpRead>::Error>>,
) -> Option<&'a [u8]> {
    let length = usize::try_from(read_length(rest).ok()?).ok()?;
    let (taken, after) = rest.remaining_slice().split_at_checked(length)?;
    *rest = Bytes::new(after);
    Some(taken)
}
