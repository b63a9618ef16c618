//! The door to Cloudflare Workers: the key service as a Worker, its keys in Durable Objects.
//!
//! It decides nothing. `entry.mjs` is where the runtime comes in, and keeps an instance of this alive.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use outside::time;
use request::Asked;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

#[cfg(target_family = "wasm")]
#[path = "../../component/src/allocator.rs"]
mod allocator;
mod binding;
mod configuration;
mod copies;
mod figures;
mod isolate;
mod objects;
mod outside;
mod platform;
mod request;
mod store;
mod stream;
mod verification;

/// Answers a request: gives the answer, or a promise of it. Whatever happens, there is one.
///
/// Method, URL and the client's address are the request's; it arrived at a time in milliseconds since 1970. The body is
/// as `smallBody` in `http.mjs` gives it.
#[wasm_bindgen]
pub fn serve(
    request: web_sys::Request,
    method: String,
    url: String,
    ip: String,
    arrived: f64,
    body: JsValue,
    env: JsValue,
) -> Result<JsValue, JsValue> {
    let asked = Asked {
        request,
        method,
        url,
        ip,
        arrived: time(arrived),
        body,
    };
    let mut answer = Box::pin(async move {
        match isolate::of(&env) {
            Ok(isolate) => request::answer(&isolate, asked).await,
            Err(faults) => {
                for fault in faults {
                    outside::log_error(&fault);
                }
                request::not_configured()
            }
        }
    });
    // Most answers are there at once, and need no promise.
    match answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => Ok(answer.into()),
        Poll::Pending => Ok(future_to_promise(async { Ok(answer.await.into()) }).into()),
    }
}

/// Whether, now that a request is answered, there is something to [`attend`] to.
#[wasm_bindgen]
pub fn is_to_attend() -> bool {
    isolate::there().is_some_and(|isolate| isolate.is_to_attend())
}

/// What no client waits for.
#[wasm_bindgen]
pub async fn attend() {
    if let Some(isolate) = isolate::there() {
        isolate.attend().await;
    }
}

/// Has the configuration which the Worker was built with, if there is one, from now on.
#[wasm_bindgen]
pub fn bundled(configuration: Option<String>) {
    configuration::bundle(configuration);
}

/// Has a function called, with the reason, when this instance panics: it must not be entered again.
#[wasm_bindgen]
pub fn on_panic(call: js_sys::Function) {
    std::panic::set_hook(Box::new(move |panic| {
        let _ = call.call1(&JsValue::NULL, &panic.to_string().into());
    }));
}
