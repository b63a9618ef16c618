//! HTTP on a connection whose client is known: hands requests in and answers out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use zeroize::Zeroizing;

use super::terms::Client;
use crate::guest::Instance;
use crate::guest::types::{self, ContentType};
use crate::guest::wall_clock;
use crate::operation::PendingBody;
use crate::pool::Pool;

/// A body up to this length is waited for before the service is asked, if it comes soon.
const SMALL_BODY: u64 = 16 * 1024;

/// How long it is waited for.
const SOON: Duration = Duration::from_secs(1);

/// A connection, as far as requests are concerned.
pub struct Connection {
    /// The service.
    pub pool: Arc<Pool>,
    /// Who is at its other end.
    pub client: Client,
}

/// Answers one request.
pub async fn serve(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let arrived = wall_clock();
    let (body, pending) = received(body).await;
    let request = types::Request {
        line: [head.method.as_str(), " ", head.uri.path()].concat(),
        arrived,
        client: Vec::new(),
        forwarded: None,
        body,
    };
    let identify = |request: &mut types::Request, instance: &mut dyn Instance| {
        connection.client.identify(request, &head.headers, instance)
    };
    let answer = connection.pool.serve(request, pending, identify).await;
    let response = match answer {
        Ok(response) => to_http(response),
        Err(_lost) => to_http(types::Response {
            status: 500,
            content_type: ContentType::Json,
            body: br#"{"message":"internal server error"}"#.to_vec(),
        }),
    };
    if response.status() == StatusCode::BAD_REQUEST {
        connection.client.was_refused();
    }
    Ok(if head.method == Method::HEAD {
        without_body(response)
    } else {
        response
    })
}

/// The answer to HEAD (RFC 9110, 9.3.2): by HTTP/2 hyper would send the body as well.
fn without_body(response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Full::default())
}

/// The body, if it is small and comes soon; else what has come of it, and the rest to be read later.
async fn received(mut body: Incoming) -> (types::Body, Option<PendingBody>) {
    if body.is_end_stream() {
        return (types::Body::None, None);
    }
    let mut begun = Zeroizing::new(Vec::new());
    if body
        .size_hint()
        .upper()
        .is_some_and(|length| length <= SMALL_BODY)
    {
        let whole = tokio::time::timeout(SOON, async {
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    begun.extend_from_slice(&data);
                }
            }
            Ok::<_, hyper::Error>(())
        });
        match whole.await {
            Ok(Ok(())) => return (types::Body::Whole(std::mem::take(&mut *begun)), None),
            // Asked again, a body that broke off would seem to have come to its end.
            Ok(Err(_)) => return (types::Body::Later, Some(PendingBody { begun, rest: None })),
            Err(_elapsed) => {}
        }
    }
    let rest = Some(body);
    (types::Body::Later, Some(PendingBody { begun, rest }))
}

fn to_http(response: types::Response) -> Response<Full<Bytes>> {
    // It may hold a DEK: it wipes itself when it is sent.
    let body = Zeroizing::new(response.body);
    let mut answer = Response::new(Full::new(Bytes::from_owner(body)));
    *answer.status_mut() =
        StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
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
