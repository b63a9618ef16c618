//! What a request shows of itself: what it asks for, and who asks.

use std::borrow::Cow;

use super::Service;
use super::credentials::Caller;
use crate::auth::Presented;
use crate::auth::signature::Signed;
use crate::client::Client;
use crate::development;
use crate::error::Error;
use crate::identity::Identity;
use crate::platform::Platform;
use crate::route::{self, Access, Route};
use crate::time::Time;

/// What a request shows of itself.
pub(super) struct Seen<'a> {
    pub(super) arrived: Time,
    pub(super) client: &'a Client,
    pub(super) method: &'a str,
    /// As router, policies and audit log see it; as it came if it can't be decoded.
    pub(super) path: Cow<'a, str>,
    pub(super) is_decoded: bool,
    /// Whether it says that it comes by way of a proxy.
    pub(super) is_proxied: bool,
    /// Who asks, or why that is not to be found out.
    pub(super) caller: Result<Caller, Error>,
}

/// Whether it has a header that proxies write.
fn is_proxied(presented: &Presented) -> bool {
    let has = |name: &&str| presented.lines(name).next().is_some();
    development::PROXIED.iter().any(has)
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
    pub(super) async fn see<'a>(
        &self,
        line: &'a str,
        arrived: Time,
        client: &'a Client,
        presented: Option<&Presented>,
    ) -> Seen<'a> {
        let (method, path) = method_and_path(line);
        let decoded = route::canonical(path);
        Seen {
            arrived,
            client,
            method,
            is_decoded: decoded.is_some(),
            is_proxied: self.is_for_development && presented.is_some_and(is_proxied),
            path: decoded.unwrap_or(Cow::Borrowed(path)),
            caller: self
                .identify(client, (method, path), presented, arrived)
                .await,
        }
    }

    /// The request's route, and the rest of its path.
    pub(super) fn find<'a>(&'a self, seen: &'a Seen<'_>) -> Option<(&'a Route, &'a str)> {
        let path = seen.is_decoded.then_some(&*seen.path);
        path.and_then(|path| self.router.find(path))
    }
}

impl Seen<'_> {
    /// Who asks, if that is known.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.caller.as_ref().ok().map(|caller| caller.identity)
    }

    /// The signature that the request is let in by, if its route wants to know who asks.
    pub(super) fn signed(&self, route: &Route) -> Option<&Signed> {
        if route.access == Access::Public {
            return None;
        }
        self.caller.as_ref().ok()?.signed.as_deref()
    }

    /// When a stream has to end: at its route's limit, and when the certificate expires that the client was
    /// let in with.
    pub(super) fn until(&self, route: &Route) -> Option<Time> {
        let limit = route.timeout.map(|limit| self.arrived.after(limit));
        let expires = self.caller.as_ref().ok().and_then(|caller| caller.expires);
        [limit, expires].into_iter().flatten().min()
    }
}
