//! Clients' certificates as Cloudflare tells a Worker of them, in `request.cf.tlsClientAuth`.
//!
//! Cloudflare has seen the handshake, so the client has the certificate's key. It is told whether some authority
//! of the whole account has issued the certificate, and not whether one of ours has.

use super::forwarded::{client_cert, client_cert_chain};

/// What is told of one request's connection: the fields of `tlsClientAuth`, as they are; empty if they are not
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// `certPresented`: `1` if the client has shown a certificate.
    pub presented: String,
    /// `certVerified`: `SUCCESS` if an authority of the account has issued it, revoked or not.
    pub verified: String,
    /// `certRevoked`: `1` if it is revoked, else `0`.
    pub revoked: String,
    /// `certRFC9440`: the certificate; empty if it has more than 10 KiB.
    pub certificate: String,
    /// `certChainRFC9440`: those that came with it; empty if they have more than 16 KiB.
    pub chain: String,
}

impl Told {
    /// The fields, a line each, in their order here. With more or fewer lines nothing is told.
    pub fn from_lines(text: &str) -> Self {
        let mut lines = text.split('\n').map(ToOwned::to_owned);
        let mut next = || lines.next();
        let fields = (next(), next(), next(), next(), next(), next());
        let (Some(presented), Some(verified), Some(revoked), Some(certificate), Some(chain), None) =
            fields
        else {
            return Self::default();
        };
        Self {
            presented,
            verified,
            revoked,
            certificate,
            chain,
        }
    }

    /// Whether the client has shown a certificate.
    pub fn is_presented(&self) -> bool {
        self.presented == "1"
    }

    /// Whether Cloudflare says that it is revoked, or does not say that it isn't.
    pub fn is_revoked(&self) -> bool {
        self.revoked != "0"
    }

    /// Whether Cloudflare says that it is good: issued by an authority of the account, valid and not revoked.
    pub fn is_verified(&self) -> bool {
        self.verified == "SUCCESS" && !self.is_revoked()
    }

    /// The certificate (DER), and then those that came with it (RFC 9440, 2); `None` if they can't be read.
    pub fn certificates(&self) -> Option<Vec<Vec<u8>>> {
        let mut certificates = vec![client_cert(&self.certificate)?];
        if !self.chain.is_empty() {
            certificates.extend(client_cert_chain(&self.chain)?);
        }
        Some(certificates)
    }
}
