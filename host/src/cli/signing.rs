//! Requests that are signed (RFC 9421) in the place of a client certificate.

use ring::rand::{SecureRandom, SystemRandom};
use sealedge_core::auth::signature::{Message, Signer};
use sealedge_core::time::Time;
use ureq::Agent;
use ureq::http::{HeaderMap, Method, StatusCode, Uri};

use super::endpoint::Endpoint;
use crate::guest::wall_clock;

/// What signs, and how it is sent: without a certificate, for a request has one credential.
pub struct Signing {
    /// Shows no certificate.
    pub agent: Agent,
    /// Has the key.
    pub signer: Signer,
}

impl Signing {
    /// The headers that sign a request now.
    pub fn headers(
        &self,
        method: &Method,
        server: &Endpoint,
        uri: &Uri,
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>, ureq::Error> {
        let message = Message {
            method: method.as_str(),
            authority: &server.authority().unwrap_or_default(),
            path: uri.path(),
            query: uri.query(),
        };
        let mut nonce = [0; 16];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| ureq::Error::Other("the system gives no random bytes".into()))?;
        let now = Time::from_nanos(wall_clock());
        Ok(self.signer.headers(&message, body, nonce, now))
    }
}

/// Whether a server has seen no credential, and takes signatures: then it has done nothing.
pub fn is_asked_for(status: StatusCode, headers: &HeaderMap) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED)
        && headers.contains_key("accept-signature")
}
