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
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode};
use sealedge_core::identity::Identity;
use sealedge_core::log;
use sealedge_core::route::LONGEST_BODY;
use tokio::sync::watch;
use tokio::time::timeout;

use super::answer::{Answer, Content};
use super::upstream::{Asked, Fault, PATIENCE, Upstream};
use crate::admission::{Accounts, Admitted, Busy};
use crate::cli::Common;
use crate::cli::output::note;
use crate::server::activity::Activity;
use crate::server::connection::Connections;

/// What is handed on of a request's headers. All others are left out: a server has no use for them, and what
/// proves who a client is may have any name, for it can be told which header a TLS proxy forwards
/// certificates in.
const OF_REQUESTS: [HeaderName; 2] = [ACCEPT, CONTENT_TYPE];

/// And of an answer's. How it wants requests signed is the proxy's business alone.
const OF_ANSWERS: [HeaderName; 3] = [ALLOW, CONTENT_TYPE, RETRY_AFTER];

/// How long a client may take to send its body.
const BODY: Duration = Duration::from_secs(30);

/// The longest head of a request, as HTTP/2 counts it (RFC 9113, 6.5.2): what a server takes. By HTTP/2 a
/// much longer one ends the connection to it, which all clients share.
const LONGEST_HEAD: usize = 16 << 10;

/// How many bytes each request holds at least: what almost all answers need, so that there is room for them
/// before something is done.
const LEAST_HELD: usize = 16 << 10;

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
    /// Connections of clients that have shown no certificate.
    pub of_nobody: Connections,
}

/// A connection of a client.
pub struct Connection {
    /// What it shares with others.
    pub proxy: Arc<Proxy>,
    /// Who its client is to the proxy.
    pub client: Guest,
    /// Let its requests in, or not.
    pub accounts: Arc<Accounts>,
    /// What goes on on it.
    pub activity: Arc<Activity>,
}

/// A client, as far as it has said who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// It may use the proxy's key. By a socket it needs no identity.
    Welcome(Option<Identity>),
    /// It has shown no certificate. Its requests go on without a signature and without their bodies: a
    /// server answers some to anybody, such as whether it is ready.
    Nobody,
    /// It is not among those who are let in.
    Stranger(Identity),
    /// Its certificate can't be read.
    Unreadable,
}

impl Guest {
    /// By what its requests are counted.
    pub const fn account(&self) -> &[u8] {
        match self {
            Self::Welcome(Some(identity)) => identity.as_bytes(),
            _ => &[],
        }
    }
}

/// Why a request has no answer of the server's.
#[derive(Debug)]
enum Refusal {
    Stranger(Identity),
    Unreadable,
    Busy(Busy),
    LongHead,
    Connect,
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
    let underway = connection.activity.begin();
    let answer = forward(&connection, request).await;
    let answer = answer.unwrap_or_else(|refusal| connection.proxy.refused(&refusal));
    Ok(answer.map(|content| Answer::new(content, underway)))
}

async fn forward(
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<Response<Content>, Refusal> {
    let is_signed = match connection.client {
        Guest::Welcome(_) => true,
        Guest::Nobody => false,
        Guest::Stranger(identity) => return Err(Refusal::Stranger(identity)),
        Guest::Unreadable => return Err(Refusal::Unreadable),
    };
    let (head, body) = request.into_parts();
    let target = target(&head)?;
    let (body, admitted) = if is_signed {
        let mut admitted = admit(&connection.accounts, &body)?;
        let body = received(body).await?;
        admitted.holds(body.len().max(LEAST_HELD));
        (body, admitted)
    } else {
        let admitted = connection.accounts.admit(LEAST_HELD);
        (Bytes::new(), admitted.map_err(Refusal::Busy)?)
    };
    let asked = Asked {
        method: head.method,
        target,
        headers: some_of(&OF_REQUESTS, &head.headers),
        is_signed,
        body,
    };
    let proxy = connection.proxy.clone();
    // A client that gives up many requests soon would otherwise have the server end the connection.
    let asking = tokio::spawn(async move { proxy.ask(asked, admitted).await });
    let answer = asking.await.unwrap_or_else(|error| Err(Fault::Lost(error)));
    answer.map_err(Refusal::Upstream)
}

/// What a request is about, if it is one to be handed on.
fn target(head: &Parts) -> Result<PathAndQuery, Refusal> {
    let target = head.uri.path_and_query();
    let target = target.filter(|target| target.path().starts_with('/'));
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + 32);
    let line = head.method.as_str().len() + target.map_or(0, |target| target.as_str().len());
    match target {
        _ if head.method == Method::CONNECT => Err(Refusal::Connect),
        _ if line + headers.sum::<usize>() > LONGEST_HEAD => Err(Refusal::LongHead),
        Some(target) => Ok(target.clone()),
        None => Err(Refusal::NoPath),
    }
}

fn admit(accounts: &Arc<Accounts>, body: &Incoming) -> Result<Admitted, Refusal> {
    let length = body.size_hint().upper().unwrap_or(u64::MAX);
    match usize::try_from(length) {
        Ok(length) if length <= LONGEST_BODY => accounts.admit(length.max(LEAST_HELD)),
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
    /// Asks the server, and waits for all of its answer in time, if that is no log.
    async fn ask(&self, asked: Asked, admitted: Admitted) -> Result<Response<Content>, Fault> {
        let answer = timeout(PATIENCE, self.answer(asked, admitted)).await;
        let answer = answer.unwrap_or(Err(Fault::TimedOut));
        self.was_asked(answer.as_ref().err());
        answer
    }

    async fn answer(&self, asked: Asked, admitted: Admitted) -> Result<Response<Content>, Fault> {
        let response = self.upstream.send(&asked).await?;
        let is_head = asked.method == Method::HEAD;
        drop(asked);
        let (head, body) = response.into_parts();
        if head.status.is_informational() {
            return Err(Fault::Informational(head.status));
        }
        let content_type = head.headers.get(CONTENT_TYPE);
        let content = if content_type.is_some_and(|it| it == log::CONTENT_TYPE) {
            Content::stream(body, admitted, self.stopping.clone())
        } else {
            Content::whole(body, is_head, admitted).await?
        };
        let mut answer = Response::new(content);
        *answer.status_mut() = head.status;
        *answer.headers_mut() = some_of(&OF_ANSWERS, &head.headers);
        // What the body would have been.
        if let (true, Some(length)) = (is_head, head.headers.get(CONTENT_LENGTH)) {
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

    fn refused(&self, refusal: &Refusal) -> Response<Content> {
        let message = match refusal {
            Refusal::Upstream(fault) => format!("proxy: {}: {fault}", self.upstream.server()),
            refusal => refusal.to_string(),
        };
        let body = serde_json::json!({ "message": message }).to_string();
        let mut answer = Response::new(Content::Whole(body.into()));
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
            Self::LongHead => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Unreadable | Self::Connect | Self::NoPath | Self::LongBody | Self::NoBody => {
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
            Self::LongHead => write!(
                f,
                "method, path and headers of the request are longer than {LONGEST_HEAD} bytes"
            ),
            Self::Connect => {
                f.write_str("this proxy leads to no other server: CONNECT is not for it")
            }
            Self::NoPath => f.write_str("the path of the request does not begin with '/'"),
            // As the server says it.
            Self::LongBody => f.write_str("invalid request body"),
            Self::NoBody => f.write_str("the request body broke off"),
            Self::SlowBody => f.write_str("the request body did not come in time"),
            Self::Upstream(fault) => fault.fmt(f),
        }
    }
}
