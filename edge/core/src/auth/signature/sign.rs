//! Signing requests: what a client does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sfv::{Integer, ListSerializer, StringRef, key_ref, string_ref};
use x509_parser::parse_x509_certificate;

use super::base::{Message, base};
use super::{CERTIFICATE, CHAIN, INPUT, SIGNATURE, TAG};
use crate::api_key::ApiKey;
use crate::auth::digest;
use crate::auth::public_key::PublicKey;
use crate::identity::Identity;
use crate::time::Time;

/// Signs requests by an API key, or by the key of a certificate.
pub struct Signer {
    sign: Sign,
    algorithm: &'static str,
    key_id: String,
    identity: Identity,
    /// The headers with the certificate and those behind it, if there is one.
    certificates: Vec<(&'static str, String)>,
}

/// A private key: what it makes of a message, which is nothing if it fails.
pub type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

impl Signer {
    /// Signs by this key.
    pub fn new(api_key: ApiKey) -> Self {
        Self {
            algorithm: "ed25519",
            key_id: STANDARD.encode(api_key.public_key()),
            identity: api_key.identity(),
            certificates: Vec::new(),
            sign: Box::new(move |message| api_key.sign(message).to_vec()),
        }
    }

    /// Signs by the key of a certificate (DER, those behind it after it), which is sent along; `None` if it
    /// can't be read, or its key is neither Ed25519 nor P-256.
    pub fn of_certificate(chain: &[&[u8]], sign: Sign) -> Option<Self> {
        let (own, others) = chain.split_first()?;
        let (_, certificate) = parse_x509_certificate(own).ok()?;
        let spki = certificate.public_key().raw;
        let (key, identity) = PublicKey::from_spki(spki)?;
        let bytes = |der: &&[u8]| format!(":{}:", STANDARD.encode(der));
        let mut certificates = vec![(CERTIFICATE, bytes(own))];
        if !others.is_empty() {
            let others: Vec<_> = others.iter().map(bytes).collect();
            certificates.push((CHAIN, others.join(", ")));
        }
        Some(Self {
            sign,
            algorithm: key.algorithm(),
            key_id: STANDARD.encode(spki),
            identity,
            certificates,
        })
    }

    /// Who it signs as.
    pub const fn identity(&self) -> Identity {
        self.identity
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
        let certificates = self.certificates.iter();
        components.extend(certificates.map(|(name, value)| (*name, value.as_str())));
        let params = self.params(components.iter().map(|(name, _)| *name), nonce, now);
        let base = base(components, |base| base.push_str(&params));
        let signature = STANDARD.encode((self.sign)(base.as_bytes()));
        let mut headers = vec![
            (INPUT, format!("{TAG}={params}")),
            (SIGNATURE, format!("{TAG}=:{signature}:")),
        ];
        headers.extend(digest.map(|digest| (digest::HEADER, digest)));
        headers.extend(self.certificates.iter().cloned());
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
            .parameter(key_ref("alg"), text(self.algorithm))
            .parameter(key_ref("keyid"), text(&self.key_id))
            .parameter(key_ref("tag"), string_ref(TAG));
        list.finish().unwrap_or_default()
    }
}

/// Names and base64 are ASCII, which is all that a string may be made of.
fn text(ascii: &str) -> &StringRef {
    StringRef::from_str(ascii).unwrap_or(string_ref(""))
}
