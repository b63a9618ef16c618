//! Bodies that come bit by bit.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use sealedge_core::platform::{Body, BodyError, World};
use sealedge_core::service::Incoming;
use spin_sdk::http::IncomingRequest;
use wasi::io::streams::Error;

use super::outside::in_time;

/// How long a body may take to begin. Only when it has is it known that there is one.
const BEGINNING: Duration = Duration::from_secs(2);

type Chunks = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Error>>>>;

/// The body of a request, of which not all has been read.
pub enum RequestBody {
    /// What has come of it, and the rest.
    Begun(Vec<u8>, Chunks),
    /// It broke off.
    Broken,
    /// It does not come: the request waits for it until its time is over, if it needs it.
    Late,
}

/// The body of a request: whole, if there is nothing in it. That shows only when it is read.
pub async fn received(request: IncomingRequest, world: &impl World) -> Incoming<RequestBody> {
    let mut rest: Chunks = Box::pin(request.into_body_stream());
    let first = in_time(world, BEGINNING, rest.next()).await;
    match first {
        Some(None) => Incoming::Whole(Vec::new()),
        Some(Some(Ok(begun))) => Incoming::Later(RequestBody::Begun(begun, rest)),
        Some(Some(Err(_))) => Incoming::Later(RequestBody::Broken),
        None => Incoming::Later(RequestBody::Late),
    }
}

impl Body for RequestBody {
    async fn read(self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let (mut body, mut rest) = match self {
            Self::Begun(begun, rest) => (begun, rest),
            Self::Broken => return Err(BodyError::Broken),
            Self::Late => pending().await,
        };
        while body.len() <= limit {
            match rest.next().await {
                None => return Ok(body),
                Some(Ok(chunk)) => body.extend_from_slice(&chunk),
                Some(Err(_)) => return Err(BodyError::Broken),
            }
        }
        Err(BodyError::TooLarge)
    }
}
