//! The audit log: one record for every request to a route that wants to know who asks.

use std::time::Duration;

use serde::Serialize;

use crate::auth::Method;
use crate::conceal::conceal;
use crate::identity::Identity;
use crate::log;
use crate::time::Time;

/// What one request was and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the request arrived.
    pub time: Time,
    /// The client's address, without its port.
    pub ip: &'a str,
    /// The path as router and policy saw it.
    pub path: &'a str,
    /// Who asked, and how that was proved; `None` if it was not.
    pub caller: Option<(Identity, Method)>,
    /// The answer's HTTP status.
    pub status: u16,
    /// How long the answer took.
    pub duration: Duration,
}

impl Record<'_> {
    /// The record as one line of JSON, in the form of KES's audit stream:
    /// `{time, request: {ip, path, identity, auth}, response: {code, time}}`, the last in nanoseconds;
    /// `auth` is not in KES's.
    pub fn to_json(&self) -> Vec<u8> {
        let line = Line {
            time: self.time.timestamp(),
            request: Request {
                ip: self.ip,
                // A client may have put a secret in the place of a name.
                path: &conceal(self.path),
                identity: self.caller.map(|it| it.0.to_string()).unwrap_or_default(),
                auth: self.caller.map(|it| it.1),
            },
            response: Response {
                code: self.status,
                time: self.duration.as_nanos(),
            },
        };
        log::line(&line)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: jiff::Timestamp,
    request: Request<'a>,
    response: Response,
}

#[derive(Serialize)]
struct Request<'a> {
    ip: &'a str,
    path: &'a str,
    identity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Method>,
}

#[derive(Serialize)]
struct Response {
    code: u16,
    time: u128,
}
