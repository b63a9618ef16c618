//! Sealed copies of the keys of a key store elsewhere, in Durable Objects.

use sealedge_core::copies::{self, Burial, Found, Ticket};
use sealedge_core::name::Name;
use sealedge_core::time::Time;
use wasm_bindgen::JsValue;
use worker_sys::DurableObjectNamespace;

use crate::binding;
use crate::objects::copies::Part;
use crate::objects::{Trouble, place};

/// What the objects are bound to.
const BINDING: &str = "COPIES";

/// The objects, over which the copies are spread as keys are.
pub struct Copies(DurableObjectNamespace);

impl Copies {
    /// Those that are bound to the Worker.
    ///
    /// # Errors
    /// None are.
    pub fn new(env: &JsValue) -> Result<Self, String> {
        binding::objects(env, BINDING).map(Self)
    }

    fn of(&self, name: &Name) -> Result<Part, String> {
        Part::of(&self.0, &format!("copies-{}", place(name))).map_err(said)
    }
}

impl copies::Copies for Copies {
    async fn read(&self, name: &Name) -> Result<Found, String> {
        self.of(name)?.read(name.as_str()).await.map_err(said)
    }

    async fn keep(
        &self,
        name: &Name,
        copy: &[u8],
        ticket: Ticket,
        read: Time,
        until: Time,
    ) -> Result<(), String> {
        let part = self.of(name)?;
        part.keep(name.as_str(), copy, ticket, read, until)
            .await
            .map_err(said)
    }

    async fn bury(&self, name: &Name, until: Time) -> Result<Burial, String> {
        let part = self.of(name)?;
        part.bury(name.as_str(), until).await.map_err(said)
    }

    async fn dig_up(&self, name: &Name, burial: Burial) -> Result<(), String> {
        let part = self.of(name)?;
        part.dig_up(name.as_str(), burial).await.map_err(said)
    }
}

fn said(trouble: Trouble) -> String {
    trouble.to_string()
}
