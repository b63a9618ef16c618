//! Signatures, verified by WebCrypto.

use js_sys::{Array, Object, Reflect, Uint8Array};
use sealedge_core::auth::public_key::PublicKey;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::CryptoKey;

use crate::outside::global;

/// Whether a signature is that of the message by this key. One that can't be verified is none.
pub async fn verifies(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let verified = verified(key, message, signature).await;
    verified.is_ok_and(|it| it == JsValue::TRUE)
}

async fn verified(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<JsValue, JsValue> {
    let crypto = global().crypto()?.subtle();
    // The names of Web Cryptography Level 2, 24 and 23.
    let (bytes, import, verify) = match key {
        PublicKey::Ed25519(key) => {
            let algorithm = object(&[("name", "Ed25519")])?;
            (key.as_slice(), algorithm.clone(), algorithm)
        }
        PublicKey::P256(key) => (
            key.as_slice(),
            object(&[("name", "ECDSA"), ("namedCurve", "P-256")])?,
            object(&[("name", "ECDSA"), ("hash", "SHA-256")])?,
        ),
    };
    let usages = Array::of1(&"verify".into());
    let bytes = Uint8Array::from(bytes);
    let key = crypto.import_key_with_object("raw", &bytes, &import, false, &usages)?;
    let key: CryptoKey = JsFuture::from(key).await?.dyn_into()?;
    // Copies, which nobody changes while the platform reads them.
    let (signature, message) = (Uint8Array::from(signature), Uint8Array::from(message));
    let verified = crypto
        .verify_with_object_and_js_u8_array_and_js_u8_array(&verify, &key, &signature, &message)?;
    JsFuture::from(verified).await
}

fn object(fields: &[(&str, &str)]) -> Result<Object, JsValue> {
    let object = Object::new();
    for (name, value) in fields {
        Reflect::set(&object, &(*name).into(), &(*value).into())?;
    }
    Ok(object)
}
