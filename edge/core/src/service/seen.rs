//! What a request shows of itself: what it asks for, and who asks.

use std::borrow::Cow;

use super::Service;
use crate::certificate::{self, Principal};
use crate::client::Client;
use crate::error::Error;
use crate::identity::Identity;
use crate::platform::Platform;
use crate::route::{self, Route};
use crate::time::Time;

/// What a request shows of itself.
pub(super) struct Seen<'a> {
    pub(super) arrived: Time,
    pub(super) client: &'a Client,
    pub(super) method: &'a str,
    /// As router, policies and audit log see it; as it came if it can't be decoded.
    pub(super) path: Cow<'a, str>,
    pub(super) is_decoded: bool,
    /// Who asks, or why that is not to be found out.
    pub(super) caller: Result<Identity, Error>,
}

/// The parts of a request's line. The method is short: a search made for long texts costs more.
fn method_and_path(line: &str) -> (&str, &str) {
    let space = line.bytes().position(|byte| byte == b' ');
    space
        .and_then(|at| Some((line.get(..at)?, line.get(at + 1..)?)))
        .unwrap_or_default()
}

impl<P: Platform> Service<P> {
    /// What a request shows of itself.
    pub(super) fn see<'a>(
        &self,
        line: &'a str,
        arrived: Time,
        client: &'a Client,
        forwarded: &[Vec<u8>],
    ) -> Seen<'a> {
        let (method, path) = method_and_path(line);
        let decoded = route::canonical(path);
        Seen {
            arrived,
            client,
            method,
            is_decoded: decoded.is_some(),
            path: decoded.unwrap_or(Cow::Borrowed(path)),
            caller: self.identify(client.principal(), forwarded, arrived),
        }
    }

    /// The request's route, and the rest of its path.
    pub(super) fn find<'a>(&'a self, seen: &'a Seen<'_>) -> Option<(&'a Route, &'a str)> {
        let path = seen.is_decoded.then_some(&*seen.path);
        path.and_then(|path| self.router.find(path))
    }

    /// Who asks: the connection's client, or the one whose certificate a listed proxy forwards.
    fn identify(
        &self,
        principal: Principal,
        forwarded: &[Vec<u8>],
        now: Time,
    ) -> Result<Identity, Error> {
        let client = match principal {
            // The handshake may be long ago, or have resumed a session that was.
            Principal::Client { expires, .. } if self.verifies_clients && expires <= now => {
                Err(Error::ExpiredCertificate)
            }
            Principal::Client { identity, .. } => Ok(identity),
            Principal::Untrusted => Err(Error::UntrustedCertificate),
            Principal::Nobody => Err(Error::NoCertificate),
            Principal::Several => Err(Error::SeveralCertificates),
            Principal::NotFirst => Err(Error::CertificateNotFirst),
            Principal::Unreadable => Err(Error::UnreadableCertificate),
        };
        if self.proxies.is_empty() {
            return client;
        }
        let by_proxy = client
            .as_ref()
            .is_ok_and(|identity| self.proxies.contains(identity));
        match (by_proxy, forwarded) {
            (true, [header]) => certificate::forwarded(header, now)
                .map(|(identity, _)| identity)
                .map_err(Error::Forwarded),
            (true, []) => Err(Error::NoCertificate),
            (true, _) => Err(Error::SeveralCertificates),
            (false, []) => client,
            (false, _) => Err(Error::NotAProxy),
        }
    }

    /// When a stream has to end: at its route's limit, and when one of the certificates expires that
    /// the client was let in with.
    pub(super) fn until(
        &self,
        route: &Route,
        principal: Principal,
        forwarded: &[Vec<u8>],
        arrived: Time,
    ) -> Option<Time> {
        let limit = route.timeout.map(|limit| arrived.after(limit));
        let own = match principal {
            Principal::Client { expires, .. } if self.verifies_clients => Some(expires),
            _ => None,
        };
        let forwarded = forwarded
            .first()
            .and_then(|header| certificate::forwarded(header, arrived).ok())
            .map(|(_, expires)| expires);
        [limit, own, forwarded].into_iter().flatten().min()
    }
}
