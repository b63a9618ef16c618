//! Who asks, and how that is proved.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::{Incoming, Service};
use crate::api_key::ApiKey;
use crate::auth::forwarded::Form;
use crate::auth::signature::{self, Message, SignatureError, Signed};
use crate::auth::{Method, Presented, authority, digest};
use crate::certificate::{self, ForwardedError, Principal};
use crate::client::Client;
use crate::config::Proxies;
use crate::error::Error;
use crate::identity::Identity;
use crate::platform::Platform;
use crate::time::Time;

/// The header of bearer keys.
const AUTHORIZATION: &str = "authorization";

/// A body that is not signed.
const NOT_COVERED: Error = Error::Signature(SignatureError::NotCovered(digest::HEADER));

/// Who asks.
pub(crate) struct Caller {
    pub identity: Identity,
    pub method: Method,
    /// The first moment at which what proves it is not valid any more.
    pub(super) expires: Option<Time>,
    /// The signature that proves it.
    pub(super) signed: Option<Box<Signed>>,
}

impl Caller {
    /// Whether this body is the one that the caller has signed, if it has signed.
    pub fn has_sent(&self, body: &[u8]) -> Result<(), Error> {
        self.signed.as_ref().map_or(Ok(()), |it| matches(it, body))
    }

    fn unsigned(identity: Identity, method: Method, expires: Option<Time>) -> Self {
        Self {
            identity,
            method,
            expires,
            signed: None,
        }
    }
}

fn matches(signed: &Signed, body: &[u8]) -> Result<(), Error> {
    match &signed.digest {
        None if body.is_empty() => Ok(()),
        None => Err(NOT_COVERED),
        Some(digest) if digest.is_of(body) => Ok(()),
        Some(_) => Err(Error::Signature(SignatureError::Body)),
    }
}

impl<P: Platform> Service<P> {
    /// The headers, in lower case, whose lines belong into [`Presented::headers`].
    pub fn credential_headers(&self) -> Vec<String> {
        let known = [
            signature::INPUT,
            signature::SIGNATURE,
            signature::CERTIFICATE,
            signature::CHAIN,
            digest::HEADER,
            AUTHORIZATION,
        ];
        let proxies = [&self.proxies.header, &self.proxies.secret_header];
        let proxies = proxies.into_iter().map(String::as_str);
        let proxies = proxies.filter(|_| !self.proxies.is_empty());
        let mut headers: Vec<String> = known.into_iter().chain(proxies).map(Into::into).collect();
        headers.sort_unstable();
        headers.dedup();
        headers
    }

    /// Who asks: whoever the one credential of the request is of.
    pub(super) fn identify(
        &self,
        client: &Client,
        method_and_path: (&str, &str),
        presented: Option<&Presented>,
        now: Time,
    ) -> Result<Caller, Error> {
        let caller = self.by_credential(client, method_and_path, presented, now);
        caller.map_err(|error| match error {
            Error::NoCertificate if !P::HANDSHAKES => Error::NoCredential,
            error => error,
        })
    }

    fn by_credential(
        &self,
        client: &Client,
        method_and_path: (&str, &str),
        presented: Option<&Presented>,
        now: Time,
    ) -> Result<Caller, Error> {
        let own = self.by_connection(client.principal(), now);
        let is_listed = own
            .as_ref()
            .is_ok_and(|caller| self.proxies.identities.contains(&caller.identity));
        match presented {
            Some(presented) => {
                let is_proxy = is_listed || self.has_secret(client.ip(), presented);
                self.by_headers(own, is_proxy, client.ip(), method_and_path, presented, now)
            }
            None if is_listed => Err(Error::NoCertificate),
            None => own,
        }
    }

