//! A part of the keys.

use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use worker_sys::{DurableObjectNamespace, DurableObjectState, SqlStorage};
use zeroize::Zeroizing;

use super::{Trouble, rows, stub};

/// Names compare byte by byte (SQLite's `BINARY`, the default), and lie in this order in the table.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS keys (name TEXT PRIMARY KEY, value BLOB NOT NULL) \
                     WITHOUT ROWID, STRICT";

/// Comes after every name with a prefix, if it follows that: the last character there is.
const LAST: char = char::MAX;

/// A Durable Object with some of the keys, by their names.
#[wasm_bindgen]
pub struct Keys {
    sql: SqlStorage,
}

#[wasm_bindgen]
impl Keys {
    /// The object with this state.
    #[wasm_bindgen(constructor)]
    pub fn new(state: &DurableObjectState) -> Result<Self, JsValue> {
        let sql = state.storage()?.sql();
        rows(&sql, TABLE, [])?;
        Ok(Self { sql })
    }

    /// Stores a value under a name that is free; whether it was.
    pub fn create(&self, name: JsValue, value: JsValue) -> Result<bool, JsValue> {
        let statement = "INSERT INTO keys VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1";
        Ok(!rows(&self.sql, statement, [name, value])?.is_empty())
    }

    /// The value under a name, or `undefined`.
    pub fn read(&self, name: JsValue) -> Result<JsValue, JsValue> {
        let found = rows(&self.sql, "SELECT value FROM keys WHERE name = ?", [name])?;
        Ok(found.first().map_or(JsValue::UNDEFINED, |row| row.get(0)))
    }

    /// Puts a value in the place of `old`; whether that was there.
    pub fn replace(&self, name: JsValue, old: JsValue, value: JsValue) -> Result<bool, JsValue> {
        let statement = "UPDATE keys SET value = ? WHERE name = ? AND value = ? RETURNING 1";
        Ok(!rows(&self.sql, statement, [value, name, old])?.is_empty())
    }

    /// Removes what is under a name; whether anything was.
    pub fn remove(&self, name: JsValue) -> Result<bool, JsValue> {
        let statement = "DELETE FROM keys WHERE name = ? RETURNING 1";
        Ok(!rows(&self.sql, statement, [name])?.is_empty())
    }

    /// At most `limit` of the names that begin with `prefix` and come after `after`, in byte order.
    pub fn list(&self, prefix: &str, after: JsValue, limit: u32) -> Result<Vec<JsValue>, JsValue> {
        let statement =
            "SELECT name FROM keys WHERE name >= ? AND name < ? AND name > ? ORDER BY name LIMIT ?";
        let end = format!("{prefix}{LAST}");
        let values = [prefix.into(), end.into(), after, limit.into()];
        let found = rows(&self.sql, statement, values)?;
        Ok(found.iter().map(|row| row.get(0)).collect())
    }

    /// Asks the database for nothing.
    pub fn status(&self) -> Result<(), JsValue> {
        rows(&self.sql, "SELECT 1", []).map(drop)
    }
}

#[wasm_bindgen]
extern "C" {
    type Stub;

    #[wasm_bindgen(method, catch)]
    async fn create(this: &Stub, name: &str, value: Uint8Array) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn read(this: &Stub, name: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn replace(
        this: &Stub,
        name: &str,
        old: Uint8Array,
        value: Uint8Array,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn remove(this: &Stub, name: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn list(this: &Stub, prefix: &str, after: &str, most: u32) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn status(this: &Stub) -> Result<JsValue, JsValue>;
}

/// An object with some of the keys, as others reach it.
pub struct Part(Stub);

impl Part {
    /// The object of this name. It is not kept: it belongs to the request that asks for it.
    ///
    /// # Errors
    /// It can't be reached, or its database fails, as everywhere here.
    pub fn of(objects: &DurableObjectNamespace, name: &str) -> Result<Self, Trouble> {
        stub(objects, name).map(Self)
    }

    /// See [`Keys::create`].
    pub async fn create(&self, name: &str, value: &[u8]) -> Result<bool, Trouble> {
        // Copied: a view would hand out all of the memory.
        let created = self.0.create(name, Uint8Array::from(value)).await?;
        created.as_bool().ok_or_else(Trouble::other)
    }

    /// See [`Keys::read`].
    pub async fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Trouble> {
        let value = self.0.read(name).await?;
        if value.is_undefined() {
            return Ok(None);
        }
        Ok(Some(Zeroizing::new(Uint8Array::new(&value).to_vec())))
    }

    /// See [`Keys::replace`].
    pub async fn replace(&self, name: &str, old: &[u8], value: &[u8]) -> Result<bool, Trouble> {
        let (old, value) = (Uint8Array::from(old), Uint8Array::from(value));
        let replaced = self.0.replace(name, old, value).await?;
        replaced.as_bool().ok_or_else(Trouble::other)
    }

    /// See [`Keys::remove`].
    pub async fn remove(&self, name: &str) -> Result<bool, Trouble> {
        let removed = self.0.remove(name).await?;
        removed.as_bool().ok_or_else(Trouble::other)
    }

    /// See [`Keys::list`].
    pub async fn list(&self, prefix: &str, after: &str, most: u32) -> Result<Vec<String>, Trouble> {
        let names = self.0.list(prefix, after, most).await?;
        let names = js_sys::Array::from(&names);
        let names: Option<_> = names.iter().map(|name| name.as_string()).collect();
        names.ok_or_else(Trouble::other)
    }

    /// See [`Keys::status`].
    pub async fn status(&self) -> Result<(), Trouble> {
        self.0.status().await?;
        Ok(())
    }
}
