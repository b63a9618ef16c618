//! Who asks, and how that is proved.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::{Incoming, Service};
use crate::api_key::NotAnApiKey;
use crate::auth::forwarded::Form;
use crate::auth::public_key::PublicKey;
use crate::auth::signature::{self, Message, SignatureError, Signed};
use crate::auth::{Method, Presented, authority, digest};
use crate::certificate::{self, ForwardedError, Principal};
use crate::client::{self, Client};
use crate::config::{Once, Proxies};
use crate::development;
use crate::error::{Error, NotAProxy};
use crate::identity::Identity;
use crate::platform::Platform;
use crate::route::Route;
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

/// Whether it is a signature by another standard or for another service, or a token that is no API key.
fn is_for_others(credential: &Result<Caller, Error>) -> bool {
    matches!(
        credential,
        Err(
            Error::Signature(SignatureError::NoTag | SignatureError::HalfSigned(signature::INPUT))
                | Error::BearerKey(NotAnApiKey::Prefix)
        )
    )
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
        let development = development::PROXIED.into_iter();
        let development = development.filter(|_| self.is_for_development);
        let known = known.into_iter().chain(proxies).chain(development);
        let mut headers: Vec<String> = known.map(Into::into).collect();
        headers.sort_unstable();
        headers.dedup();
        headers
    }

    /// Who asks: whoever the one credential of the request is of.
    pub(super) async fn identify(
        &self,
        client: &Client,
        method_and_path: (&str, &str),
        presented: Option<&Presented>,
        now: Time,
    ) -> Result<Caller, Error> {
        let caller = self
            .by_credential(client, method_and_path, presented, now)
            .await;
        caller.map_err(|error| match error {
            Error::NoCertificate if !P::HANDSHAKES => Error::NoCredential,
            error => error,
        })
    }

    async fn by_credential(
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
                let proxy = match is_listed {
                    true => Ok(()),
                    false => self.has_secret(client.ip(), presented),
                };
                // In a box: few requests carry a credential.
                Box::pin(self.by_headers(own, proxy, client.ip(), method_and_path, presented, now))
                    .await
            }
            None if is_listed => Err(Error::NoCertificate),
            None => own,
        }
    }

    /// Whether the request comes from a listed address with the secret of the proxies there.
    fn has_secret(&self, ip: &str, presented: &Presented) -> Result<(), NotAProxy> {
        let is_there = |ip: IpAddr| self.proxies.addresses.iter().any(|net| net.contains(&ip));
        let secret = match &self.proxies.secret {
            Some(secret) if ip.parse().is_ok_and(is_there) => secret.expose().as_bytes(),
            _ => return Err(NotAProxy::NotListed(ip.to_owned())),
        };
        let header = &self.proxies.secret_header;
        match presented.only(header) {
            Ok(Some(sent)) if sent.as_bytes().ct_eq(secret).into() => Ok(()),
            Ok(None) => Err(NotAProxy::NoSecret(header.clone())),
            _ => Err(NotAProxy::WrongSecret(header.clone())),
        }
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
    async fn by_headers(
        &self,
        own: Result<Caller, Error>,
        proxy: Result<(), NotAProxy>,
        ip: &str,
        method_and_path: (&str, &str),
        presented: &Presented,
        now: Time,
    ) -> Result<Caller, Error> {
        let own = match own {
            Ok(_) if proxy.is_ok() => None,
            Ok(caller) => Some(Ok(caller)),
            Err(Error::NoCertificate) => None,
            Err(error) => return Err(error),
        };
        let forwarded = match proxy {
            Ok(()) => self.by_proxy(presented, now),
            Err(why) if self.is_forwarded(presented) => return Err(Error::NotAProxy(why)),
            Err(_) => None,
        };
        let found = [
            (Method::Mtls, own),
            (Method::Forwarded, forwarded),
            (Method::Bearer, self.by_bearer(ip, presented)),
            (
                Method::Signature,
                self.by_signature(method_and_path, presented, now).await,
            ),
        ];
        // What is meant for others is no credential, and yet explains why there is none.
        let mut other = None;
        let mut caller = None;
        for (method, credential) in found {
            let Some(credential) = credential else {
                continue;
            };
            if is_for_others(&credential) {
                other = Some(credential);
            } else if let Some((before, _)) = caller.replace((method, credential)) {
                return Err(Error::SeveralCredentials(before, method));
            }
        }
        let caller = caller.map(|(_, credential)| credential);
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
        let mut lines = presented.lines(header);
        let line = lines.next()?;
        match lines.next() {
            // Some proxies send the header whether the client has a certificate or not.
            None if form.is_none(line) => None,
            None => Some(self.forwarded(form.read(header, presented), now)),
            Some(_) => Some(Err(Error::SeveralCertificates)),
        }
    }

    fn forwarded(&self, chain: Option<Vec<Vec<u8>>>, now: Time) -> Result<Caller, Error> {
        let form = ForwardedError::Form(self.proxies.form);
        let chain = chain.ok_or(Error::Forwarded(form))?;
        let own = chain.first().ok_or(Error::Forwarded(form))?;
        let (identity, expires) = certificate::forwarded(own, now).map_err(Error::Forwarded)?;
        if self.verifies_clients && !self.is_certified(&chain) {
            return Err(Error::Forwarded(ForwardedError::Untrusted));
        }
        Ok(Caller::unsigned(identity, Method::Forwarded, Some(expires)))
    }

    /// The client that has signed the request.
    async fn by_signature(
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
        let is_genuine = async |key: &PublicKey, message: &[u8], signature: &[u8]| {
            self.platform.verifies(key, message, signature).await
        };
        let key = |key_id: &str| {
            self.signers
                .key(key_id, |identity| self.has_rights(identity))
        };
        let signed =
            signature::verify(is_genuine, key, &message, presented, self.auth.window, now).await;
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
        self.is_for_us(message.authority, presented)
            .map_err(Error::Signature)?;
        if self.verifies_clients && signed.certificates.is_empty() {
            return Err(Error::NotCertified);
        }
        if self.verifies_clients && !self.is_certified(&signed.certificates) {
            return Err(Error::Signature(SignatureError::Untrusted));
        }
        let own = signed
            .certificates
            .first()
            .filter(|_| self.verifies_clients);
        Ok(Caller {
            identity: signed.identity,
            method: Method::Signature,
            expires: own.and_then(|own| certificate::expires(own)),
            signed: Some(Box::new(signed)),
        })
    }

    /// Whether a request for this authority is for this server.
    fn is_for_us(&self, authority: &str, presented: &Presented) -> Result<(), SignatureError> {
        let short = || authority.chars().take(255).collect();
        match self.auth.authorities.as_slice() {
            [] if self.is_shown(presented.shown.as_deref(), authority) => Ok(()),
            [] => Err(SignatureError::NotNamed(short())),
            own if own.iter().any(|own| own.is(authority)) => Ok(()),
            _ => Err(SignatureError::NotListed(short())),
        }
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

    pub(super) fn is_certified(&self, certificates: &[Vec<u8>]) -> bool {
        !certificates.is_empty() && self.platform.trusts(certificates)
    }

    /// The client whose API key the request carries (RFC 6750, 2.1).
    fn by_bearer(&self, ip: &str, presented: &Presented) -> Option<Result<Caller, Error>> {
        let value = match presented.only(AUTHORIZATION) {
            Ok(value) => value?,
            Err(why) => return Some(Err(Error::Header(why))),
        };
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let token = token.trim_matches(' ');
        let known = self
            .bearers
            .identity(token, |identity| self.has_rights(identity));
        Some(match known {
            Err(why @ NotAnApiKey::Prefix) => Err(Error::BearerKey(why)),
            _ if !self.auth.bearer => Err(Error::MethodOff(Method::Bearer)),
            _ if presented.is_plain && !client::is_here(ip) => Err(Error::ExposedKey),
            _ if self.verifies_clients => Err(Error::NotCertified),
            Err(why) => Err(Error::BearerKey(why)),
            Ok(identity) => Ok(Caller::unsigned(identity, Method::Bearer, None)),
        })
    }

    /// Whether an identity is the admin or in a policy.
    pub(super) fn has_rights(&self, identity: &Identity) -> bool {
        self.is_admin(identity) || self.policies.of(identity).is_some()
    }

    /// Lets a signed request in with the body that was signed, and once, if the configuration has it so.
    pub(super) async fn admit<B>(
        &self,
        route: &Route,
        signed: &Signed,
        body: &Incoming<B>,
    ) -> Result<(), Error> {
        match body {
            Incoming::Whole(body) => matches(signed, body)?,
            // The rest when it is there.
            Incoming::Later(_) if signed.digest.is_none() => {
                return Err(NOT_COVERED);
            }
            Incoming::Later(_) => {}
        }
        if self.auth.once == Once::Changes && !route.changes() {
            return Ok(());
        }
        let identity = signed.identity;
        // Without rights it gets nothing that could be got twice, and no room.
        if !self.has_rights(&identity) {
            return Ok(());
        }
        let remembered = self.platform.remember(identity, signed.nonce, signed.lives);
        remembered.await.map_err(Error::Replay)
    }
}
