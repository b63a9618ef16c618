//! Keys: their life, and what is done with them.

use serde::{Deserialize, Serialize};

use super::body::{self, Bytes};
use super::{Call, json};
use crate::crypto::{NotAuthentic, NotSealed};
use crate::error::{Action, Error, Kind};
use crate::key::{Cipher, Key};
use crate::listing::{Listing, PAGE};
use crate::name::Name;
use crate::platform::Platform;
use crate::response::Response;
use crate::service::Service;
use crate::store::Store;

pub async fn create<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let name = name(call.argument)?;
    service.create_key(&name, call.creator()).await?;
    Ok(Response::empty())
}

#[derive(Deserialize)]
struct Import {
    #[serde(default, alias = "Key")]
    key: Bytes,
    #[serde(default, alias = "Cipher")]
    cipher: Option<String>,
}

pub async fn import<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let (name, caller) = (name(call.argument)?, call.creator());
    let request: Import = body::read(call).await.map_err(|_| Error::InvalidImport)?;
    let cipher: Cipher = request
        .cipher
        .unwrap_or_default()
        .parse()
        .map_err(Error::Unsupported)?;
    let now = service.platform.now().timestamp();
    let mut random = |buffer: &mut [u8]| service.platform.random(buffer);
    let key =
        Key::import(&request.key.0, cipher, &mut random, now, caller).map_err(Error::KeySize)?;
    service.store_key(&name, &key).await?;
    Ok(Response::empty())
}

#[derive(Serialize)]
struct Description<'a> {
    name: &'a str,
    algorithm: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<&'a str>,
}

pub async fn describe<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let (name, arrived) = (name(call.argument)?, call.arrived);
    let key = service.key(&name, arrived).await?;
    json(&Description {
        name: name.as_str(),
        algorithm: key.cipher().as_str(),
        created_at: key.created_at().to_string(),
        created_by: key.created_by(),
    })
}

#[derive(Serialize)]
struct Names {
    names: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    continue_at: String,
}

pub async fn list<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let listing = Listing::parse(call.argument)?;
    let names = service
        .platform
        .store()
        .list(&listing.prefix, listing.after.as_deref(), PAGE + 1)
        .await
        .map_err(|source| Error::Store {
            action: Action::List,
            source,
        })?;
    let page = listing.page(names);
    json(&Names {
        names: page.names,
        continue_at: page.continue_at,
    })
}

pub async fn delete<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let name = name(call.argument)?;
    service.delete_key(&name).await?;
    Ok(Response::empty())
}

#[derive(Default, Deserialize)]
struct Generate {
    #[serde(default, alias = "Context")]
    context: Bytes,
}

pub async fn generate<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let (name, arrived) = (name(call.argument)?, call.arrived);
    let request: Generate = body::read_optional(call).await?;
    let key = service.key(&name, arrived).await?;
    let mut random = |buffer: &mut [u8]| service.platform.random(buffer);
    let dek = key
        .generate(service.platform.crypto(), &mut random, &request.context.0)
        .map_err(too_long)?;
    Ok(Response::json(body::object(&[
        ("plaintext", dek.plaintext.expose()),
        ("ciphertext", &dek.ciphertext),
    ])))
}

#[derive(Deserialize)]
struct Encrypt {
    #[serde(default, alias = "Plaintext")]
    plaintext: Bytes,
    #[serde(default, alias = "Context")]
    context: Bytes,
}

pub async fn encrypt<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let (name, arrived) = (name(call.argument)?, call.arrived);
    let request: Encrypt = body::read(call).await?;
    let key = service.key(&name, arrived).await?;
    let mut random = |buffer: &mut [u8]| service.platform.random(buffer);
    let crypto = service.platform.crypto();
    let ciphertext = key
        .encrypt(
            crypto,
            &mut random,
            &request.plaintext.0,
            &request.context.0,
        )
        .map_err(too_long)?;
    Ok(Response::json(body::object(&[("ciphertext", &ciphertext)])))
}

#[derive(Deserialize)]
struct Decrypt {
    #[serde(default, alias = "Ciphertext")]
    ciphertext: Bytes,
    #[serde(default, alias = "Context")]
    context: Bytes,
}

pub async fn decrypt<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let (name, arrived) = (name(call.argument)?, call.arrived);
    let request: Decrypt = body::read(call).await?;
    let key = service.key(&name, arrived).await?;
    let plaintext = key
        .decrypt(
            service.platform.crypto(),
            &request.ciphertext.0,
            &request.context.0,
        )
        .map_err(|NotAuthentic| Error::NotAuthentic)?;
    Ok(Response::json(body::object(&[("plaintext", &plaintext)])))
}

#[derive(Deserialize)]
struct Hmac {
    #[serde(default, alias = "Message")]
    message: Bytes,
}

pub async fn hmac<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Response, Error> {
    let (name, arrived) = (name(call.argument)?, call.arrived);
    let request: Hmac = body::read(call).await?;
    let key = service.key(&name, arrived).await?;
    let sum = key
        .hmac(service.platform.crypto(), &request.message.0)
        .map_err(Error::NoHmac)?;
    Ok(Response::json(body::object(&[("hmac", &sum)])))
}

fn name(argument: &str) -> Result<Name, Error> {
    Name::new(argument).ok_or_else(|| Error::InvalidName(Kind::Key, argument.to_owned()))
}

/// A route's limit for bodies is far below a cipher's for plaintexts.
fn too_long(NotSealed: NotSealed) -> Error {
    Error::InvalidBody
}
