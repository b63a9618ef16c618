//! The nonces of one identity.

use std::cell::Cell;
use std::time::Duration;

use js_sys::Uint8Array;
use sealedge_core::auth::nonces::{Nonce, Replay};
use sealedge_core::identity::Identity;
use sealedge_core::time::Time;
use wasm_bindgen::prelude::*;
use worker_sys::{DurableObjectNamespace, DurableObjectState, SqlStorage};

use super::{Trouble, millis, rows, stub};
use crate::binding;

/// What the objects are bound to.
const BINDING: &str = "NONCES";

/// There is no index by time: it would double what each request writes. The whole table is read instead
/// when it is pruned.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS nonces (nonce BLOB PRIMARY KEY, until REAL NOT NULL) \
                     WITHOUT ROWID, STRICT";

/// How often what is too old is forgotten, in milliseconds.
const PRUNING: f64 = 60_000.0;

/// A Durable Object with the nonces of one identity.
///
/// They are in its database, and not in its memory, which it loses whenever the platform moves it: so none is
/// taken twice. How many there are is bounded by what one object does within the window, some hundreds a second.
#[wasm_bindgen]
pub struct Nonces {
    sql: SqlStorage,
    pruned: Cell<f64>,
}

#[wasm_bindgen]
impl Nonces {
    /// The object with this state.
    #[wasm_bindgen(constructor)]
    pub fn new(state: &DurableObjectState) -> Result<Self, JsValue> {
        let sql = state.storage()?.sql();
        rows(&sql, TABLE, [])?;
        Ok(Self {
            sql,
            pruned: Cell::new(0.0),
        })
    }

    /// Takes a nonce until a time, in milliseconds since 1970: one of [`FRESH`], [`SEEN`] and [`LATE`].
    pub fn remember(&self, nonce: JsValue, until: f64) -> Result<f64, JsValue> {
        let now = js_sys::Date::now();
        // By the clock by which others are forgotten: it may have waited for its body.
        if until < now {
            return Ok(LATE);
        }
        if now - self.pruned.get() > PRUNING {
            rows(
                &self.sql,
                "DELETE FROM nonces WHERE until < ?",
                [now.into()],
            )?;
            self.pruned.set(now);
        }
        let statement = "INSERT INTO nonces VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1";
        let taken = rows(&self.sql, statement, [nonce, until.into()])?;
        Ok(if taken.is_empty() { SEEN } else { FRESH })
    }
}

/// What became of a nonce.
const FRESH: f64 = 0.0;
const SEEN: f64 = 1.0;
const LATE: f64 = 2.0;

#[wasm_bindgen]
extern "C" {
    type Stub;

    #[wasm_bindgen(method, catch)]
    async fn remember(this: &Stub, nonce: Uint8Array, until: f64) -> Result<JsValue, JsValue>;
}

/// The objects of all identities, as others reach them.
pub struct Seen(DurableObjectNamespace);

impl Seen {
    /// Those that are bound to the Worker.
    ///
    /// # Errors
    /// None are.
    pub fn new(env: &JsValue) -> Result<Self, String> {
        binding::objects(env, BINDING).map(Self)
    }

    /// Takes a nonce of an identity until the end of a second, unless it is known or too old.
    ///
    /// # Errors
    /// That is not to be found out.
    pub async fn remember(
        &self,
        identity: Identity,
        nonce: Nonce,
        until: Time,
    ) -> Result<Result<(), Replay>, Trouble> {
        let stub: Stub = stub(&self.0, &identity.to_string())?;
        let until = millis(until.after(Duration::from_secs(1)));
        let taken = stub.remember(nonce.as_slice().into(), until).await?;
        match taken.as_f64() {
            Some(FRESH) => Ok(Ok(())),
            Some(SEEN) => Ok(Err(Replay::Seen)),
            Some(LATE) => Ok(Err(Replay::Late)),
            _ => Err(Trouble::other()),
        }
    }
}
