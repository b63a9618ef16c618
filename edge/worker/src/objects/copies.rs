//! A part of the sealed copies of keys that come from a key store elsewhere.

use js_sys::Uint8Array;
use sealedge_core::copies::{Burial, Found, Ticket};
use sealedge_core::time::Time;
use std::cell::Cell;
use wasm_bindgen::prelude::*;
use worker_sys::{DurableObjectNamespace, DurableObjectState, SqlStorage};

use super::{Trouble, millis, rows, stub};

/// Times are in milliseconds since 1970. The number counts burials and their ends, and is never set back: what it was
/// is a reader's ticket, and what it became is a burial's own number.
const TABLES: [&str; 6] = [
    "CREATE TABLE IF NOT EXISTS copies (name TEXT PRIMARY KEY, copy BLOB NOT NULL, read REAL NOT NULL, \
     until REAL NOT NULL) WITHOUT ROWID, STRICT",
    "CREATE TABLE IF NOT EXISTS burials (number INTEGER PRIMARY KEY, name TEXT NOT NULL, until REAL NOT NULL) STRICT",
    // There may be many, if a store is away for long, and each read asks for those of its name.
    "CREATE INDEX IF NOT EXISTS burials_by_name ON burials (name)",
    "CREATE INDEX IF NOT EXISTS burials_by_end ON burials (until)",
    "CREATE TABLE IF NOT EXISTS count (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL) STRICT",
    "INSERT INTO count VALUES (0, 0) ON CONFLICT DO NOTHING",
];

/// How often copies that are too old are dropped, in milliseconds.
const PRUNING: f64 = 60_000.0;

/// A Durable Object with some of the copies, by their names. What it promises is in the core (`copies`).
#[wasm_bindgen]
pub struct Copies {
    sql: SqlStorage,
    pruned: Cell<f64>,
}

#[wasm_bindgen]
impl Copies {
    /// The object with this state.
    #[wasm_bindgen(constructor)]
    pub fn new(state: &DurableObjectState) -> Result<Self, JsValue> {
        let sql = state.storage()?.sql();
        for statement in TABLES {
            rows(&sql, statement, [])?;
        }
        Ok(Self {
            sql,
            pruned: Cell::new(0.0),
        })
    }