    /// Whether the request comes from a listed address with the secret of the proxies there.
    fn has_secret(&self, ip: &str, presented: &Presented) -> bool {
        let Some(secret) = &self.proxies.secret else {
            return false;
        };
        let is_there = ip
            .parse()
            .is_ok_and(|ip: IpAddr| self.proxies.addresses.iter().any(|net| net.contains(&ip)));
        let sent = presented.only(&self.proxies.secret_header).ok().flatten();
        is_there
            && sent.is_some_and(|sent| sent.as_bytes().ct_eq(secret.expose().as_bytes()).into())
    }

    /// The client whose certificate the connection has.
    fn by_connection(&self, principal: Principal, now: Time) -> Result<Caller, Error> {
        match principal {
            // The handshake may be long ago, or have resumed a session that was.
            Principal::Client { expires, .. } if self.verifies_clients && expires <= now => {
                Err(Error::ExpiredCertificate)
            }
            Principal::Client { identity, expires } => Ok(Caller::unsigned(
                identity,
                Method::Mtls,
                self.verifies_clients.then_some(expires),
            )),
            Principal::Untrusted => Err(Error::UntrustedCertificate),
            Principal::Nobody => Err(Error::NoCertificate),
            Principal::Several => Err(Error::SeveralCertificates),
            Principal::NotFirst => Err(Error::CertificateNotFirst),
            Principal::Unreadable => Err(Error::UnreadableCertificate),
        }
    }

    /// The client that exactly one of the connection and the headers names. A proxy's own certificate is
    /// that of no client.
    fn by_headers(
        &self,
        own: Result<Caller, Error>,
        is_proxy: bool,
        ip: &str,
        method_and_path: (&str, &str),
        presented: &Presented,
        now: Time,
    ) -> Result<Caller, Error> {
        let own = match own {
            Ok(_) if is_proxy => None,
            Ok(caller) => Some(Ok(caller)),
            Err(Error::NoCertificate) => None,
            Err(error) => return Err(error),
        };
        if !is_proxy && self.is_forwarded(presented) {
            return Err(Error::NotAProxy);
        }
        let forwarded = if is_proxy {
            self.by_proxy(presented, now)
        } else {
            None
        };
        let signed = self.by_signature(method_and_path, presented, now);
        let found = [own, forwarded, self.by_bearer(ip, presented), signed];
        // Signatures of others, for others, are no credential, and yet explain why there is none.
        let mut other = None;
        let mut caller = None;
        for credential in found.into_iter().flatten() {
            if let Err(Error::Signature(SignatureError::NoTag)) = credential {
                other = Some(credential);
            } else if caller.replace(credential).is_some() {
                return Err(Error::SeveralCredentials);
            }
        }
        caller.or(other).unwrap_or(Err(Error::NoCertificate))
    }

    /// Whether the request has what only a proxy may send, while there are proxies.
    fn is_forwarded(&self, presented: &Presented) -> bool {
        let has = |name: &str| presented.lines(name).next().is_some();
        // The certificate of who signs comes in the same header.
        let is_signers =
            self.proxies.form == Form::ClientCert && signature::is_presented(presented);
        !self.proxies.is_empty() && has(&self.proxies.header) && !is_signers
    }

    /// The client whose certificate a listed proxy forwards.
    fn by_proxy(&self, presented: &Presented, now: Time) -> Option<Result<Caller, Error>> {
        let Proxies { form, header, .. } = &self.proxies;
        match presented.lines(header).count() {
            0 => None,
            1 => Some(self.forwarded(form.read(header, presented), now)),
            _ => Some(Err(Error::SeveralCertificates)),
        }
    }

    fn forwarded(&self, chain: Option<Vec<Vec<u8>>>, now: Time) -> Result<Caller, Error> {
        let form = ForwardedError::Form(self.proxies.form);
        let chain = chain.ok_or(Error::Forwarded(form))?;
        let own = chain.first().ok_or(Error::Forwarded(form))?;
        let (identity, expires) = certificate::forwarded(own, now).map_err(Error::Forwarded)?;
        if self.verifies_clients && !self.is_certified(&chain) {
            return Err(Error::UntrustedCertificate);
        }
        Ok(Caller::unsigned(identity, Method::Forwarded, Some(expires)))
    }

