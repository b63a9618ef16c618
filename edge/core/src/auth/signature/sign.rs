//! Signing requests: what a client does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sfv::{Integer, ListSerializer, StringRef, key_ref, string_ref};

use super::base::{Message, base};
use super::{INPUT, SIGNATURE, TAG};
use crate::api_key::ApiKey;
use crate::auth::digest;
use crate::time::Time;

/// Signs requests by an API key.
pub struct Signer {
    api_key: ApiKey,
    key_id: String,
}

impl Signer {
    /// Signs by this key.
    pub fn new(api_key: ApiKey) -> Self {
        let key_id = STANDARD.encode(api_key.public_key());
        Self { api_key, key_id }
    }

    /// The key.
    pub fn api_key(&self) -> &ApiKey {
        &self.api_key
    }

    /// The headers that sign this request with this body at the time `now`; no other request may have that
    /// nonce, of 16 random bytes.
    pub fn headers(
        &self,
        message: &Message<'_>,
        body: &[u8],
        nonce: [u8; 16],
        now: Time,
    ) -> Vec<(&'static str, String)> {
        let query = message.query.map(|query| format!("?{query}"));
        let digest = (!body.is_empty()).then(|| digest::of(body));
        let mut components = vec![
            ("@method", message.method),
            ("@authority", message.authority),
            ("@path", message.path),
        ];
        components.extend(query.as_deref().map(|query| ("@query", query)));
        components.extend(digest.as_deref().map(|digest| (digest::HEADER, digest)));
        let params = self.params(components.iter().map(|(name, _)| *name), nonce, now);
        let base = base(components, &params);
        let signature = STANDARD.encode(self.api_key.sign(base.as_bytes()));
        let mut headers = vec![
            (INPUT, format!("{TAG}={params}")),
            (SIGNATURE, format!("{TAG}=:{signature}:")),
        ];
        headers.extend(digest.map(|digest| (digest::HEADER, digest)));
        headers
    }

    /// What `Signature-Input` says, by its name, and the base ends with.
    fn params<'a>(
        &self,
        components: impl Iterator<Item = &'a str>,
        nonce: [u8; 16],
        now: Time,
    ) -> String {
        let seconds = i64::try_from(now.as_nanos() / 1_000_000_000).ok();
        let created = seconds.and_then(|seconds| Integer::try_from(seconds).ok());
        let mut list = ListSerializer::new();
        let mut inner = list.inner_list();
        for name in components {
            inner.bare_item(text(name));
        }
        inner
            .finish()
            .parameter(key_ref("created"), created.unwrap_or(Integer::ZERO))
            .parameter(key_ref("nonce"), text(&STANDARD.encode(nonce)))
            .parameter(key_ref("alg"), string_ref("ed25519"))
            .parameter(key_ref("keyid"), text(&self.key_id))
            .parameter(key_ref("tag"), string_ref(TAG));
        list.finish().unwrap_or_default()
    }
}

/// Names and base64 are ASCII, which is all that a string may be made of.
fn text(ascii: &str) -> &StringRef {
    StringRef::from_str(ascii).unwrap_or(string_ref(""))
}
