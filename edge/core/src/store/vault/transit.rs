//! Encryption by Vault of what is stored there: the transit engine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::wire::{self, Json};
use super::{Access, Transit};
use crate::outgoing::{Request, Response};
use crate::store::StoreError;

/// Whether a text is a ciphertext of transit, `vault:v<digits>:`, whichever version of the key made it.
pub fn is_ciphertext(text: &str) -> bool {
    text.strip_prefix("vault:v")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(version, _)| {
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Encrypts a value.
pub fn encrypt(access: &Access, transit: &Transit, token: &str, value: &[u8]) -> Request {
    let plaintext = Zeroizing::new(STANDARD.encode(value));
    let request = request(access, transit, token, "encrypt");
    wire::with_body(request, wire::object(&[("plaintext", &plaintext)]))
}

/// The ciphertext of an encrypted value.
pub fn parse_encrypt(response: &Response) -> Result<Zeroizing<String>, StoreError> {
    let text = field(response, "ciphertext")?;
    if !is_ciphertext(&text) {
        return Err(wire::odd(
            response,
            "`data.ciphertext` is none of transit's",
        ));
    }
    Ok(text)
}

/// Decrypts a ciphertext.
pub fn decrypt(access: &Access, transit: &Transit, token: &str, ciphertext: &str) -> Request {
    let request = request(access, transit, token, "decrypt");
    wire::with_body(request, wire::object(&[("ciphertext", ciphertext)]))
}

/// The value in a decrypted ciphertext.
pub fn parse_decrypt(response: &Response) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let text = field(response, "plaintext")?;
    STANDARD
        .decode(text.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| wire::odd(response, "`data.plaintext` is not base64"))
}

fn request(access: &Access, transit: &Transit, token: &str, action: &str) -> Request {
    let [engine, key] = [&transit.engine, &transit.key].map(|part| wire::encoded(part));
    wire::request(access, "POST", &format!("{engine}/{action}/{key}"), token)
}

fn field(response: &Response, name: &str) -> Result<Zeroizing<String>, StoreError> {
    if response.status != 200 {
        return Err(wire::refusal(response));
    }
    let json = Json::of(response)?;
    let text = json.text(response, &["data", name])?;
    Ok(Zeroizing::new(text.to_owned()))
}
