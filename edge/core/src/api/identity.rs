//! Identities, which the configuration alone gives their rights.

use serde::Serialize;

use super::json;
use super::policy::{Patterns, patterns};
use crate::auth::Method;
use crate::error::{Error, Kind};
use crate::identity::Identity;
use crate::listing::Listing;
use crate::name::Name;
use crate::platform::Platform;
use crate::response::Response;
use crate::service::{Caller, Service};

#[derive(Serialize)]
struct Description<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    /// How the caller has proved that it is this; not in KES's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Method>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    allow: Patterns<'a>,
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    deny: Patterns<'a>,
}

pub fn describe<P: Platform>(service: &Service<P>, argument: &str) -> Result<Response, Error> {
    if Name::new(argument).is_none() {
        return Err(Error::InvalidName(Kind::Identity, argument.to_owned()));
    }
    let identity = argument
        .parse()
        .map_err(|_| Error::NotFound(Kind::Identity))?;
    json(&Description {
        allow: Patterns::new(),
        deny: Patterns::new(),
        ..description(service, &identity)?
    })
}

pub fn describe_self<P: Platform>(
    service: &Service<P>,
    caller: Option<&Caller>,
) -> Result<Response, Error> {
    let caller = caller.ok_or(Error::NotFound(Kind::Identity))?;
    json(&Description {
        identity: Some(caller.identity.to_string()),
        auth: Some(caller.method),
        ..description(service, &caller.identity)?
    })
}

fn description<'a, P: Platform>(
    service: &'a Service<P>,
    identity: &Identity,
) -> Result<Description<'a>, Error> {
    let created_at = service.configured_at();
    if service.is_admin(identity) {
        return Ok(Description {
            identity: None,
            auth: None,
            admin: true,
            policy: None,
            created_at,
            created_by: None,
            allow: Patterns::new(),
            deny: Patterns::new(),
        });
    }
    let policy = service
        .policies
        .of(identity)
        .ok_or(Error::NotFound(Kind::Identity))?;
    Ok(Description {
        identity: None,
        auth: None,
        admin: false,
        policy: Some(policy.name.as_str()),
        created_at,
        created_by: service.configured_by(),
        allow: patterns(&policy.allow),
        deny: patterns(&policy.deny),
    })
}

#[derive(Serialize)]
struct Identities {
    identities: Vec<String>,
    continue_at: String,
}

pub fn list<P: Platform>(service: &Service<P>, argument: &str) -> Result<Response, Error> {
    let listing = Listing::parse(argument)?;
    let mut all: Vec<Identity> = service.policies.identities().to_vec();
    all.extend(service.admin());
    all.sort_unstable();
    let page = listing.page_of(all.iter().map(Identity::to_string));
    json(&Identities {
        identities: page.names,
        continue_at: page.continue_at,
    })
}
