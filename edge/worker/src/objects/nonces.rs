//! The nonces of one identity.

use std::cell::Cell;
use std::time::Duration;

use js_sys::Uint8Array;
use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::identity::Identity;
use wasm_bindgen::prelude::*;
use worker_sys::{DurableObjectNamespace, DurableObjectState, SqlStorage};

use super::{Trouble, millis, rows, stub};
use crate::binding;

/// What the objects are bound to.
const BINDING: &str = "NONCES";

/// There is no index by time: it would double what each request writes. The whole table is read instead
/// when it is pruned.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS nonces (nonce BLOB PRIMARY KEY, created REAL NOT NULL, until REAL NOT NULL) \
     WITHOUT ROWID, STRICT",
    // When the youngest request was made that is forgotten: what is not younger may be that one, if the clock was set
    // back or the window made longer.
    "CREATE TABLE IF NOT EXISTS forgotten (id INTEGER PRIMARY KEY CHECK (id = 0), created REAL NOT NULL) STRICT",
];

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
    forgotten: Cell<f64>,
}

#[wasm_bindgen]
impl Nonces {
    /// The object with this state.
    #[wasm_bindgen(constructor)]
    pub fn new(state: &DurableObjectState) -> Result<Self, JsValue> {
        let sql = state.storage()?.sql();
        for statement in TABLES {
            rows(&sql, statement, [])?;
        }
        let forgotten = rows(&sql, "SELECT created FROM forgotten", [])?;
        let forgotten = forgotten.first().and_then(|row| row.get(0).as_f64());
        Ok(Self {
            sql,
            pruned: Cell::new(0.0),
            forgotten: Cell::new(forgotten.unwrap_or(f64::MIN)),
        })
    }

    /// Takes the nonce of a request that was made at a time, until another one, in milliseconds since 1970: one of
    /// [`FRESH`], [`SEEN`] and [`LATE`].
    pub fn remember(&self, nonce: JsValue, created: f64, until: f64) -> Result<f64, JsValue> {
        let now = js_sys::Date::now();
        if now - self.pruned.get() > PRUNING {
            self.prune(now)?;
        }
        // By the clock by which others are forgotten: it may have waited for its body.
        if until < now || created <= self.forgotten.get() {
            return Ok(LATE);
        }
        let statement = "INSERT INTO nonces VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1";
        let taken = rows(&self.sql, statement, [nonce, created.into(), until.into()])?;
        Ok(if taken.is_empty() { SEEN } else { FRESH })
    }

    /// Forgets what is too old, and remembers what the youngest of that was.
    fn prune(&self, now: f64) -> Result<(), JsValue> {
        let statement = "SELECT max(created) FROM nonces WHERE until < ?";
        let old = rows(&self.sql, statement, [now.into()])?;
        if let Some(youngest) = old.first().and_then(|row| row.get(0).as_f64()) {
            let youngest = youngest.max(self.forgotten.get());
            let statement = "INSERT OR REPLACE INTO forgotten VALUES (0, ?)";
            rows(&self.sql, statement, [youngest.into()])?;
            self.forgotten.set(youngest);
            rows(
                &self.sql,
                "DELETE FROM nonces WHERE until < ?",
                [now.into()],
            )?;
        }
        self.pruned.set(now);
        Ok(())
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
    async fn remember(
        this: &Stub,
        nonce: Uint8Array,
        created: f64,
        until: f64,
    ) -> Result<JsValue, JsValue>;
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

    /// Takes a nonce of an identity until the end of its last second, unless it is known or too old.
    ///
    /// # Errors
    /// That is not to be found out.
    pub async fn remember(
        &self,
        identity: Identity,
        nonce: Nonce,
        lives: Lifetime,
    ) -> Result<Result<(), Replay>, Trouble> {
        let stub: Stub = stub(&self.0, &identity.to_string())?;
        let until = millis(lives.until.after(Duration::from_secs(1)));
        let created = millis(lives.created);
        let nonce = nonce.as_slice().into();
        let taken = stub.remember(nonce, created, until).await?;
        match taken.as_f64() {
            Some(FRESH) => Ok(Ok(())),
            Some(SEEN) => Ok(Err(Replay::Seen)),
            Some(LATE) => Ok(Err(Replay::Late)),
            _ => Err(Trouble::other()),
        }
    }
}
