//! One request's way: from a client of the proxy to the server and back.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use sealedge_core::identity::Identity;
use sealedge_core::log;
use sealedge_core::route::LONGEST_BODY;
use tokio::sync::watch;
use tokio::time::timeout;

use super::answer::Answer;
use super::upstream::{Asked, Fault, PATIENCE, Upstream};
use crate::admission::{Accounts, Admitted, Busy};
use crate::cli::Common;
use crate::cli::output::note;
use crate::outside::causes;

/// What is handed on of a request's headers. All others are left out, for what proves who a client is may
/// have any name: a server can be told which header a TLS proxy forwards certificates in.
const OF_REQUESTS: [HeaderName; 3] = [ACCEPT, CONTENT_TYPE, USER_AGENT];

/// And of an answer's. How it wants requests signed is the proxy's business alone.
const OF_ANSWERS: [HeaderName; 3] = [ALLOW, CONTENT_TYPE, RETRY_AFTER];

/// How long a client may take to send its body.
const BODY: Duration = Duration::from_secs(30);

/// The longest answer that is taken whole.
const LONGEST_ANSWER: usize = 8 << 20;

/// What all connections share.
pub struct Proxy {
    /// The server.
    pub upstream: Upstream,
    /// Becomes true when the proxy is told to stop.
    pub stopping: watch::Receiver<bool>,
    /// How to tell the operator something.
    pub common: Common,
    /// Whether the server was away the last time.
    pub is_away: AtomicBool,
}

/// A connection of a client.
pub struct Connection {
    /// What it shares with others.
    pub proxy: Arc<Proxy>,
    /// Who its client is to the proxy.
    pub client: Guest,
    /// Let its requests in, or not.
    pub accounts: Arc<Accounts>,
}

/// A client, as far as it has said who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// It may use the proxy's key.
    Welcome,
    /// It has shown no certificate. Its requests go on without a signature: a server answers some to
    /// anybody, such as whether it is ready.
    Nobody,
    /// It is not among those who are let in.
    Stranger(Identity),
    /// Its certificate can't be read.
    Unreadable,
}

/// Why a request has no answer of the server's.
#[derive(Debug)]
enum Refusal {
    Stranger(Identity),
    Unreadable,
    Busy(Busy),
    NoPath,
    LongBody,
    NoBody,
    SlowBody,
    Upstream(Fault),
}

/// Answers one request.
///
/// # Errors
/// There is none.
pub async fn serve(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let answer = forward(&connection, request).await;
    Ok(answer.unwrap_or_else(|refusal| connection.proxy.refused(&refusal)))
}

async fn forward(
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let is_signed = match connection.client {
        Guest::Welcome => true,
        Guest::Nobody => false,
        Guest::Stranger(identity) => return Err(Refusal::Stranger(identity)),
        Guest::Unreadable => return Err(Refusal::Unreadable),
    };
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query();
    let target = target.filter(|target| target.path().starts_with('/'));
    let target = target.ok_or(Refusal::NoPath)?.clone();
    let mut admitted = admit(&connection.accounts, &body)?;
    let body = received(body).await?;
    admitted.holds(body.len());
    let asked = Asked {
        method: head.method,
        target,
        headers: some_of(&OF_REQUESTS, &head.headers),
        is_signed,
        body,
    };
    let proxy = &connection.proxy;
    let answer = timeout(PATIENCE, proxy.ask(&asked, admitted)).await;
    let answer = answer.unwrap_or(Err(Fault::TimedOut));
    proxy.was_asked(answer.as_ref().err());
    answer.map_err(Refusal::Upstream)
}

fn admit(accounts: &Arc<Accounts>, body: &Incoming) -> Result<Admitted, Refusal> {
    let length = body.size_hint().upper().unwrap_or(u64::MAX);
    match usize::try_from(length) {
        Ok(length) if length <= LONGEST_BODY => accounts.admit(length),
        _ if body.size_hint().upper().is_some() => return Err(Refusal::LongBody),
        // It comes bit by bit.
        _ => accounts.admit(LONGEST_BODY),
    }
    .map_err(Refusal::Busy)
}

