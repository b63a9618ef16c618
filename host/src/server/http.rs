//! HTTP on a connection whose client is known: hands requests in and answers out.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use sealedge_core::auth::signature;
use sealedge_core::log;
use sealedge_core::route::LONGEST_BODY;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::activity::{Activity, Underway};
use super::log_stream::{End, LogStream};
use super::refusals::Refusals;
use super::terms::Client;
use crate::admission::{Accounts, Admitted, Busy};
use crate::guest::types::{self, ContentType, Finished};
use crate::guest::{Instance, Machine, wall_clock};
use crate::operation::PendingBody;
use crate::pool::{Lost, Pool};

/// RFC 9421, 5.1.
const ACCEPT_SIGNATURE: HeaderName = HeaderName::from_static("accept-signature");

/// A body up to this length is waited for before the service is asked, if it comes soon.
const SMALL_BODY: u64 = 16 * 1024;

/// How long it is waited for.
const SOON: Duration = Duration::from_secs(1);

/// The longest piece in which an answer is handed to HTTP: the client has to read as much of it in time.
const PIECE: usize = 16 * 1024;

/// How long a request waits for room in the audit log.
const AUDIT_PATIENCE: Duration = Duration::from_secs(10);

/// A connection, as far as requests are concerned.
pub struct Connection {
    /// The service.
    pub pool: Arc<Pool>,
    /// Whose logs are read.
    pub machine: Arc<Machine>,
    /// Becomes true when the server is told to stop.
    pub stopping: watch::Receiver<bool>,
    /// Hears what the host answers itself.
    pub refusals: Arc<Refusals>,
    /// Let its requests in, or not.
    pub accounts: Arc<Accounts>,
    /// What goes on on the connection.
    pub activity: Arc<Activity>,
    /// Who is at its other end.
    pub client: Client,
}

impl Connection {
    /// Lets a request in that may have so many bytes of body. It waits, but not without end, until the
    /// audit log can take what the request adds to it: here, where nothing else is held up.
    async fn admit(&self, body_bytes: usize) -> Result<Admitted, Busy> {
        let admitted = self.accounts.admit(body_bytes)?;
        let room = tokio::time::timeout(AUDIT_PATIENCE, self.machine.audit_room());
        match room.await {
            Ok(()) => Ok(admitted),
            Err(_elapsed) => Err(Busy::AuditLog),
        }
    }
}

/// Answers one request.
pub async fn serve(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let underway = connection.activity.begin();
    let begun = Instant::now();
    let is_head = request.method() == Method::HEAD;
    let is_http1 = request.version() < Version::HTTP_2;
    let has_body = !request.body().is_end_stream();
    let answer = match connection.admit(longest(request.body())).await {
        Ok(admitted) => ask(&connection, request, admitted)
            .await
            .map_err(|Lost| lost()),
        Err(busy) => Err(try_later(busy)),
    };
    let (mut response, is_read) = match answer {
        Ok(Answered::Whole {
            response,
            admitted,
            is_read,
        }) => (to_http(response, admitted), is_read),
        Ok(Answered::Log(stream)) => return Ok(log_to_http(stream, underway)),
        Err(response) => {
            let status = response.status().as_u16();
            connection.refusals.request(status, begun.elapsed());
            (response, !has_body)
        }
    };
    if is_http1 && !is_read {
        // There the rest of the body would have to be read before the next request.
        let value = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, value);
    }
    let response = if is_head {
        without_body(response)
    } else {
        response
    };
    Ok(response.map(|body| Answer {
        content: Content::Whole(body),
        underway,
    }))
}

/// What the service has answered.
enum Answered {
    Whole {
        response: types::Response,
        admitted: Option<Admitted>,
        /// Whether all of the request's body was.
        is_read: bool,
    },
    Log(LogStream),
}

/// The most bytes of a body that may have to be held.
fn longest(body: &Incoming) -> usize {
    let length = body.size_hint().upper().unwrap_or(u64::MAX);
    usize::try_from(length).map_or(LONGEST_BODY, |length| length.min(LONGEST_BODY))
}

/// Asks the service.
async fn ask(
    connection: &Connection,
    request: Request<Incoming>,
    mut admitted: Admitted,
) -> Result<Answered, Lost> {
    let (head, body) = request.into_parts();
    let arrived = wall_clock();
    let (body, pending) = received(body).await;
    let rest_is_read = pending.as_ref().map(|pending| pending.is_read.clone());
    match &body {
        types::Body::None => admitted.holds(0),
        types::Body::Whole(body) => admitted.holds(body.len()),
        types::Body::Later => {}
    }
    if !matches!(body, types::Body::Later) {
        connection.activity.has_whole_request();
    }
    let request = types::Request {
        line: [head.method.as_str(), " ", head.uri.path()].concat(),
        arrived,
        client: Vec::new(),
        presented: None,
        audited: false,
        body,
    };
    let generation = connection.client.in_force().generation();
    let identify = |request: &mut types::Request, instance: &mut dyn Instance| {
        connection.client.identify(request, &head, instance)
    };
    let pool = &connection.pool;
    let (finished, admitted) = pool.serve(request, pending, admitted, identify).await?;
    match finished {
        Finished::Response(response) => {
            if response.status == 400 {
                connection.client.was_refused();
            }
            Ok(Answered::Whole {
                response,
                admitted,
                is_read: rest_is_read.is_none_or(|rest| rest.load(Ordering::Relaxed)),
            })
        }
        Finished::Subscribed(subscription) => {
            let end = End {
                in_force: connection.client.in_force().clone(),
                generation,
                stopping: connection.stopping.clone(),
                until: subscription.until,
            };
            let reader = connection.machine.read(subscription.topic);
            Ok(Answered::Log(LogStream::new(reader, end, admitted)))
        }
        // No end of a request.
        Finished::Prepared(_) | Finished::Stored(_) => Err(Lost),
    }
}

