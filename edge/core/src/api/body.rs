//! Bytes in JSON, and reading a request's body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::Call;
use crate::error::Error;
use crate::platform::{Body, BodyError};
use crate::service::Incoming;

/// A byte string, in JSON as padded standard base64 (RFC 4648, 4); `null` and absence are empty.
/// It wipes itself.
#[derive(Default)]
pub struct Bytes(pub Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;

        impl Visitor<'_> for Base64 {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("padded standard base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                // The error names the byte at fault, which may be part of a secret: it is dropped.
                STANDARD
                    .decode(text)
                    .map(|bytes| Bytes(Zeroizing::new(bytes)))
                    .map_err(|_| E::custom("not base64"))
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Bytes, E> {
                Ok(Bytes::default())
            }
        }

        deserializer
            .deserialize_any(Base64)
            .map_err(D::Error::custom)
    }
}

/// Bytes to be written as padded standard base64.
pub struct Encoded<'a>(pub &'a [u8]);

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(self.0)))
    }
}

/// Reads the body's JSON object. Fields that `T` does not know are ignored.
pub(super) async fn read<T: DeserializeOwned, B: Body>(call: Call<'_, B>) -> Result<T, Error> {
    parse(&read_bytes(call).await?)
}

/// The same, for a route on which no body at all means that every field is absent.
pub(super) async fn read_optional<T, B>(call: Call<'_, B>) -> Result<T, Error>
where
    T: DeserializeOwned + Default,
    B: Body,
{
    let bytes = read_bytes(call).await?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    parse(&bytes)
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    // A list would be taken for the object's fields in their order.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::InvalidBody);
    }
    serde_json::from_slice(json).map_err(|_| Error::InvalidBody)
}

async fn read_bytes<B: Body>(call: Call<'_, B>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let limit = call.route.max_body;
    let bytes = match call.body {
        Incoming::Whole(bytes) => Zeroizing::new(bytes),
        Incoming::Later(body) => match body.read(limit).await {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(BodyError::TooLarge | BodyError::Broken) => return Err(Error::InvalidBody),
        },
    };
    if bytes.len() > limit {
        Err(Error::InvalidBody)
    } else {
        Ok(bytes)
    }
}
