//! Durable Objects: what they keep, in SQLite, and how to reach them.
//!
//! Each method is called by RPC through the class of the same name in `entry.mjs`, and runs to its end without
//! waiting: so nothing else happens in the object meanwhile. What it throws, the database has thrown.

use std::fmt;

use js_sys::{Array, Error, Reflect};
use sealedge_core::name::Name;
use sealedge_core::time::Time;
use sha2::{Digest, Sha256};
use wasm_bindgen::prelude::*;
use worker_sys::{DurableObjectNamespace, SqlStorage};

pub mod copies;
pub mod figures;
pub mod keys;
pub mod nonces;

/// The rows that a statement gives. All of them are read, for only then is it carried out.
fn rows(
    sql: &SqlStorage,
    statement: &str,
    values: impl IntoIterator<Item = JsValue>,
) -> Result<Vec<Array>, JsValue> {
    let rows = sql.exec(statement, values.into_iter().collect())?.raw();
    rows.into_iter()
        .map(|row| row.map(|row| Array::from(&row)))
        .collect()
}

/// Over how many objects names are spread. With another number, what is kept under them would be looked for where it
/// is not.
pub const OBJECTS: u8 = 16;

/// Which of the objects has what belongs to this name.
pub fn place(name: &Name) -> u8 {
    let [first, ..] = <[u8; 32]>::from(Sha256::digest(name.as_str()));
    first % OBJECTS
}

/// Milliseconds since 1970, as JavaScript counts.
fn millis(time: Time) -> f64 {
    time.as_nanos() as f64 / 1e6
}

/// The object of this name, as `Stub` is called by RPC.
fn stub<Stub: JsCast>(objects: &DurableObjectNamespace, name: &str) -> Result<Stub, Trouble> {
    let stub = objects.get_by_name(name);
    stub.map(JsCast::unchecked_into).map_err(Trouble::from)
}

/// Why an object did not do what it was asked for.
#[derive(Debug)]
pub struct Trouble {
    /// Whether it is the object that says so, and not the way to it.
    pub is_its_own: bool,
    why: String,
}

impl Trouble {
    /// The object has answered what no method of it does.
    fn other() -> Self {
        Self {
            is_its_own: true,
            why: "it answers something else than was asked".to_owned(),
        }
    }
}

/// What a call has thrown.
impl From<JsValue> for Trouble {
    fn from(thrown: JsValue) -> Self {
        let message = thrown.dyn_ref::<Error>().map(|it| it.message().into());
        // The platform marks what comes from the object's own code.
        let is_its_own = Reflect::get(&thrown, &"remote".into()).is_ok_and(|it| it.is_truthy());
        Self {
            is_its_own,
            why: message.unwrap_or_else(|| "it can't be reached".to_owned()),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a Durable Object: {}", self.why)
    }
}