/// The body, if it is small and comes soon; else what has come of it, and the rest to be read later.
/// One whose length is not known could be small.
async fn received(mut body: Incoming) -> (types::Body, Option<PendingBody>) {
    if body.is_end_stream() {
        return (types::Body::None, None);
    }
    let mut begun = Zeroizing::new(Vec::new());
    if body
        .size_hint()
        .upper()
        .is_none_or(|length| length <= SMALL_BODY)
    {
        let whole = tokio::time::timeout(SOON, async {
            while begun.len() <= SMALL_BODY as usize {
                let Some(frame) = body.frame().await else {
                    return Ok(true);
                };
                if let Ok(data) = frame?.into_data() {
                    begun.extend_from_slice(&data);
                }
            }
            Ok::<_, hyper::Error>(false)
        });
        match whole.await {
            Ok(Ok(true)) => return (types::Body::Whole(std::mem::take(&mut *begun)), None),
            // Asked again, a body that broke off would seem to have come to its end.
            Ok(Err(_)) => return later(begun, None),
            Ok(Ok(false)) | Err(_) => {}
        }
    }
    later(begun, Some(body))
}

fn later(begun: Zeroizing<Vec<u8>>, rest: Option<Incoming>) -> (types::Body, Option<PendingBody>) {
    let pending = PendingBody {
        begun,
        rest,
        is_read: Arc::default(),
    };
    (types::Body::Later, Some(pending))
}

/// The bytes of an answer, and what let its request in: held until the last of them is written.
struct HeldBody {
    // It may be a DEK: it wipes itself when it is sent.
    body: Zeroizing<Vec<u8>>,
    _admitted: Option<Admitted>,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

fn to_http(response: types::Response, mut admitted: Option<Admitted>) -> Response<Bytes> {
    if let Some(admitted) = &mut admitted {
        admitted.holds(response.body.len());
    }
    let held = HeldBody {
        body: Zeroizing::new(response.body),
        _admitted: admitted,
    };
    let mut answer = Response::new(Bytes::from_owner(held));
    *answer.status_mut() =
        StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if response.asks_for_signature {
        let value = HeaderValue::from_static(signature::ACCEPT);
        answer.headers_mut().insert(ACCEPT_SIGNATURE, value);
    }
    let content_type = match response.content_type {
        ContentType::None => return answer,
        ContentType::Json => sealedge_core::response::ContentType::Json,
        ContentType::Text => sealedge_core::response::ContentType::Text,
        ContentType::Metrics => sealedge_core::response::ContentType::Metrics,
    };
    let value = HeaderValue::from_static(content_type.as_str());
    answer.headers_mut().insert(CONTENT_TYPE, value);
    answer
}

/// The answer to a client that reads a log. Its head is sent at once, and be the log silent.
fn log_to_http(stream: LogStream, mut underway: Underway) -> Response<Answer> {
    underway.streams();
    let mut answer = Response::new(Answer {
        content: Content::Log(stream),
        underway,
    });
    let value = HeaderValue::from_static(log::CONTENT_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, value);
    answer
}

/// What the client gets whose request was lost with its instance.
fn lost() -> Response<Bytes> {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    by_host(status, "internal server error")
}

/// What the client gets whose request is not let in.
fn try_later(busy: Busy) -> Response<Bytes> {
    let mut answer = by_host(StatusCode::SERVICE_UNAVAILABLE, &busy.to_string());
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// An answer that the service knows nothing of.
fn by_host(status: StatusCode, message: &str) -> Response<Bytes> {
    let response = types::Response {
        status: status.as_u16(),
        content_type: ContentType::Json,
        asks_for_signature: false,
        body: serde_json::json!({ "message": message })
            .to_string()
            .into_bytes(),
    };
    to_http(response, None)
}

/// The answer to HEAD (RFC 9110, 9.3.2): by HTTP/2 hyper would send the body as well.
fn without_body(response: Response<Bytes>) -> Response<Bytes> {
    let (mut head, body) = response.into_parts();
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    Response::from_parts(head, Bytes::new())
}

/// An answer's body. Until hyper has taken it, its request is under way.
pub struct Answer {
    content: Content,
    underway: Underway,
}

enum Content {
    /// What hyper has not taken yet.
    Whole(Bytes),
    Log(LogStream),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { content, underway } = &mut *self;
        let next = match content {
            Content::Whole(body) if body.is_empty() => None,
            Content::Whole(body) => Some(body.split_to(body.len().min(PIECE))),
            Content::Log(stream) => ready!(stream.poll_next(cx)),
        };
        let piece = next.map(|piece| underway.unread(piece));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(body) => body.is_empty(),
            Content::Log(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Content::Log(_) => SizeHint::default(),
        }
    }
}
