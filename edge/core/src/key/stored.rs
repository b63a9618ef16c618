//! The value that a key store keeps (keystore facts, 0.5): what KES writes today, which is what we
//! write, and the JSON that old versions of it wrote, which is only read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use prost::Message;
use serde::Deserialize;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

use super::{Cipher, Key, Secret, UNKNOWN_TIME, UnsupportedCipher};

/// The longest text that names a key's creator, in bytes. An identity has 64.
pub const MAX_CREATED_BY: usize = 1024;

const AES256: u32 = 1;
const CHACHA20: u32 = 2;
const SHA256: u32 = 1;

const NANOSECONDS: i128 = 1_000_000_000;

#[derive(Message)]
#[prost(skip_debug)]
struct StoredKey {
    #[prost(message, optional, tag = "1")]
    secret: Option<StoredSecret>,
    #[prost(message, optional, tag = "2")]
    hmac_secret: Option<StoredSecret>,
    #[prost(message, optional, tag = "3")]
    created_at: Option<StoredTime>,
    #[prost(string, tag = "4")]
    created_by: String,
}

/// Secret bytes and the number of what they are for: a cipher or a hash.
#[derive(Message)]
#[prost(skip_debug)]
struct StoredSecret {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
    #[prost(uint32, tag = "2")]
    kind: u32,
}

impl Drop for StoredSecret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// `google.protobuf.Timestamp`: the nanoseconds count forward, before 1970 too.
#[derive(Message)]
#[prost(skip_debug)]
struct StoredTime {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanoseconds: i32,
}

/// The form of old versions. Writers of it escape nothing in base64, so the key's text is borrowed:
/// no copy of it has to be wiped.
#[derive(Deserialize)]
struct LegacyKey<'a> {
    bytes: &'a str,
    algorithm: Option<String>,
    created_at: Option<String>,
    created_by: Option<String>,
}

pub(super) fn write(key: &Key) -> Zeroizing<String> {
    let stored = StoredKey {
        secret: Some(StoredSecret {
            bytes: key.secret.expose().to_vec(),
            kind: match key.cipher {
                Cipher::Aes256 => AES256,
                Cipher::ChaCha20 => CHACHA20,
            },
        }),
        hmac_secret: key.hmac_secret.as_ref().map(|secret| StoredSecret {
            bytes: secret.expose().to_vec(),
            kind: SHA256,
        }),
        created_at: Some(write_time(key.created_at)),
        created_by: key.created_by.as_deref().unwrap_or_default().to_owned(),
    };
    let bytes = Zeroizing::new(stored.encode_to_vec());
    // Not `encode_string`, which goes through a buffer on the stack and leaves it there.
    Zeroizing::new(STANDARD.encode(&*bytes))
}

pub(super) fn read(value: &[u8]) -> Result<Key, CorruptKey> {
    // Some tools that write files and secrets end them with a line feed.
    let value = value.trim_ascii();
    if value.starts_with(b"{") {
        read_legacy(value)
    } else {
        read_current(value)
    }
}

fn read_current(value: &[u8]) -> Result<Key, CorruptKey> {
    let bytes = decode(value)?;
    let stored = StoredKey::decode(bytes.as_slice()).map_err(|_| CorruptKey::NotProtobuf)?;
    let secret = stored.secret.unwrap_or_default();
    Ok(Key {
        secret: read_secret(&secret.bytes)?,
        cipher: match secret.kind {
            AES256 => Cipher::Aes256,
            CHACHA20 => Cipher::ChaCha20,
            kind => return Err(CorruptKey::UnknownCipher { kind }),
        },
        hmac_secret: stored
            .hmac_secret
            .map(|secret| read_hmac_secret(&secret))
            .transpose()?,
        created_at: stored.created_at.map_or(Ok(UNKNOWN_TIME), read_time)?,
        created_by: read_created_by(stored.created_by)?,
    })
}

