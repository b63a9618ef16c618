//! The service: from a request to its answer.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::api::{self, Call};
use crate::audit;
use crate::auth::Presented;
use crate::cache::{Cache, Seed};
use crate::client::{self, Client};
use crate::config::{ApiSettings, Auth, CacheExpiry, Config, LogSettings, Proxies};
use crate::error::Error;
use crate::identity::Identity;
use crate::listing;
use crate::metrics::Counters;
use crate::name::Name;
use crate::platform::Platform;
use crate::policy::Policies;
use crate::response::{Answer, Response};
use crate::route::{Access, Operation, ROUTES, Route, Router};
use crate::sealing::Sealing;
use crate::store::Store;
use crate::time::Time;
use bearers::Bearers;
use cloudflare::Judged;
use copies::Said;
use seen::Seen;
use signers::Signers;

mod bearers;
mod cloudflare;
mod copies;
mod credentials;
mod keys;
mod seen;
mod signers;
mod start;

pub(crate) use credentials::Caller;

#[cfg(test)]
mod tests;

/// How much of a method is said again in the answer, in characters: a client that reads no answers
/// should not fill the memory with its own words.
const LONGEST_METHOD: usize = 32;

/// A request, as a door hands it in.
pub struct Request<B> {
    /// The HTTP method in capitals, a space, and the path as it came: percent-encoded, without its
    /// query.
    pub line: String,
    /// When it came.
    pub arrived: Time,
    /// Who is at the other end of its connection.
    pub client: Client,
    /// What else may prove who sends it; `None` if it has none of [`Service::credential_headers`].
    pub presented: Option<Box<Presented>>,
    /// Whether somebody reads the audit records as they come: then there is one of this request,
    /// whatever the configuration says.
    pub audited: bool,
    /// The body.
    pub body: Incoming<B>,
}

/// A request's body.
pub enum Incoming<B> {
    /// All of it; empty if there is none.
    Whole(Vec<u8>),
    /// It is still on its way, and read only if the request gets so far.
    Later(B),
}

/// The key service of one instance.
pub struct Service<P> {
    pub(crate) platform: P,
    pub(crate) policies: Policies,
    pub(crate) counters: Rc<Counters>,
    pub(crate) routes: Vec<Route>,
    router: Router,
    admin: Option<Identity>,
    /// Whether everybody knows a key of it.
    is_for_development: bool,
    /// Whose certificates are those of the clients behind them.
    proxies: Proxies,
    auth: Auth,
    signers: Signers,
    bearers: Bearers,
    believes_cloudflare: bool,
    judged: Judged,
    /// The certificate (DER) that was shown last, and an authority that it is for: to see that takes longer
    /// than all else that is done with most requests.
    shown: RefCell<Option<(Vec<u8>, String)>>,
    keys: Vec<Name>,
    /// Whether the key store was away when it was last asked for a key, and whether a call asks now.
    is_away: Cell<bool>,
    is_tried: Cell<bool>,
    /// Whether these are still to be created, once the node is unsealed.
    owes_keys: Cell<bool>,
    sealing: Sealing,
    log: LogSettings,
    /// Whether clients' certificates must be valid, and not their keys known alone.
    verifies_clients: bool,
    cache: Rc<Cache>,
    expiry: CacheExpiry,
    /// How long copies of keys are kept, where the platform can; zero for not at all.
    copies_last: Duration,
    said: Said,
}

impl<P: Platform> Service<P> {
    /// A service as the configuration wants it.
    pub fn new(config: Config, platform: P) -> Self {
        let seed = Seed::random(&mut |buffer| platform.random(buffer));
        let cache = Rc::new(Cache::new(config.cache, seed));
        Self::with(config, platform, Rc::default(), cache, &Sealing::default())
    }

    /// What this service becomes under another configuration, once that is in force (see
    /// [`Service::come_into_force`]). Both count together and share the cache, so that requests which
    /// are still parked in this one neither miss a key's delete nor are missed in the figures.
    pub fn successor(&self, config: Config, platform: P) -> Self {
        let (counters, cache) = (self.counters.clone(), self.cache.clone());
        Self::with(config, platform, counters, cache, &self.sealing)
    }

    /// Makes what is shared with the service before follow this one's configuration.
    pub fn come_into_force(&self) {
        self.cache.set_expiry(self.expiry);
    }