    /// The ticket, and the copy of this name or `null`.
    pub fn read(&self, name: JsValue) -> Result<js_sys::Array, JsValue> {
        self.end_burials()?;
        let statement = "SELECT number, (SELECT copy FROM copies WHERE name = ?1 \
                         AND NOT EXISTS (SELECT 1 FROM burials WHERE name = ?1)) FROM count";
        let found = rows(&self.sql, statement, [name])?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// Keeps a copy, unless the ticket is old, the name is buried, or a copy was read later.
    pub fn keep(
        &self,
        name: JsValue,
        copy: JsValue,
        ticket: f64,
        read: f64,
        until: f64,
    ) -> Result<(), JsValue> {
        self.end_burials()?;
        self.prune()?;
        let statement = "INSERT INTO copies SELECT ?1, ?2, ?3, ?4 \
                         WHERE ?5 = (SELECT number FROM count) \
                         AND NOT EXISTS (SELECT 1 FROM burials WHERE name = ?1) \
                         ON CONFLICT (name) DO UPDATE \
                         SET copy = excluded.copy, read = excluded.read, until = excluded.until \
                         WHERE excluded.read >= copies.read";
        let values = [name, copy, read.into(), until.into(), ticket.into()];
        rows(&self.sql, statement, values).map(drop)
    }

    /// Buries a name until a time: the number of the burial. What comes first keeps copies away, should the rest
    /// not be done.
    pub fn bury(&self, name: JsValue, until: f64) -> Result<JsValue, JsValue> {
        self.count()?;
        let statement = "INSERT INTO burials SELECT number, ?, ? FROM count RETURNING number";
        let buried = rows(&self.sql, statement, [name.clone(), until.into()])?;
        rows(&self.sql, "DELETE FROM copies WHERE name = ?", [name])?;
        Ok(buried.first().map_or(JsValue::UNDEFINED, |row| row.get(0)))
    }

    /// Ends the burial of this number, and drops the copy of its name.
    pub fn dig_up(&self, name: JsValue, burial: f64) -> Result<(), JsValue> {
        self.count()?;
        rows(&self.sql, "DELETE FROM copies WHERE name = ?", [name])?;
        let statement = "DELETE FROM burials WHERE number = ?";
        rows(&self.sql, statement, [burial.into()]).map(drop)
    }

    /// Ends burials whose time is over. Who has a ticket from before may have read what was deleted since.
    fn end_burials(&self) -> Result<(), JsValue> {
        let now = JsValue::from(js_sys::Date::now());
        let statement = "SELECT 1 FROM burials WHERE until < ? LIMIT 1";
        if rows(&self.sql, statement, [now.clone()])?.is_empty() {
            return Ok(());
        }
        self.count()?;
        rows(&self.sql, "DELETE FROM burials WHERE until < ?", [now]).map(drop)
    }

    fn count(&self) -> Result<(), JsValue> {
        rows(&self.sql, "UPDATE count SET number = number + 1", []).map(drop)
    }

    fn prune(&self) -> Result<(), JsValue> {
        let now = js_sys::Date::now();
        if now - self.pruned.get() > PRUNING {
            let statement = "DELETE FROM copies WHERE until < ?";
            rows(&self.sql, statement, [now.into()])?;
            self.pruned.set(now);
        }
        Ok(())
    }
}

#[wasm_bindgen]
extern "C" {
    type Stub;

    #[wasm_bindgen(method, catch)]
    async fn read(this: &Stub, name: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn keep(
        this: &Stub,
        name: &str,
        copy: Uint8Array,
        ticket: f64,
        read: f64,
        until: f64,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn bury(this: &Stub, name: &str, until: f64) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = digUp)]
    async fn dig_up(this: &Stub, name: &str, burial: f64) -> Result<JsValue, JsValue>;
}

/// An object with some of the copies, as others reach it.
pub struct Part(Stub);

impl Part {
    /// The object of this name, for one request.
    ///
    /// # Errors
    /// It can't be reached, or its database fails, as everywhere here.
    pub fn of(objects: &DurableObjectNamespace, name: &str) -> Result<Self, Trouble> {
        stub(objects, name).map(Self)
    }

    /// See [`Copies::read`].
    pub async fn read(&self, name: &str) -> Result<Found, Trouble> {
        let found = js_sys::Array::from(&self.0.read(name).await?);
        let copy = found.get(1);
        Ok(Found {
            copy: copy.is_object().then(|| Uint8Array::new(&copy).to_vec()),
            used: None,
            ticket: Ticket(number(&found.get(0))?),
        })
    }

    /// See [`Copies::keep`].
    pub async fn keep(
        &self,
        name: &str,
        copy: &[u8],
        Ticket(ticket): Ticket,
        read: Time,
        until: Time,
    ) -> Result<(), Trouble> {
        // Copied: a view would hand out all of the memory.
        let copy = Uint8Array::from(copy);
        self.0
            .keep(name, copy, ticket as f64, millis(read), millis(until))
            .await?;
        Ok(())
    }

    /// See [`Copies::bury`].
    pub async fn bury(&self, name: &str, until: Time) -> Result<Burial, Trouble> {
        let buried = self.0.bury(name, millis(until)).await?;
        number(&buried).map(Burial)
    }

    /// See [`Copies::dig_up`].
    pub async fn dig_up(&self, name: &str, Burial(burial): Burial) -> Result<(), Trouble> {
        self.0.dig_up(name, burial as f64).await?;
        Ok(())
    }
}

fn number(value: &JsValue) -> Result<u64, Trouble> {
    let number = value.as_f64().ok_or_else(Trouble::other)?;
    Ok(number as u64)
}
