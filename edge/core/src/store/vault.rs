//! HashiCorp Vault and OpenBao: the secrets engine KV, version 1 or 2, and transit before it.
//!
//! What KES has stored there is read, and what is stored here KES can read: the text is in a field that
//! is named like the key.
//!
//! What the two versions of the engine can promise differs:
//!
//! - **v2** has check-and-set, so of racing creates and of racing replaces exactly one succeeds. Its
//!   version numbers begin anew after a delete: what that means for a replace is in `replace.rs`.
//! - **v1** has nothing like it. A create and a replace look first and write then: of two that race both
//!   may succeed, and the later write counts.
//!
//! Before the first of it the engine is asked which version it has ([`mount`]).
//!
//! Deleting looks first as well, for Vault says nothing if nothing was there.

use std::cell::Cell;

use zeroize::Zeroizing;

use super::remote::{Answer, Errand, Purpose, Repeat};
use super::{Rewrite, Store, StoreError, Version, Versioned};
use crate::name::Name;
use crate::outgoing::Request;
use crate::platform::World;

use client::Client;
use kv::{Slot, Stored, Write};

mod client;
mod health;
mod history;
mod kv;
mod login;
mod mount;
mod replace;
mod settings;
mod transit;
mod unwrap;
mod wire;

#[cfg(test)]
mod tests;

pub use settings::{Access, Credentials, EngineVersion, Jwt, Login, Settings, Transit};
pub use transit::is_ciphertext;
pub use unwrap::decrypt;

/// A Vault as a key store.
pub struct Vault<W> {
    settings: Settings,
    client: Client<W>,
    /// Whether the engine was seen to be the configured one.
    is_seen: Cell<bool>,
}

impl<W: World> Vault<W> {
    /// The store that these settings describe. It is not asked for anything yet.
    pub fn new(settings: Settings, world: W) -> Self {
        let client = Client::new(&settings.access, world);
        Self {
            settings,
            client,
            is_seen: Cell::new(false),
        }
    }

    async fn ask(
        &self,
        errand: &Errand,
        repeat: Repeat,
        build: impl Fn(&Settings, &str) -> Request,
    ) -> Result<Answer, StoreError> {
        let access = &self.settings.access;
        if !self.is_seen.get() {
            let build = |token: &str| mount::request(&self.settings, token);
            let answer = self.client.ask_once(access, errand, build).await?;
            let is_seen = answer.read(|response| mount::parse(&self.settings, response))?;
            self.is_seen.set(is_seen);
        }
        let build = |token: &str| build(&self.settings, token);
        self.client.ask(access, errand, repeat, build).await
    }

    async fn find(&self, errand: &Errand, name: &Name) -> Result<Slot, StoreError> {
        let build = |settings: &Settings, token: &str| kv::read(settings, token, name);
        let answer = self.ask(errand, Repeat::Safe, build).await?;
        answer.read(|response| kv::parse_read(&self.settings, name, response))
    }

    async fn find_text(&self, errand: &Errand, name: &Name) -> Result<Stored, StoreError> {
        match self.find(errand, name).await? {
            Slot::Text(stored) => Ok(stored),
            Slot::Deleted(_) => Err(StoreError::NotFound),
        }
    }

    /// Writes a text in the place of the latest version's; [`StoreError::Changed`] if that has another
    /// number by now and the engine counts.
    async fn put(&self, errand: &Errand, name: &Name, write: &Write<'_>) -> Result<(), StoreError> {
        let repeat = match self.settings.version {
            EngineVersion::V1 => Repeat::Never,
            EngineVersion::V2 => Repeat::Safe,
        };
        let build = |settings: &Settings, token: &str| kv::write(settings, token, name, write);
        let answer = self.ask(errand, repeat, build).await?;
        let written = answer.read(|response| kv::parse_write(&self.settings, response));
        if written == Err(StoreError::Changed) && answer.is_repeated {
            // An earlier try may have written it, though no answer came.
            return match self.find(errand, name).await {
                Ok(Slot::Text(stored)) if *stored.text == *write.text => Ok(()),
                Ok(_) | Err(StoreError::NotFound) => written,
                Err(error) => Err(error),
            };
        }
        written
    }

    /// What is stored for a value.
    async fn conceal(
        &self,
        errand: &Errand,
        value: &[u8],
    ) -> Result<Zeroizing<String>, StoreError> {
        let Some(transit) = &self.settings.transit else {
            return match std::str::from_utf8(value) {
                Ok(text) => Ok(Zeroizing::new(text.to_owned())),
                Err(_) => Err(StoreError::Failed("Vault takes only text".into())),
            };
        };
        let build = |settings: &Settings, token: &str| {
            transit::encrypt(&settings.access, transit, token, value)
        };
        let answer = self.ask(errand, Repeat::Safe, build).await?;
        answer.read(transit::parse_encrypt)
    }

    /// The value behind what is stored.
    async fn reveal(
        &self,
        errand: &Errand,
        name: &Name,
        text: &str,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        if !transit::is_ciphertext(text) {
            return Ok(Zeroizing::new(text.as_bytes().to_vec()));
        }
        let Some(transit) = &self.settings.transit else {
            return Err(StoreError::Failed(format!(
                "'{name}' is encrypted by transit, and `keystore.vault.transit` is not set"
            )));
        };
        let build = |settings: &Settings, token: &str| {
            transit::decrypt(&settings.access, transit, token, text)
        };
        let answer = self.ask(errand, Repeat::Safe, build).await?;
        answer.read(transit::parse_decrypt)
    }

