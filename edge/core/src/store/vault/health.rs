//! How the server is.

use serde_json::Value;

use super::Access;
use super::wire::{self, Json};
use crate::outgoing::{Request, Response};
use crate::store::StoreError;

/// Asks without a token, and in the root namespace: in another one there is no such path. With these
/// parameters the status tells an answer of Vault from one of something before it.
pub fn request(access: &Access) -> Request {
    wire::plain(
        access,
        "GET",
        "sys/health?uninitcode=299&sealedcode=299&standbycode=299&drsecondarycode=299\
         &performancestandbycode=299",
    )
}

/// Whether it serves keys. A standby does: it asks the active server.
pub fn parse(response: &Response) -> Result<(), StoreError> {
    if !matches!(response.status, 200 | 299) {
        return Err(wire::refusal(response));
    }
    let json = Json::of(response)?;
    let says = |name| match json.get(&[name]) {
        Some(Value::Bool(is)) => Ok(*is),
        _ => Err(wire::odd(
            response,
            &format!("`{name}` should be a boolean: is this a Vault?"),
        )),
    };
    if !says("initialized")? {
        Err(StoreError::Unreachable("Vault is not initialised".into()))
    } else if says("sealed")? {
        Err(StoreError::Unreachable("Vault is sealed".into()))
    } else {
        Ok(())
    }
}
