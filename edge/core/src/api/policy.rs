//! Policies, which the configuration alone makes.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;

use super::json;
use crate::error::{Error, Kind};
use crate::listing::Listing;
use crate::name::Name;
use crate::platform::Platform;
use crate::policy::Policy;
use crate::response::Response;
use crate::service::Service;

#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
}

pub fn describe<P: Platform>(service: &Service<P>, argument: &str) -> Result<Response, Error> {
    let policy = find(service, argument)?;
    json(&Description {
        name: policy.name.as_str(),
        created_at: service.configured_at(),
        created_by: service.configured_by(),
    })
}

#[derive(Serialize)]
struct Rules<'a> {
    name: &'a str,
    allow: Patterns<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    deny: Patterns<'a>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
}

/// Patterns as the protocol writes them: the keys of an object whose values are empty objects.
pub(super) type Patterns<'a> = BTreeMap<&'a str, Rule>;

/// A rule about a pattern. There is nothing to say about one yet.
#[derive(Serialize)]
pub(super) struct Rule {}

pub(super) fn patterns(patterns: &[String]) -> Patterns<'_> {
    patterns
        .iter()
        .map(|pattern| (pattern.as_str(), Rule {}))
        .collect()
}

pub fn read<P: Platform>(service: &Service<P>, argument: &str) -> Result<Response, Error> {
    let policy = find(service, argument)?;
    json(&Rules {
        name: policy.name.as_str(),
        allow: patterns(&policy.allow),
        deny: patterns(&policy.deny),
        created_at: service.configured_at(),
        created_by: service.configured_by(),
    })
}

#[derive(Serialize)]
struct Names {
    names: Vec<String>,
    continue_at: String,
}

pub fn list<P: Platform>(service: &Service<P>, argument: &str) -> Result<Response, Error> {
    let names = service.policies.names().map(Name::as_str);
    let page = Listing::parse(argument)?.page_of(names);
    json(&Names {
        names: page.names,
        continue_at: page.continue_at,
    })
}

fn find<'a, P: Platform>(service: &'a Service<P>, argument: &str) -> Result<&'a Rc<Policy>, Error> {
    let name =
        Name::new(argument).ok_or_else(|| Error::InvalidName(Kind::Policy, argument.to_owned()))?;
    service
        .policies
        .get(&name)
        .ok_or(Error::NotFound(Kind::Policy))
}