    /// The client that has signed the request.
    fn by_signature(
        &self,
        (method, path): (&str, &str),
        presented: &Presented,
        now: Time,
    ) -> Option<Result<Caller, Error>> {
        if !signature::is_presented(presented) {
            return None;
        }
        let authority = authority::normal(&presented.authority);
        let message = Message {
            method,
            authority: authority.as_deref().unwrap_or_default(),
            path,
            query: presented.query.as_deref(),
        };
        let crypto = self.platform.crypto();
        let signed = signature::verify(crypto, &message, presented, self.auth.window, now);
        Some(
            signed
                .map_err(Error::Signature)
                .and_then(|signed| self.signer(signed, &message, presented)),
        )
    }

    fn signer(
        &self,
        signed: Signed,
        message: &Message<'_>,
        presented: &Presented,
    ) -> Result<Caller, Error> {
        if !self.auth.signatures {
            return Err(Error::MethodOff(Method::Signature));
        }
        let is_ours = match self.auth.authorities.as_slice() {
            [] => self.is_shown(presented.shown.as_deref(), message.authority),
            ours => ours.iter().any(|ours| ours == message.authority),
        };
        if !is_ours {
            let authority = message.authority.chars().take(255).collect();
            return Err(Error::Signature(SignatureError::Authority(authority)));
        }
        if self.verifies_clients && !self.is_certified(&signed.certificates) {
            return Err(Error::NotCertified);
        }
        Ok(Caller {
            identity: signed.identity,
            method: Method::Signature,
            expires: None,
            signed: Some(Box::new(signed)),
        })
    }

    /// Whether the certificate that the server has shown is for this authority.
    fn is_shown(&self, certificate: Option<&[u8]>, authority: &str) -> bool {
        let is_known = self.shown.borrow().as_ref().is_some_and(|(shown, known)| {
            known == authority && certificate == Some(shown.as_slice())
        });
        if is_known {
            return true;
        }
        let Some(shown) = certificate.filter(|it| authority::is_named_by(authority, it)) else {
            return false;
        };
        *self.shown.borrow_mut() = Some((shown.to_vec(), authority.to_owned()));
        true
    }

    fn is_certified(&self, certificates: &[Vec<u8>]) -> bool {
        !certificates.is_empty() && self.platform.trusts(certificates)
    }

    /// The client whose API key the request carries (RFC 6750, 2.1).
    fn by_bearer(&self, ip: &str, presented: &Presented) -> Option<Result<Caller, Error>> {
        let value = match presented.only(AUTHORIZATION) {
            Ok(value) => value?,
            Err(why) => return Some(Err(Error::Signature(why.into()))),
        };
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let is_near = || ip.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        Some(if !self.auth.bearer {
            Err(Error::MethodOff(Method::Bearer))
        } else if presented.is_plain && !is_near() {
            Err(Error::ExposedKey)
        } else if self.verifies_clients {
            Err(Error::NotCertified)
        } else {
            let key = token.trim_matches(' ').parse::<ApiKey>();
            key.map_err(Error::BearerKey)
                .map(|key| Caller::unsigned(key.identity(), Method::Bearer, None))
        })
    }

    /// Lets a signed request in once, with the body that was signed.
    pub(super) async fn admit<B>(&self, signed: &Signed, body: &Incoming<B>) -> Result<(), Error> {
        match body {
            Incoming::Whole(body) => matches(signed, body)?,
            // The rest when it is there.
            Incoming::Later(_) if signed.digest.is_none() => {
                return Err(NOT_COVERED);
            }
            Incoming::Later(_) => {}
        }
        let identity = signed.identity;
        // Without rights it gets nothing that could be got twice, and no room.
        if !self.is_admin(&identity) && self.policies.of(&identity).is_none() {
            return Ok(());
        }
        let remembered = self.platform.remember(identity, signed.nonce, signed.until);
        remembered.await.map_err(Error::Replay)
    }
}
