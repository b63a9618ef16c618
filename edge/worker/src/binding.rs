//! What `wrangler.toml` and the secrets bind to the Worker.

use js_sys::Reflect;
use wasm_bindgen::prelude::*;
use worker_sys::DurableObjectNamespace;

/// The variable or secret of this name, if there is one and it is text.
pub fn text(env: &JsValue, name: &str) -> Option<String> {
    bound(env, name)?.as_string()
}

/// The Durable Objects that are bound to this name.
///
/// # Errors
/// There are none.
pub fn objects(env: &JsValue, name: &str) -> Result<DurableObjectNamespace, String> {
    // No class of that name is in scope that it could be compared with.
    let objects = bound(env, name).filter(JsValue::is_object);
    objects.map(JsCast::unchecked_into).ok_or_else(|| {
        format!("no Durable Objects are bound to `{name}`: take that binding from the project's wrangler.toml")
    })
}

fn bound(env: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(env, &JsValue::from_str(name)).ok()
}
