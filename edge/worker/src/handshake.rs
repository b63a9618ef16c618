//! What Cloudflare tells of the handshake of a request's connection.
//!
//! Whoever calls this Worker by a service binding tells it instead, and may tell what it likes: only who may bind
//! this Worker to another one can do that, and such a one could as well deploy another in its place.

use js_sys::Reflect;
use sealedge_core::auth::cloudflare::Told;
use wasm_bindgen::JsValue;

/// What is told of the client's certificate.
pub fn told(request: &web_sys::Request) -> Told {
    let tls = field(request, "cf").and_then(|cf| field(&cf, "tlsClientAuth"));
    let text = |name| {
        let value = tls.as_ref().and_then(|tls| field(tls, name));
        value.and_then(|it| it.as_string()).unwrap_or_default()
    };
    Told {
        presented: text("certPresented"),
        verified: text("certVerified"),
        revoked: text("certRevoked"),
        certificate: text("certRFC9440"),
        chain: text("certChainRFC9440"),
    }
}

/// A field, if there is one and the value can have some.
fn field(of: &JsValue, name: &str) -> Option<JsValue> {
    let value = Reflect::get(of, &JsValue::from_str(name)).ok()?;
    (!value.is_null_or_undefined()).then_some(value)
}