fn read_legacy(value: &[u8]) -> Result<Key, CorruptKey> {
    let stored: LegacyKey = serde_json::from_slice(value).map_err(|_| CorruptKey::NotJson)?;
    Ok(Key {
        secret: read_secret(&decode(stored.bytes.as_bytes())?)?,
        cipher: match stored.algorithm.as_deref() {
            None | Some("") => Cipher::Aes256,
            Some(name) => name.parse().map_err(CorruptKey::UnsupportedCipher)?,
        },
        hmac_secret: None,
        created_at: match stored.created_at {
            None => UNKNOWN_TIME,
            Some(text) => in_range(text.parse())?,
        },
        created_by: read_created_by(stored.created_by.unwrap_or_default())?,
    })
}

fn decode(base64: &[u8]) -> Result<Zeroizing<Vec<u8>>, CorruptKey> {
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(base64.len())]);
    let length = STANDARD
        .decode_slice(base64, &mut bytes)
        .map_err(|_| CorruptKey::NotBase64)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn read_secret(bytes: &[u8]) -> Result<Secret, CorruptKey> {
    let length = bytes.len();
    Secret::copy_of(bytes).ok_or(CorruptKey::WrongLength { length })
}

fn read_hmac_secret(stored: &StoredSecret) -> Result<Secret, CorruptKey> {
    let length = stored.bytes.len();
    match stored.kind {
        SHA256 => Secret::copy_of(&stored.bytes).ok_or(CorruptKey::WrongHmacKeyLength { length }),
        kind => Err(CorruptKey::UnknownHash { kind }),
    }
}

fn read_created_by(text: String) -> Result<Option<Box<str>>, CorruptKey> {
    match text.len() {
        0 => Ok(None),
        1..=MAX_CREATED_BY => Ok(Some(text.into())),
        length => Err(CorruptKey::LongCreatedBy { length }),
    }
}

fn write_time(time: Timestamp) -> StoredTime {
    let nanoseconds = time.as_nanosecond();
    StoredTime {
        // A timestamp holds few enough seconds for 64 bits, and the remainder is under 10^9.
        seconds: nanoseconds.div_euclid(NANOSECONDS) as i64,
        nanoseconds: nanoseconds.rem_euclid(NANOSECONDS) as i32,
    }
}

fn read_time(stored: StoredTime) -> Result<Timestamp, CorruptKey> {
    if !(0..NANOSECONDS).contains(&stored.nanoseconds.into()) {
        return Err(CorruptKey::BadTime);
    }
    in_range(Timestamp::new(stored.seconds, stored.nanoseconds))
}

/// Times begin with the year 1. `jiff` itself ends them, 26 hours before the year 9999 does.
fn in_range(time: Result<Timestamp, jiff::Error>) -> Result<Timestamp, CorruptKey> {
    time.ok()
        .filter(|time| *time >= UNKNOWN_TIME)
        .ok_or(CorruptKey::BadTime)
}

/// Why a stored value is no key. It never holds bytes of the value, except a cipher's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorruptKey {
    /// The value, or the key in the JSON of old versions, is not padded standard base64.
    NotBase64,
    /// The value is base64, but what it encodes is no protobuf message of a key.
    NotProtobuf,
    /// The value begins as the JSON of old versions does, but is none.
    NotJson,
    /// The key has not 32 bytes.
    WrongLength {
        /// The bytes it has; none if the key is missing.
        length: usize,
    },
    /// The HMAC key has not 32 bytes.
    WrongHmacKeyLength {
        /// The bytes it has.
        length: usize,
    },
    /// No cipher has this number.
    UnknownCipher {
        /// The number stored.
        kind: u32,
    },
    /// No cipher has the name that the JSON of old versions gives.
    UnsupportedCipher(UnsupportedCipher),
    /// No hash for HMAC has this number.
    UnknownHash {
        /// The number stored.
        kind: u32,
    },
    /// The time of creation is not one of the years 1 to 9999.
    BadTime,
    /// The creator's name is longer than [`MAX_CREATED_BY`].
    LongCreatedBy {
        /// Its bytes.
        length: usize,
    },
}