/// All of a body: it is signed by its digest.
async fn received(body: Incoming) -> Result<Bytes, Refusal> {
    match timeout(BODY, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::LongBody),
        Ok(Err(_)) => Err(Refusal::NoBody),
        Err(_elapsed) => Err(Refusal::SlowBody),
    }
}

fn some_of(names: &[HeaderName], from: &HeaderMap) -> HeaderMap {
    let named = names.iter().flat_map(|name| {
        let values = from.get_all(name).iter();
        values.map(move |value| (name.clone(), value.clone()))
    });
    let mut some = HeaderMap::new();
    for (name, value) in named {
        some.append(name, value);
    }
    some
}

impl Proxy {
    /// Asks the server, and waits for all of its answer, if that is no log.
    async fn ask(&self, asked: &Asked, mut admitted: Admitted) -> Result<Response<Answer>, Fault> {
        let response = self.upstream.send(asked).await?;
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE);
        let answer = if content_type.is_some_and(|it| it == log::CONTENT_TYPE) {
            admitted.holds(0);
            Answer::stream(body, Some(admitted), self.stopping.clone())
        } else {
            let body = match Limited::new(body, LONGEST_ANSWER).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<LengthLimitError>() => return Err(Fault::TooLong),
                Err(error) => return Err(Fault::BrokenOff(causes(&*error))),
            };
            admitted.holds(body.len());
            Answer::whole(body, Some(admitted))
        };
        let mut answer = Response::new(answer);
        *answer.status_mut() = head.status;
        *answer.headers_mut() = some_of(&OF_ANSWERS, &head.headers);
        // What the body would have been.
        let length = head.headers.get(CONTENT_LENGTH);
        if let (&Method::HEAD, Some(length)) = (&asked.method, length) {
            answer.headers_mut().insert(CONTENT_LENGTH, length.clone());
        }
        Ok(answer)
    }

    /// Tells the operator when the server goes away, and when it comes back.
    fn was_asked(&self, fault: Option<&Fault>) {
        let is_away = fault.is_some_and(Fault::is_away);
        if self.is_away.swap(is_away, Ordering::Relaxed) == is_away {
            return;
        }
        let server = self.upstream.server();
        let message = match fault {
            Some(fault) => format!("{server}: {fault}"),
            None => format!("{server} answers again"),
        };
        note(&message, self.common);
    }

    fn refused(&self, refusal: &Refusal) -> Response<Answer> {
        let message = match refusal {
            Refusal::Upstream(fault) => format!("proxy: {}: {fault}", self.upstream.server()),
            refusal => refusal.to_string(),
        };
        let body = serde_json::json!({ "message": message }).to_string();
        let mut answer = Response::new(Answer::whole(body.into(), None));
        *answer.status_mut() = refusal.status();
        let headers = answer.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json);
        if matches!(refusal, Refusal::Busy(_)) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Stranger(_) => StatusCode::FORBIDDEN,
            Self::Unreadable | Self::NoPath | Self::LongBody | Self::NoBody => {
                StatusCode::BAD_REQUEST
            }
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(fault) => fault.status(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("tls: the client certificate is malformed"),
            Self::Stranger(identity) => write!(
                f,
                "not authorized: this proxy does not let the identity {identity} in: use its own API key, \
                 or start it with --allow {identity}"
            ),
            Self::Busy(busy) => busy.fmt(f),
            Self::NoPath => f.write_str("the path of the request does not begin with '/'"),
            // As the server says it.
            Self::LongBody => f.write_str("invalid request body"),
            Self::NoBody => f.write_str("the request body broke off"),
            Self::SlowBody => f.write_str("the request body did not come in time"),
            Self::Upstream(fault) => fault.fmt(f),
        }
    }
}
