//! HTTP to the service, and back.

use http::Uri;
use js_sys::JsString;
use sealedge_core::auth::{Presented, signature};
use sealedge_core::client::Client;
use sealedge_core::response::{Answer, ContentType, Response};
use sealedge_core::service::{Incoming, Request};
use sealedge_core::time::Time;
use wasm_bindgen::prelude::*;
use web_sys::{Headers, ResponseInit};

use crate::handshake;
use crate::isolate::Isolate;
use crate::outside::now;
use crate::stream::{RequestBody, received};

/// The header with the client's address. The platform writes it, but for requests of other Workers: one that calls
/// this one by a service binding writes what it likes, here as in `request.cf`.
const ADDRESS: &str = "cf-connecting-ip";

/// Answers a request.
pub async fn answer(
    isolate: &Isolate,
    request: web_sys::Request,
) -> Result<web_sys::Response, JsValue> {
    let service = &isolate.service;
    isolate.sweep();
    let Ok(uri) = request.url().parse::<Uri>() else {
        return by_door(400, "the URL can't be read");
    };
    let arrived = now();
    let body = received(request.body()).await;
    let request = to_service(isolate, &request, &uri, arrived, body)?;
    match service.clone().serve(request).await {
        Answer::Response(response) => to_http(response),
        // There are none where the platform says that it hands out no logs.
        Answer::Subscription(_) => by_door(501, "logs can't be read here"),
    }
}

#[wasm_bindgen]
extern "C" {
    /// Headers that are looked for by names which JavaScript has already.
    type Lines;

    #[wasm_bindgen(method, catch)]
    fn get(this: &Lines, name: &JsString) -> Result<Option<String>, JsValue>;
}

fn to_service(
    isolate: &Isolate,
    request: &web_sys::Request,
    uri: &Uri,
    arrived: Time,
    body: Incoming<RequestBody>,
) -> Result<Request<RequestBody>, JsValue> {
    let headers = request.headers();
    let ip = headers.get(ADDRESS)?.unwrap_or_default();
    let client = if isolate.service.believes_cloudflare() {
        let told = handshake::told(request);
        isolate.service.client_told(&told, &ip, arrived)
    } else {
        Client::new([], &ip, false)
    };
    let mut credentials = Vec::new();
    let lines: &Lines = headers.unchecked_ref();
    for (name, for_script) in &isolate.headers {
        // Several lines come as one, with commas: none that counts as one alone is readable then.
        if let Some(value) = lines.get(for_script)? {
            credentials.push((name.clone(), value.into_bytes()));
        }
    }
    let presented = (!credentials.is_empty()).then(|| {
        Box::new(Presented {
            authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
            is_plain: uri.scheme_str() != Some("https"),
            query: uri.query().map(ToOwned::to_owned),
            headers: credentials,
            shown: None,
        })
    });
    Ok(Request {
        line: [&request.method(), " ", uri.path()].concat(),
        arrived,
        client,
        presented,
        audited: false,
        body,
    })
}

fn to_http(response: Response) -> Result<web_sys::Response, JsValue> {
    let headers = Headers::new()?;
    if let Some(kind) = response.content_type {
        headers.set("content-type", kind.as_str())?;
    }
    if response.asks_for_signature {
        headers.set("accept-signature", signature::ACCEPT)?;
    }
    if let Some(challenge) = response.challenge {
        headers.set("www-authenticate", challenge)?;
    }
    let settings = ResponseInit::new();
    settings.set_status(response.status);
    settings.set_headers(&headers);
    // The platform takes a copy.
    let body = js_sys::Uint8Array::from(response.body.as_slice());
    web_sys::Response::new_with_opt_js_u8_array_and_init(Some(&body), &settings)
}

/// The answer while there is no service.
pub fn not_configured() -> Result<web_sys::Response, JsValue> {
    by_door(500, "the service is not configured: its log says why")
}

/// An answer that the service knows nothing of.
fn by_door(status: u16, message: &str) -> Result<web_sys::Response, JsValue> {
    let body = [r#"{"message":""#, message, r#""}"#].concat();
    to_http(Response {
        status,
        ..Response::text(ContentType::Json, body.into_bytes())
    })
}
