//! The audit log: one record for every request to a route that wants to know who asks.

use std::time::Duration;

use serde::Serialize;

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
    /// Who asked; `None` if that was not to be found out.
    pub identity: Option<Identity>,
    /// The answer's HTTP status.
    pub status: u16,
    /// How long the answer took.
    pub duration: Duration,
}

impl Record<'_> {
    /// The record as one line of JSON, in the form of KES's audit stream:
    /// `{time, request: {ip, path, identity}, response: {code, time}}`, the last in nanoseconds.
    pub fn to_json(&self) -> Vec<u8> {
        let line = Line {
            time: self.time.timestamp(),
            request: Request {
                ip: self.ip,
                // A client may have put a secret in the place of a name.
                path: &conceal(self.path),
                identity: self.identity.map(|i| i.to_string()).unwrap_or_default(),
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
}

#[derive(Serialize)]
struct Response {
    code: u16,
    time: u128,
}
