//! The least that a Worker in Rust can do: what it answers is always the same.

use wasm_bindgen::prelude::*;

/// Answers a request.
#[wasm_bindgen]
pub async fn serve(_request: web_sys::Request) -> Result<web_sys::Response, JsValue> {
    web_sys::Response::new_with_opt_str(Some("constant"))
}
