//! Clients whose certificates Cloudflare tells of.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use super::Service;
use crate::auth::cloudflare::Told;
use crate::certificate::Principal;
use crate::client::Client;
use crate::platform::Platform;
use crate::time::Time;

/// How long a certificate counts as it was judged. What Cloudflare says of it is looked at in each request.
const JUDGED: Duration = Duration::from_secs(60);

/// How many are remembered: one identity may have many certificates.
const MOST: usize = 1024;

/// Certificates that were judged, by their texts, for to read and verify one takes its time.
/// Only those of clients with rights are kept, so that nobody else can drive them out.
#[derive(Default)]
pub(super) struct Judged(RefCell<HashMap<String, (Principal, Time), FxBuildHasher>>);

impl Judged {
    fn get(&self, text: &str, now: Time) -> Option<Principal> {
        let judged = self.0.borrow();
        let (principal, at) = judged.get(text)?;
        (*at <= now && now.since(*at) < JUDGED).then_some(*principal)
    }

    fn keep(&self, text: String, principal: Principal, now: Time) {
        let mut judged = self.0.borrow_mut();
        if judged.len() >= MOST {
            judged.clear();
        }
        judged.insert(text, (principal, now));
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl<P: Platform> Service<P> {
    /// Whether clients are those whose certificates Cloudflare tells of (`tls.cloudflare`).
    pub fn believes_cloudflare(&self) -> bool {
        self.believes_cloudflare
    }

    /// The client that Cloudflare tells of, at this address.
    pub fn client_told(&self, told: &Told, ip: &str, now: Time) -> Client {
        let principal = if told.is_presented() {
            self.judge(told, now)
        } else {
            Principal::Nobody
        };
        Client::of(principal, ip)
    }

    fn judge(&self, told: &Told, now: Time) -> Principal {
        if told.is_revoked() || (self.verifies_clients && !told.is_verified()) {
            return Principal::Untrusted;
        }
        let text = [told.certificate.as_str(), &told.chain].join(",");
        if let Some(principal) = self.judged.get(&text, now) {
            return principal;
        }
        let Some(certificates) = told.certificates() else {
            return Principal::Unreadable;
        };
        let trusted = !self.verifies_clients || self.is_certified(&certificates);
        // Those behind it have proved nothing, and serve to verify it alone.
        let own = certificates.first().map(Vec::as_slice);
        let principal = Principal::of_chain(own, trusted);
        if let Principal::Client { identity, .. } = principal
            && self.has_rights(&identity)
        {
            self.judged.keep(text, principal, now);
        }
        principal
    }
}