impl fmt::Display for CorruptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stored key is damaged or of another program: ")?;
        match self {
            Self::NotBase64 => f.write_str("it is not base64"),
            Self::NotProtobuf => f.write_str("it is not a protobuf message"),
            Self::NotJson => f.write_str("it begins like JSON but is none of a key"),
            Self::WrongLength { length } => write!(f, "the key has {length} bytes, not 32"),
            Self::WrongHmacKeyLength { length } => {
                write!(f, "the HMAC key has {length} bytes, not 32")
            }
            Self::UnknownCipher { kind } => write!(f, "cipher number {kind} is unknown"),
            Self::UnsupportedCipher(cipher) => cipher.fmt(f),
            Self::UnknownHash { kind } => write!(f, "HMAC hash number {kind} is unknown"),
            Self::BadTime => f.write_str("its time of creation is not in the years 1 to 9999"),
            Self::LongCreatedBy { length } => write!(
                f,
                "its creator's name has {length} bytes, more than {MAX_CREATED_BY}"
            ),
        }?;
        f.write_str("; restore it from a backup of the key store")
    }
}

impl std::error::Error for CorruptKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use prop::collection::vec;
    use proptest::prelude::*;

    fn secret(length: usize, kind: u32) -> Option<StoredSecret> {
        let bytes = vec![3; length];
        Some(StoredSecret { bytes, kind })
    }

    fn time(seconds: i64, nanoseconds: i32) -> Option<StoredTime> {
        Some(StoredTime {
            seconds,
            nanoseconds,
        })
    }

    fn good() -> StoredKey {
        StoredKey {
            secret: secret(32, AES256),
            hmac_secret: secret(32, SHA256),
            created_at: time(1, 0),
            created_by: "anybody".to_owned(),
        }
    }

    fn value(stored: &StoredKey) -> Vec<u8> {
        STANDARD.encode(stored.encode_to_vec()).into()
    }

    fn error(value: &[u8]) -> Option<CorruptKey> {
        read(value).err()
    }

    #[test]
    fn a_damaged_value_is_refused_with_its_reason() {
        assert_eq!(error(&value(&good())), None);
        let changed = |change: fn(&mut StoredKey)| {
            let mut stored = good();
            change(&mut stored);
            error(&value(&stored))
        };
        let wrong = |length| Some(CorruptKey::WrongLength { length });
        assert_eq!(error(b""), wrong(0));
        assert_eq!(changed(|key| key.secret = None), wrong(0));
        assert_eq!(changed(|key| key.secret = secret(31, AES256)), wrong(31));
        assert_eq!(changed(|key| key.secret = secret(33, AES256)), wrong(33));
        for (kind, change) in [
            (0, (|key| key.secret = secret(32, 0)) as fn(&mut StoredKey)),
            (3, |key| key.secret = secret(32, 3)),
        ] {
            assert_eq!(changed(change), Some(CorruptKey::UnknownCipher { kind }));
        }
        assert_eq!(
            changed(|key| key.hmac_secret = secret(16, SHA256)),
            Some(CorruptKey::WrongHmacKeyLength { length: 16 })
        );
        assert_eq!(
            changed(|key| key.hmac_secret = secret(32, 2)),
            Some(CorruptKey::UnknownHash { kind: 2 })
        );
        assert_eq!(
            changed(|key| key.created_by = "x".repeat(MAX_CREATED_BY + 1)),
            Some(CorruptKey::LongCreatedBy {
                length: MAX_CREATED_BY + 1
            })
        );
        assert_eq!(error(b"*"), Some(CorruptKey::NotBase64));
        assert_eq!(error(b"CiQ"), Some(CorruptKey::NotBase64));
        assert_eq!(error(b"/////w=="), Some(CorruptKey::NotProtobuf));
    }

    #[test]
    fn a_damaged_value_of_old_versions_is_refused_with_its_reason() {
        const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let with = |more: &str| error(format!(r#"{{"bytes":"{KEY}"{more}}}"#).as_bytes());
        for good in [
            "",
            r#","algorithm":"","created_by":"""#,
            r#","algorithm":null,"created_at":null,"created_by":null"#,
            r#","algorithm":"AES256-GCM_SHA256","more":1"#,
            r#","created_at":"2022-03-04T05:06:07.89+01:00""#,
        ] {
            assert_eq!(with(good), None, "{good}");
        }
        let unsupported = CorruptKey::UnsupportedCipher(UnsupportedCipher {
            name: "AES128".into(),
        });
        assert_eq!(with(r#","algorithm":"AES128""#), Some(unsupported));
        for bad in [
            "",
            "yesterday",
            "0000-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
        ] {
            let created_at = format!(r#","created_at":"{bad}""#);
            assert_eq!(with(&created_at), Some(CorruptKey::BadTime), "{bad}");
        }
        assert_eq!(with("},"), Some(CorruptKey::NotJson));
        assert_eq!(error(b"{"), Some(CorruptKey::NotJson));
        assert_eq!(error(b"{}"), Some(CorruptKey::NotJson));
        assert_eq!(error(br#"{"bytes":"*"}"#), Some(CorruptKey::NotBase64));
        let short = Some(CorruptKey::WrongLength { length: 3 });
        assert_eq!(error(br#"{"bytes":"AAEC"}"#), short);
    }

    #[test]
    fn times_are_read_and_shown() {
        for (seconds, nanoseconds, shown) in [
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
            (0, 0, "1970-01-01T00:00:00Z"),
            (0, 120_000_000, "1970-01-01T00:00:00.12Z"),
            (253_402_207_199, 1, "9999-12-30T21:59:59.000000001Z"),
        ] {
            let mut stored = good();
            stored.created_at = time(seconds, nanoseconds);
            let key = read(&value(&stored)).ok().unwrap();
            assert_eq!(key.created_at.to_string(), shown);
            assert_eq!(write(&key).as_bytes(), value(&stored));
        }
        for (seconds, nanoseconds) in [
            (-62_135_596_801, 999_999_999),
            (253_402_300_800, 0),
            (i64::MIN, 0),
            (i64::MAX, 0),
            (0, -1),
            (0, 1_000_000_000),
        ] {
            let mut stored = good();
            stored.created_at = time(seconds, nanoseconds);
            assert_eq!(error(&value(&stored)), Some(CorruptKey::BadTime));
        }
    }

    #[test]
    fn a_value_without_a_time_is_of_an_unknown_time() {
        let mut stored = good();
        stored.created_at = None;
        let key = read(&value(&stored)).ok().unwrap();
        assert_eq!(key.created_at, UNKNOWN_TIME);
    }

    /// What was read is written so that it is read the same.
    fn reads_as_written(value: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(key) = read(value) {
            let text = write(&key);
            let again =
                read(text.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(write(&again), text);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_key_reads_as_written(
            bytes: [u8; 32], hmac: Option<[u8; 32]>, kind in AES256..=CHACHA20,
            seconds in -62_135_596_800..253_402_207_200i64, nanoseconds in 0..1_000_000_000,
            created_by in ".{0,100}",
        ) {
            let stored = StoredKey {
                secret: Some(StoredSecret { bytes: bytes.to_vec(), kind }),
                hmac_secret: hmac.map(|bytes| StoredSecret { bytes: bytes.to_vec(), kind: SHA256 }),
                created_at: time(seconds, nanoseconds),
                created_by,
            };
            let value = value(&stored);
            let key = read(&value).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let text = write(&key);
            prop_assert_eq!(text.as_bytes(), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            reads_as_written(&bytes)?;
            reads_as_written(STANDARD.encode(&bytes).as_bytes())?;
            reads_as_written(&[b"{", bytes.as_slice()].concat())?;
        }

        #[test]
        fn a_changed_value_is_read_or_refused(at: prop::sample::Index, byte: u8) {
            let mut bytes = good().encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            reads_as_written(STANDARD.encode(&bytes).as_bytes())?;
        }
    }
}
