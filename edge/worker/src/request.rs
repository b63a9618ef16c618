//! HTTP to the service, and back.

use http::Uri;
use js_sys::{Array, ArrayBuffer, Uint8Array};
use sealedge_core::auth::cloudflare::Told;
use sealedge_core::auth::{Presented, signature};
use sealedge_core::client::Client;
use sealedge_core::response::{Answer, ContentType, Response};
use sealedge_core::service::{Incoming, Request};
use sealedge_core::time::Time;
use wasm_bindgen::prelude::*;

use crate::isolate::Isolate;
use crate::stream::{RequestBody, received};

/// A request, and what was read of it already.
pub struct Asked {
    /// It itself.
    pub request: web_sys::Request,
    /// Its method.
    pub method: String,
    /// Its URL.
    pub url: String,
    /// The client's address. The platform writes it, but for requests of other Workers: one that calls this one by a
    /// service binding writes what it likes, here as in `request.cf`.
    pub ip: String,
    /// When it came.
    pub arrived: Time,
    /// Its body as `smallBody` in `http.mjs` gives it.
    pub body: JsValue,
}

/// Answers a request.
pub async fn answer(isolate: &Isolate, asked: Asked) -> web_sys::Response {
    let service = &isolate.service;
    isolate.sweep();
    let Ok(uri) = asked.url.parse::<Uri>() else {
        return by_door(400, "the URL can't be read");
    };
    let arrived = asked.arrived;
    let body = body(&asked).await;
    let client = if service.believes_cloudflare() {
        let told = Told::from_lines(&told(&asked.request));
        service.client_told(&told, &asked.ip, arrived)
    } else {
        Client::new([], &asked.ip, false)
    };
    let request = Request {
        line: [&asked.method, " ", uri.path()].concat(),
        arrived,
        client,
        presented: presented(isolate, &asked.request, &uri),
        audited: false,
        body,
    };
    match service.clone().serve(request).await {
        Answer::Response(response) => to_http(&response),
        // There are none where the platform says that it hands out no logs.
        Answer::Subscription(_) => by_door(501, "logs can't be read here"),
    }
}

/// The body of a request.
async fn body(asked: &Asked) -> Incoming<RequestBody> {
    if let Some(small) = asked.body.dyn_ref::<ArrayBuffer>() {
        return Incoming::Whole(Uint8Array::new(small).to_vec());
    }
    if asked.body.is_null() {
        return Incoming::Later(RequestBody::Broken);
    }
    if asked.body.is_truthy() {
        return Incoming::Later(RequestBody::Late);
    }
    let length = asked.request.headers().get("content-length").ok().flatten();
    let length = length.and_then(|it| it.parse().ok()).unwrap_or_default();
    received(asked.request.body(), length).await
}

/// What may prove who asks, if there is anything.
fn presented(isolate: &Isolate, request: &web_sys::Request, uri: &Uri) -> Option<Box<Presented>> {
    let found = credentials(request, &isolate.headers)?;
    let mut texts = found.iter().filter_map(|text| text.as_string());
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        headers.push((name, value.into_bytes()));
    }
    Some(Box::new(Presented {
        authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
        is_plain: uri.scheme_str() != Some("https"),
        query: uri.query().map(ToOwned::to_owned),
        headers,
        shown: None,
    }))
}

fn to_http(response: &Response) -> web_sys::Response {
    respond(
        response.status,
        response.content_type.map(ContentType::as_str),
        response.asks_for_signature.then_some(signature::ACCEPT),
        response.challenge,
        response.body.as_slice(),
    )
}

/// The answer while there is no service.
pub fn not_configured() -> web_sys::Response {
    by_door(500, "the service is not configured: its log says why")
}

/// An answer that the service knows nothing of.
fn by_door(status: u16, message: &str) -> web_sys::Response {
    let body = [r#"{"message":""#, message, r#""}"#].concat();
    to_http(&Response {
        status,
        ..Response::text(ContentType::Json, body.into_bytes())
    })
}

#[wasm_bindgen(raw_module = "./http.mjs")]
extern "C" {
    fn credentials(request: &web_sys::Request, names: &Array) -> Option<Array>;
    fn told(request: &web_sys::Request) -> String;
    fn respond(
        status: u16,
        kind: Option<&str>,
        accept: Option<&str>,
        challenge: Option<&str>,
        body: &[u8],
    ) -> web_sys::Response;
}
