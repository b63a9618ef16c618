//! Logging in by AppRole or Kubernetes, and renewing the token.

use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroizing;

use super::wire::{self, Json};
use super::{Access, Credentials};
use crate::outgoing::{Request, Response};
use crate::store::StoreError;
use crate::store::remote::Grant;

/// The login. `jwt` is the service account's token, where one is shown.
pub fn request(access: &Access, jwt: &str) -> Request {
    let login = &access.login;
    let path = format!("auth/{}/login", wire::encoded(&login.engine));
    let request = wire::plain(access, "PUT", &path);
    let body = match &login.credentials {
        Credentials::AppRole { id, secret } => {
            wire::object(&[("role_id", id.expose()), ("secret_id", secret.expose())])
        }
        Credentials::Kubernetes { role, .. } => wire::object(&[("role", role), ("jwt", jwt)]),
    };
    wire::with_body(wire::within(request, login.namespace.as_deref()), body)
}

/// The renewal of a token, in the namespace that it is from.
pub fn renewal(access: &Access, token: &str) -> Request {
    let request = wire::plain(access, "PUT", "auth/token/renew-self");
    let request = wire::within(request, access.login.namespace.as_deref());
    let body = Zeroizing::new(br#"{"increment":0}"#.to_vec());
    wire::with_body(wire::with_token(request, token), body)
}

/// The longest lease that counts, in seconds: a year.
const LONGEST_LEASE: u64 = 365 * 24 * 60 * 60;

/// The token that a login gives.
pub fn parse_login(response: &Response) -> Result<Grant, StoreError> {
    if !matches!(response.status, 400..404) {
        return parse(response);
    }
    let why = wire::explain(response);
    Err(StoreError::Failed(format!(
        "{why}; check what the service logs in with, and the method's path (`engine`)"
    )))
}

/// The token that a login or a renewal gives.
pub fn parse(response: &Response) -> Result<Grant, StoreError> {
    if response.status != 200 {
        return Err(wire::refusal(response));
    }
    let json = Json::of(response)?;
    let token = json.text(response, &["auth", "client_token"])?;
    // It has to go into a header field.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wire::odd(response, "`auth.client_token` is no token"));
    }
    let lease = json
        .get(&["auth", "lease_duration"])
        .and_then(Value::as_u64)
        .ok_or_else(|| wire::odd(response, "`auth.lease_duration` is no number of seconds"))?;
    let renewable = json.get(&["auth", "renewable"]);
    Ok(Grant {
        secret: Zeroizing::new(token.to_owned()),
        lease: (lease > 0).then(|| Duration::from_secs(lease.min(LONGEST_LEASE))),
        is_renewable: renewable == Some(&Value::Bool(true)),
    })
}