    fn with(
        config: Config,
        platform: P,
        counters: Rc<Counters>,
        cache: Rc<Cache>,
        sealing: &Sealing,
    ) -> Self {
        let routes: Vec<Route> = ROUTES
            .into_iter()
            .map(|route| match config.api.get(route.configured_as()) {
                Some(settings) => with_settings(route, settings),
                None => route,
            })
            .collect();
        Self {
            platform,
            policies: Policies::new(config.policies),
            counters,
            router: Router::new(routes.iter().copied()),
            routes,
            is_for_development: config.is_for_development,
            admin: config.admin,
            believes_cloudflare: config.tls.cloudflare,
            judged: Judged::default(),
            proxies: config.tls.proxies,
            auth: config.auth,
            signers: Signers::default(),
            bearers: Bearers::default(),
            shown: RefCell::default(),
            keys: config.keys,
            is_away: Cell::new(false),
            is_tried: Cell::new(false),
            owes_keys: Cell::new(false),
            copies_last: match config.seal {
                Some(_) if P::MEMORY => config.cache.offline,
                Some(_) => config.cache.offline.max(config.cache.any),
                None => Duration::ZERO,
            },
            said: Said::default(),
            sealing: sealing.successor(config.seal),
            log: config.log,
            verifies_clients: config.tls.verify_clients,
            cache,
            expiry: config.cache,
        }
    }

    /// Whether clients may come without a certificate: some route wants to know nothing of them, or they
    /// may prove otherwise who they are.
    pub fn certificate_optional(&self) -> bool {
        if self.auth.signatures || self.auth.bearer || !self.proxies.addresses.is_empty() {
            return true;
        }
        let differs = |route: &&Route| {
            ROUTES
                .iter()
                .any(|other| other.path == route.path && other.access != route.access)
        };
        self.routes.iter().any(|route| differs(&route))
    }

    /// Answers a request. Whatever happens, there is an answer, it is counted, and if the route
    /// wants to know who asks it is in the audit log.
    pub async fn serve(self: Rc<Self>, request: Request<P::Body>) -> Answer {
        self.counters.begin();
        let Request {
            line,
            arrived,
            client,
            presented,
            audited,
            body,
        } = request;
        let seen = self
            .see(&line, arrived, &client, presented.as_deref())
            .await;
        let found = self.find(&seen);

        let answer = match found {
            Some((route, argument)) => {
                let call = Call {
                    route,
                    argument,
                    arrived,
                    caller: seen.caller.as_ref().ok(),
                    body,
                };
                let work = pin!(async {
                    self.authorize(route, &seen)?;
                    if let Some(signed) = seen.signed(route) {
                        // In a box: few requests are signed.
                        Box::pin(self.admit(route, signed, &call.body)).await?;
                    }
                    api::serve(&self, call).await
                });
                let outcome = self.in_time(route.timeout, arrived, work).await;
                outcome.unwrap_or_else(|| {
                    Err(Error::TimedOut {
                        path: seen.path.to_string(),
                        client: seen.identity(),
                        ip: seen.client.ip().to_owned(),
                    })
                })
            }
            None if !seen.is_decoded => Err(Error::BadPath),
            None => Err(Error::NoRoute),
        };
        let mut answer = answer.unwrap_or_else(|error| Answer::Response(self.refuse(&error)));
        if let (Answer::Subscription(subscription), Some((route, _))) = (&mut answer, found) {
            subscription.until = seen.until(route);
        }

        let (status, duration) = (answer.status(), self.platform.now().since(arrived));
        let api = found.map(|(route, _)| route.operation);
        self.counters.end(api, status, duration);
        self.record(found, audited, &seen, status, duration);
        answer
    }

    /// Records a request that the platform answers by 500, if its client is still there: it was lost
    /// with another instance, or the server ends before it does. Counting it is the platform's.
    pub fn lost(&self, request: &Request<P::Body>) {
        let Request {
            line,
            arrived,
            client,
            presented,
            ..
        } = request;
        let seen = pin!(self.see(line, *arrived, client, presented.as_deref()));
        // No platform that loses requests waits for a signature to be verified.
        let Poll::Ready(seen) = seen.poll(&mut Context::from_waker(Waker::noop())) else {
            return;
        };
        let found = self.find(&seen);
        let duration = self.platform.now().since(*arrived);
        self.record(found, request.audited, &seen, 500, duration);
    }

