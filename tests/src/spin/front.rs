//! The HTTP side: a request to an instance of its own, and its answer back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use wasmtime::Store;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::Inside;
use super::request::Request;
use super::state::State;

type Answer = Response<HyperOutgoingBody>;

/// What Spin answers itself begins so.
const WELL_KNOWN: &str = "/.well-known/spin/";

/// Serves until this is dropped.
pub(super) async fn serve(app: Arc<Inside>, listener: TcpListener) {
    while let Ok((stream, peer)) = listener.accept().await {
        tokio::spawn(connection(app.clone(), stream, peer));
    }
}

async fn connection(app: Arc<Inside>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(|request: hyper::Request<Incoming>| {
        let app = app.clone();
        async move {
            let path = request.uri().path();
            if let Some(page) = path.strip_prefix(WELL_KNOWN) {
                return Ok::<_, Infallible>(well_known(page));
            }
            Ok(match answer(&app, request, peer).await {
                Ok(answer) => answer,
                Err(why) => {
                    app.troubles.say(&why);
                    with_status(StatusCode::INTERNAL_SERVER_ERROR)
                }
            })
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    // A client that goes away is no trouble.
    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
}

/// Spin's own pages. What the real one says of the app, at `info`, is left out here.
fn well_known(page: &str) -> Answer {
    if page != "health" {
        return with_status(StatusCode::NOT_FOUND);
    }
    let ok = Full::new(Bytes::from_static(b"OK"));
    Response::new(ok.map_err(|never| match never {}).boxed_unsync())
}

fn with_status(status: StatusCode) -> Answer {
    let nothing = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(nothing);
    *answer.status_mut() = status;
    answer
}

/// Has an instance answer.
///
/// # Errors
/// Why there is no answer: a trap, a call that sets none, a request that Spin can't hand in.
async fn answer(
    app: &Arc<Inside>,
    mut incoming: hyper::Request<Incoming>,
    peer: SocketAddr,
) -> Result<Answer, String> {
    let client = app.client.lock().unwrap().unwrap_or(peer);
    let headers = headers(&incoming, client, app.is_https)?;
    *incoming.headers_mut() = headers;
    let path = incoming
        .uri()
        .path_and_query()
        .map_or("/", |it| it.as_str());
    let line = format!("{} {path}", incoming.method());
    let number = app.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let request = Arc::new(Request::new(number, line));
    let failed = |reason: wasmtime::Error| format!("request {number}: {reason:?}");

    let begun = Instant::now();
    let state = State::new(app.clone(), request.clone());
    let mut store = Store::new(app.instance.engine(), state);
    let instance = app.instance.instantiate_async(&mut store).await;
    let instance = instance.map_err(failed)?;
    let made = begun.elapsed();

    let (sender, answered) = oneshot::channel();
    let mut http = store.data_mut().http();
    // Its scheme is never the true one.
    let incoming = http
        .new_incoming_request(Scheme::Http, incoming)
        .map_err(failed)?;
    let clock = request.clone();
    let out = http.new_response_outparam_from_callback(move |answer| {
        clock.answered();
        let _ = sender.send(answer);
    });
    let out = out.map_err(failed)?;

    let times = Recorded {
        app: app.clone(),
        request: request.clone(),
        instance: made,
        is_over: false,
    };
    let handle = tokio::spawn(async move {
        let mut times = times;
        request.begin();
        let handler = instance.wasi_http_incoming_handler();
        let handled = request
            .run(handler.call_handle(&mut store, incoming, out))
            .await;
        times.is_over = true;
        if let Err(reason) = &handled {
            times
                .app
                .troubles
                .say(&format!("request {number}: {reason:?}"));
        }
        handled
    });
    let abort = handle.abort_handle();
    match answered.await {
        Ok(Ok(answer)) => Ok(answer.map(|body| Ending { body, abort }.boxed_unsync())),
        Ok(Err(code)) => Err(format!("request {number}: the component answers {code:?}")),
        Err(_) => Err(format!("request {number} has no answer")),
    }
}

/// What the client has sent, and after it what Spin says itself: a name may be there twice.
pub(super) fn headers<B>(
    request: &hyper::Request<B>,
    client: SocketAddr,
    is_https: bool,
) -> Result<HeaderMap, String> {
    let mut headers = request.headers().clone();
    if headers
        .values()
        .any(|it| std::str::from_utf8(it.as_bytes()).is_err())
    {
        return Err("a header is no text".into());
    }
    let host = headers.get(HOST).and_then(|it| it.to_str().ok());
    let host = host.ok_or("there is no Host")?;
    let authority: Authority = host.parse().map_err(|_| "Host is none")?;
    if request.uri().authority().is_some_and(|it| *it != authority) {
        return Err("Host is not that of the URL".into());
    }
    let scheme = if is_https { "https" } else { "http" };
    let path = request.uri().path_and_query().map_or("/", |it| it.as_str());
    let own = [
        ("spin-path-info", request.uri().path().to_owned()),
        ("spin-full-url", format!("{scheme}://{host}{path}")),
        ("spin-matched-route", "/...".into()),
        ("spin-base-path", "/".into()),
        ("spin-raw-component-route", "/...".into()),
        ("spin-component-route", "/".into()),
        ("spin-client-addr", client.to_string()),
    ];
    for (name, value) in own {
        let value = HeaderValue::try_from(value).map_err(|it| it.to_string())?;
        headers.append(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// Leaves what a request has cost with its app, however it ends.
struct Recorded {
    app: Arc<Inside>,
    request: Arc<Request>,
    instance: std::time::Duration,
    is_over: bool,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.app
            .record(self.request.times(self.instance, self.is_over));
    }
}

/// The body of an answer. When hyper is done with it, the instance ends, whatever it still had in mind: so does
/// Spin 4, and it may.
struct Ending {
    body: HyperOutgoingBody,
    abort: AbortHandle,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Body for Ending {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