    /// Whether a delete whose answer was lost is done: if it is not, what was there is there still, and is
    /// all that a repetition may delete.
    async fn is_deleted(
        &self,
        errand: &Errand,
        name: &Name,
        before: &Slot,
        lost: StoreError,
    ) -> Result<bool, StoreError> {
        let there = match self.find(errand, name).await {
            Err(StoreError::NotFound) => return Ok(true),
            there => there?,
        };
        match (before.version(), there.version()) {
            (before, there) if before == there => Ok(false),
            // A key that took the name begins with 1: this one may as well be the same with a new value.
            (before, there) if kv::number(there) > kv::number(before) => Err(lost),
            _ => Ok(true),
        }
    }
}

impl<W: World> Store for Vault<W> {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        let create = async |errand: &Errand| {
            // Where a policy lets the service create and not update, writing to a name that is taken is
            // forbidden: only a look tells what is the matter.
            match self.find(errand, name).await {
                Ok(_) => return Err(StoreError::Exists),
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(error),
            }
            let text = self.conceal(errand, value).await?;
            let write = Write {
                text: &text,
                latest: 0,
                of: None,
            };
            match self.put(errand, name, &write).await {
                Err(StoreError::Changed) => Err(StoreError::Exists),
                done => done,
            }
        };
        self.client.courier.run(Purpose::Keys, create).await
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.read(name).await.map(|versioned| versioned.value)
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let delete = async |errand: &Errand| {
            let before = self.find(errand, name).await?;
            let mut tries = 1;
            loop {
                let build = |settings: &Settings, token: &str| kv::delete(settings, token, name);
                // Repeated blindly it might delete a key that took the name meanwhile.
                let lost = match self.ask(errand, Repeat::Never, build).await {
                    Ok(answer) => return answer.read(wire::done),
                    Err(StoreError::Unreachable(why)) => StoreError::Unreachable(why),
                    Err(error) => return Err(error),
                };
                if !self.client.courier.may_try_again(errand, tries).await {
                    return Err(lost);
                }
                if self.is_deleted(errand, name, &before, lost).await? {
                    return Ok(());
                }
                tries += 1;
            }
        };
        self.client.courier.run(Purpose::Keys, delete).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let list = async |errand: &Errand| {
            let answer = self.ask(errand, Repeat::Safe, kv::list).await?;
            let mut names = answer.read(kv::parse_list)?;
            names.retain(|name| {
                let name = name.as_str();
                name.starts_with(prefix) && after.is_none_or(|after| name > after)
            });
            names.sort_unstable();
            names.dedup();
            names.truncate(limit);
            Ok(names.iter().map(Name::to_string).collect())
        };
        self.client.courier.run(Purpose::Keys, list).await
    }

    async fn status(&self) -> Result<(), StoreError> {
        let status = async |errand: &Errand| {
            let build = || health::request(&self.settings.access);
            let answer = self
                .client
                .courier
                .send(errand, Repeat::Safe, build)
                .await?;
            answer.read(health::parse)?;
            self.client.enter(&self.settings.access, errand).await
        };
        self.client.courier.run(Purpose::Status, status).await
    }

    /// Needs no more rights than a create and a read do.
    async fn check(&self) -> Result<(), StoreError> {
        let check = async |errand: &Errand| {
            let answer = self.ask(errand, Repeat::Safe, kv::list).await?;
            answer.read(kv::parse_list)?;
            let Some(transit) = &self.settings.transit else {
                return Ok(());
            };
            let access = &self.settings.access;
            let text = self.conceal(errand, b"").await?;
            let build = |_: &Settings, token: &str| transit::decrypt(access, transit, token, &text);
            let answer = self.ask(errand, Repeat::Safe, build).await?;
            answer.read(transit::parse_decrypt).map(drop)
        };
        self.client.courier.run(Purpose::Keys, check).await
    }

    fn logs_outages(&self) -> bool {
        true
    }
}

impl<W: World> Rewrite for Vault<W> {
    async fn read(&self, name: &Name) -> Result<Versioned, StoreError> {
        let read = async |errand: &Errand| {
            let stored = self.find_text(errand, name).await?;
            Ok(Versioned {
                value: self.reveal(errand, name, &stored.text).await?,
                version: stored.version,
            })
        };
        self.client.courier.run(Purpose::Keys, read).await
    }

    async fn replace(
        &self,
        name: &Name,
        value: &[u8],
        version: &Version,
    ) -> Result<(), StoreError> {
        let replace = async |errand: &Errand| {
            let text = self.conceal(errand, value).await?;
            if self.settings.version == EngineVersion::V2 {
                return self.supersede(errand, name, &text, version).await;
            }
            if self.find_text(errand, name).await?.version != *version {
                return Err(StoreError::Changed);
            }
            let write = Write {
                text: &text,
                latest: 0,
                of: None,
            };
            self.put(errand, name, &write).await
        };
        self.client.courier.run(Purpose::Keys, replace).await
    }

    async fn tidy(&self, name: &Name, version: &Version) -> Result<(), StoreError> {
        if kv::number(version) <= 1 {
            return Ok(());
        }
        let tidy = async |errand: &Errand| self.leave_alone(errand, name, version).await;
        self.client.courier.run(Purpose::Keys, tidy).await
    }
}
