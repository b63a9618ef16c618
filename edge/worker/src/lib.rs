//! The door to Cloudflare Workers: the key service as a Worker, its keys in Durable Objects.
//!
//! It decides nothing. `entry.mjs` is where the runtime comes in, and keeps an instance of this alive.

use wasm_bindgen::prelude::*;

#[cfg(target_family = "wasm")]
#[path = "../../component/src/allocator.rs"]
mod allocator;
mod binding;
mod configuration;
mod copies;
mod isolate;
mod objects;
mod outside;
mod platform;
mod request;
mod store;
mod stream;

/// Answers a request. Whatever happens, there is an answer.
#[wasm_bindgen]
pub async fn serve(request: web_sys::Request, env: JsValue) -> Result<web_sys::Response, JsValue> {
    match isolate::of(&env).await {
        Ok(isolate) => request::answer(&isolate, request).await,
        Err(faults) => {
            for fault in faults {
                outside::log_error(&fault);
            }
            request::not_configured()
        }
    }
}

/// Has a function called, with the reason, when this instance panics: it must not be entered again.
#[wasm_bindgen]
pub fn on_panic(call: js_sys::Function) {
    std::panic::set_hook(Box::new(move |panic| {
        let _ = call.call1(&JsValue::NULL, &panic.to_string().into());
    }));
}