    /// Writes a record for the audit log and its readers, if there are such and the request's route is
    /// one that wants to know who asks.
    fn record(
        &self,
        found: Option<(&Route, &str)>,
        audited: bool,
        seen: &Seen<'_>,
        status: u16,
        duration: Duration,
    ) {
        let is_wanted = audited || self.log.audit;
        if is_wanted && found.is_some_and(|(route, _)| route.access != Access::Public) {
            self.counters.audit_event();
            self.platform.audit(&audit::Record {
                time: seen.arrived,
                ip: seen.client.ip(),
                path: &seen.path,
                caller: seen.caller.as_ref().ok().map(|it| (it.identity, it.method)),
                status,
                duration,
            });
        }
    }

    /// Whether the route takes the method from the caller.
    fn authorize(&self, route: &Route, seen: &Seen<'_>) -> Result<(), Error> {
        if !route.takes(seen.method) {
            return Err(Error::Method {
                got: seen.method.chars().take(LONGEST_METHOD).collect(),
                expected: route.method,
            });
        }
        if route.access == Access::Public {
            return Ok(());
        }
        let is_elsewhere = seen.is_proxied || !client::is_here(seen.client.ip());
        if self.is_for_development && is_elsewhere {
            return Err(Error::Development);
        }
        let caller = &seen.caller.as_ref().map_err(Error::clone)?.identity;
        let path = match route.operation {
            Operation::ListKeys | Operation::ListPolicies | Operation::ListIdentities => {
                listing::path_for_policy(&seen.path)
            }
            _ => &seen.path,
        };
        let allowed = route.access == Access::AnyIdentity
            || self.is_admin(caller)
            || self
                .policies
                .of(caller)
                .is_some_and(|policy| policy.allows(path));
        if allowed {
            Ok(())
        } else {
            Err(Error::NotAllowed)
        }
    }

    /// The work's outcome; `None` if the limit comes first, counted from when it `arrived`.
    ///
    /// The work is pinned already: taken by value, it would be in this future twice.
    async fn in_time<T>(
        &self,
        limit: Option<Duration>,
        arrived: Time,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let Some(limit) = limit else {
            return Some(work.await);
        };
        // Most work is done at the first poll and needs no timer.
        let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if let Poll::Ready(outcome) = first {
            return Some(outcome);
        }
        let left = limit.saturating_sub(self.platform.now().since(arrived));
        let mut timer = pin!(self.platform.sleep(left));
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => timer.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    fn refuse(&self, error: &Error) -> Response {
        let is_logged = match error {
            Error::Store { .. } => error.is_outage() && self.platform.store().logs_outages(),
            Error::Sealing { source, .. } | Error::NotUnsealed(source) => {
                !self.sealing.is_news(source)
            }
            _ => false,
        };
        if let Some(detail) = error.detail().filter(|_| !is_logged) {
            self.platform.error(&detail);
        }
        let is_asked = matches!(error, Error::NoCertificate | Error::NoCredential);
        Response {
            asks_for_signature: self.auth.signatures && is_asked,
            challenge: (*error == Error::NoCredential).then(|| self.auth.challenge()),
            ..Response::error(error)
        }
    }

    /// Wipes what has expired. To be called about once a second.
    pub fn tick(&self) {
        self.cache.sweep(self.platform.now());
    }

    /// What this instance has counted since it was last asked, and its gauges (see [`crate::metrics`]).
    pub fn take_counters(&self) -> Vec<u64> {
        self.counters.set_cache_entries(self.cache.count());
        self.counters.take()
    }

    pub(crate) fn is_admin(&self, identity: &Identity) -> bool {
        self.admin.as_ref() == Some(identity)
    }

    pub(crate) fn admin(&self) -> Option<Identity> {
        self.admin
    }

    /// When policies and identities came to be: with the server.
    pub(crate) fn configured_at(&self) -> String {
        self.platform.system().started.timestamp().to_string()
    }

    /// Who made policies and identities: the admin, if there is one.
    pub(crate) fn configured_by(&self) -> Option<String> {
        self.admin.map(|identity| identity.to_string())
    }
}

fn with_settings(route: Route, settings: &ApiSettings) -> Route {
    let skips = settings.skip_auth && route.access == Access::PolicyOrSkipped;
    Route {
        access: if skips { Access::Public } else { route.access },
        timeout: settings.timeout.or(route.timeout),
        ..route
    }
}
