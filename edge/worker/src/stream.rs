//! Bodies that come bit by bit.

use std::future::pending;
use std::pin::pin;

use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use js_sys::{Reflect, Uint8Array};
use sealedge_core::platform::{Body, BodyError};
use sealedge_core::service::Incoming;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStream, ReadableStreamDefaultReader};

/// How long a body may take to begin, in milliseconds. Only when it has is it known that there is one.
const BEGINNING: u32 = 10_000;

/// The body of a request, of which not all has been read.
pub enum RequestBody {
    /// What has come of it, and the rest.
    Begun {
        begun: Vec<u8>,
        rest: ReadableStreamDefaultReader,
        /// How many bytes it has, if that is said.
        length: usize,
    },
    /// It broke off.
    Broken,
    /// It does not come: the request waits for it until its time is over, if it needs it.
    Late,
}

/// The body of a request: whole, if there is nothing in it. That shows only when it is read: a request may
/// have an empty body whose length was not said.
///
/// Its `length` in bytes is 0 if it is not said.
pub async fn received(body: Option<ReadableStream>, length: usize) -> Incoming<RequestBody> {
    let reader = body.map(|body| ReadableStreamDefaultReader::new(&body));
    let Some(Ok(rest)) = reader else {
        return Incoming::Whole(Vec::new());
    };
    let first = match select(pin!(chunk(&rest)), pin!(TimeoutFuture::new(BEGINNING))).await {
        Either::Left((first, _)) => first,
        Either::Right(_) => {
            let _ = rest.cancel();
            return Incoming::Later(RequestBody::Late);
        }
    };
    match first {
        Ok(None) => Incoming::Whole(Vec::new()),
        Ok(Some(begun)) => Incoming::Later(RequestBody::Begun {
            begun: begun.to_vec(),
            rest,
            length,
        }),
        Err(_) => Incoming::Later(RequestBody::Broken),
    }
}

impl Body for RequestBody {
    async fn read(self, limit: usize) -> Result<Vec<u8>, BodyError> {
        match self {
            Self::Begun {
                mut begun,
                rest,
                length,
            } => {
                begun.reserve_exact(length.min(limit).saturating_sub(begun.len()));
                self::rest(begun, &rest, limit).await
            }
            Self::Broken => Err(BodyError::Broken),
            Self::Late => pending().await,
        }
    }
}

/// Reads a stream to its end, unless it is longer than `limit` bytes.
pub async fn read(stream: &ReadableStream, limit: usize) -> Result<Vec<u8>, BodyError> {
    let reader = ReadableStreamDefaultReader::new(stream).map_err(broken)?;
    rest(Vec::new(), &reader, limit).await
}

async fn rest(
    mut body: Vec<u8>,
    reader: &ReadableStreamDefaultReader,
    limit: usize,
) -> Result<Vec<u8>, BodyError> {
    while body.len() <= limit {
        let Some(chunk) = chunk(reader).await? else {
            return Ok(body);
        };
        let begun = body.len();
        body.resize(begun.saturating_add(chunk.length() as usize), 0);
        if let Some(rest) = body.get_mut(begun..) {
            chunk.copy_to(rest);
        }
    }
    // Nobody waits for the rest.
    let _ = reader.cancel();
    Err(BodyError::TooLarge)
}

/// What comes next; `None` at the end.
async fn chunk(reader: &ReadableStreamDefaultReader) -> Result<Option<Uint8Array>, BodyError> {
    let step = JsFuture::from(reader.read()).await.map_err(broken)?;
    let field = |name: &str| Reflect::get(&step, &JsValue::from_str(name)).map_err(broken);
    if field("done")?.is_truthy() {
        return Ok(None);
    }
    field("value")?.dyn_into().map(Some).map_err(broken)
}

fn broken(_: JsValue) -> BodyError {
    BodyError::Broken
}
