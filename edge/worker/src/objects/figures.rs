//! What all isolates have counted.

use js_sys::{BigUint64Array, Uint8Array};
use sealedge_core::metrics;
use wasm_bindgen::prelude::*;
use worker_sys::{DurableObjectNamespace, DurableObjectState, SqlStorage};

use super::{Trouble, rows, stub};

/// What the object is bound to.
pub const BINDING: &str = "FIGURES";

/// There is one for all.
const NAME: &str = "all";

/// What the numbers stand for differs from build to build, so each has sums of its own, as numbers of eight bytes.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS figures (build TEXT PRIMARY KEY, at REAL NOT NULL, \
                     sums BLOB NOT NULL) WITHOUT ROWID, STRICT";

/// How long the sums of a build are kept that adds nothing any more, in milliseconds.
const KEPT: f64 = 86_400_000.0;

/// A Durable Object with the figures of all isolates.
#[wasm_bindgen]
pub struct Figures {
    sql: SqlStorage,
}

#[wasm_bindgen]
impl Figures {
    /// The object with this state.
    #[wasm_bindgen(constructor)]
    pub fn new(state: &DurableObjectState) -> Result<Self, JsValue> {
        let sql = state.storage()?.sql();
        rows(&sql, TABLE, [])?;
        Ok(Self { sql })
    }

    /// Adds what an isolate of a build has counted; gives the sums, with the gauges of that isolate.
    pub fn add(&self, build: &str, figures: Vec<u64>) -> Result<Vec<u64>, JsValue> {
        let now = js_sys::Date::now();
        let past = [(now - KEPT).into()];
        rows(&self.sql, "DELETE FROM figures WHERE at < ?", past)?;
        let found = "SELECT sums FROM figures WHERE build = ?";
        let found = rows(&self.sql, found, [build.into()])?;
        let mut sums = found
            .first()
            .map_or_else(Vec::new, |row| Uint8Array::new(&row.get(0)).to_vec())
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .collect();
        metrics::accumulate(&mut sums, &figures);
        let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
        let values = [
            build.into(),
            now.into(),
            Uint8Array::from(bytes.as_slice()).into(),
        ];
        rows(
            &self.sql,
            "INSERT OR REPLACE INTO figures VALUES (?, ?, ?)",
            values,
        )?;
        Ok(sums)
    }
}

#[wasm_bindgen]
extern "C" {
    type Stub;

    #[wasm_bindgen(method, catch)]
    async fn add(this: &Stub, build: &str, figures: BigUint64Array) -> Result<JsValue, JsValue>;
}

/// The object, as others reach it.
pub struct Sums(DurableObjectNamespace);

impl Sums {
    /// That of these objects.
    pub const fn new(objects: DurableObjectNamespace) -> Self {
        Self(objects)
    }

    /// See [`Figures::add`].
    ///
    /// # Errors
    /// It can't be reached, or its database fails.
    pub async fn add(&self, build: &str, figures: &[u64]) -> Result<Vec<u64>, Trouble> {
        let stub: Stub = stub(&self.0, NAME)?;
        let sums = stub.add(build, BigUint64Array::from(figures)).await?;
        let sums: BigUint64Array = sums.dyn_into().map_err(|_| Trouble::other())?;
        Ok(sums.to_vec())
    }
}
