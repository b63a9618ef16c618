//! Bytes in JSON, and reading a request's body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, Visitor};
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

/// An object of byte strings as JSON, each in padded standard base64.
///
/// Base64 has no character that JSON escapes, so this is written as it is: a serializer would look
/// at each of them, and that for most of the answers that the service gives.
pub(super) fn object(fields: &[(&'static str, &[u8])]) -> Zeroizing<Vec<u8>> {
    let length = |(name, bytes): &(&str, &[u8])| name.len() + 8 + bytes.len().div_ceil(3) * 4;
    let capacity = 2 + fields.iter().map(length).sum::<usize>();
    // Large enough from the start: a buffer that grew would leave its old places behind.
    let mut json = Zeroizing::new(Vec::with_capacity(capacity));
    for (at, (name, bytes)) in fields.iter().enumerate() {
        json.extend_from_slice(if at == 0 { b"{\"" } else { b",\"" });
        json.extend_from_slice(name.as_bytes());
        json.extend_from_slice(b"\":\"");
        append_base64(&mut json, bytes);
        json.push(b'"');
    }
    json.push(b'}');
    json
}

fn append_base64(to: &mut Vec<u8>, bytes: &[u8]) {
    let start = to.len();
    to.resize(start + bytes.len().div_ceil(3) * 4, 0);
    if let Some(space) = to.get_mut(start..) {
        // The space is just as long as it has to be.
        let _ = STANDARD.encode_slice(bytes, space);
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
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                call.caller
                    .map_or(Ok(()), |caller| caller.has_sent(&bytes))?;
                bytes
            }
            Err(BodyError::TooLarge | BodyError::Broken) => return Err(Error::InvalidBody),
        },
    };
    if bytes.len() > limit {
        Err(Error::InvalidBody)
    } else {
        Ok(bytes)
    }
}
