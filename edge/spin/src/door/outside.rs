//! What is outside of the service: time, chance, servers elsewhere, the log.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use sealedge_core::config::{Config, LogSettings};
use sealedge_core::log;
use sealedge_core::outgoing::{Destination, Fault, Request, Response};
use sealedge_core::platform::World;
use sealedge_core::time::Time;
use spin_executor::CancelOnDropToken;
use spin_sdk::http::conversions::TryIntoOutgoingRequest;
use spin_sdk::http::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingRequest, Scheme, SendError, send,
};
use wasi::clocks::{monotonic_clock, wall_clock};
use zeroize::Zeroizing;

/// What is outside of one service.
#[derive(Clone)]
pub struct Outside(Rc<Shared>);

struct Shared {
    log: LogSettings,
    destinations: Vec<Destination>,
}

impl Outside {
    /// What this configuration knows of it.
    pub fn new(config: &Config) -> Self {
        Self(Rc::new(Shared {
            log: config.log,
            destinations: config.destinations(),
        }))
    }
}

/// Says something in the log, whatever the configuration wants of it.
pub fn log_error(message: &str) {
    write(&log::error_record(message));
}

/// Writes a line to standard output: that is where Spin takes logs from. If it does not, nobody is to be told.
pub fn write(line: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line).and_then(|()| out.flush());
}

/// The time now.
pub fn now() -> Time {
    let now = wall_clock::now();
    let seconds = now.seconds.saturating_mul(1_000_000_000);
    Time::from_nanos(seconds.saturating_add(now.nanoseconds.into()))
}

impl World for Outside {
    fn now(&self) -> Time {
        now()
    }

    fn random(&self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            let random = wasi::random::random::get_random_u64().to_le_bytes();
            for (to, from) in part.iter_mut().zip(random) {
                *to = from;
            }
        }
    }

    async fn sleep(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let over = monotonic_clock::now().saturating_add(nanos);
        let mut _waits = None;
        poll_fn(|context| {
            if monotonic_clock::now() >= over {
                return Poll::Ready(());
            }
            let over = monotonic_clock::subscribe_instant(over);
            let waker = context.waker().clone();
            let token = spin_executor::push_waker_and_get_token(over, waker);
            _waits = Some(CancelOnDropToken::from(token));
            Poll::Pending
        })
        .await;
    }

    async fn fetch(&self, request: Request) -> Result<Response, Fault> {
        let Some(destination) = self.0.destinations.get(request.destination) else {
            return Err(Fault::Unreachable("no such destination".to_owned()));
        };
        let timeout = request.timeout;
        let outcome = in_time(self, timeout, fetched(&destination.origin, request)).await;
        outcome.unwrap_or(Err(Fault::TimedOut))
    }

    /// There are none, and the configuration can't name any.
    async fn file(&self, _: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        Err("is in a file, and this platform has none".to_owned())
    }

    fn log_error(&self, line: &str) {
        if self.0.log.error {
            log_error(line);
        }
    }
}

/// The outcome of some work; none if it takes longer.
pub async fn in_time<T>(
    world: &impl World,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    match select(pin!(work), pin!(world.sleep(limit))).await {
        Either::Left((outcome, _)) => Some(outcome),
        Either::Right(_) => None,
    }
}

async fn fetched(origin: &str, request: Request) -> Result<Response, Fault> {
    let limit = request.limit;
    let outgoing = outgoing(origin, &request)
        .ok_or_else(|| Fault::Unreachable("the request can't be made".to_owned()))?;
    let response: IncomingResponse = send(outgoing).await.map_err(fault)?;
    let (status, headers) = (response.status(), headers(&response.headers()));
    let mut body = Zeroizing::new(Vec::new());
    let mut stream = pin!(response.take_body_stream());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Fault::Unreachable("the answer broke off".to_owned()))?;
        let chunk = Zeroizing::new(chunk);
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(Fault::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response {
        status,
        headers,
        body,
    })
}

/// A request and its body, as the SDK sends it.
struct Outgoing(OutgoingRequest, Option<Vec<u8>>);

impl TryIntoOutgoingRequest for Outgoing {
    type Error = Infallible;

    fn try_into_outgoing_request(self) -> Result<(OutgoingRequest, Option<Vec<u8>>), Self::Error> {
        Ok((self.0, self.1))
    }
}

/// None if a part of it is not as HTTP has it.
fn outgoing(origin: &str, request: &Request) -> Option<Outgoing> {
    let origin: http::Uri = origin.parse().ok()?;
    let headers = request.headers.iter();
    let mut headers: Vec<_> = headers
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    let body = (!request.body.is_empty()).then(|| request.body.to_vec());
    if let Some(body) = &body {
        headers.push((
            "content-length".to_owned(),
            body.len().to_string().into_bytes(),
        ));
    }
    let outgoing = OutgoingRequest::new(Fields::from_list(&headers).ok()?);
    let scheme = match origin.scheme_str()? {
        "https" => Scheme::Https,
        _ => Scheme::Http,
    };
    let method = match &*request.method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    };
    outgoing.set_method(&method).ok()?;
    outgoing.set_scheme(Some(&scheme)).ok()?;
    outgoing
        .set_authority(Some(origin.authority()?.as_str()))
        .ok()?;
    outgoing.set_path_with_query(Some(&request.path)).ok()?;
    Some(Outgoing(outgoing, body))
}

fn fault(error: SendError) -> Fault {
    match error {
        SendError::Http(ErrorCode::HttpRequestDenied) => Fault::Unreachable(
            "the application may not reach it: give it the origin, as the configuration has it, as the variable \
             `sealedge_keystore` (`SPIN_VARIABLE_SEALEDGE_KEYSTORE`), which `allowed_outbound_hosts` of spin.toml names"
                .to_owned(),
        ),
        SendError::Http(ErrorCode::ConnectionTimeout | ErrorCode::HttpResponseTimeout) => {
            Fault::TimedOut
        }
        SendError::Http(error) => Fault::Unreachable(error.to_string()),
        other => Fault::Unreachable(other.to_string()),
    }
}

/// Those whose value is ASCII.
fn headers(headers: &Fields) -> Vec<(String, String)> {
    let entries = headers.entries().into_iter();
    entries
        .filter_map(|(name, value)| Some((name, String::from_utf8(value).ok()?)))
        .filter(|(_, value)| value.is_ascii())
        .collect()
}
