//! A key-value store in SQLite, as Spin has it: one connection, behind one lock.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::store::{Failure, Found};

const UPSERT: &str = "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3) \
                      ON CONFLICT (store, key) DO UPDATE SET value = ?3";

/// The store.
pub struct Sqlite {
    connection: Mutex<Connection>,
    /// Spin has panicked while it held the lock.
    is_poisoned: AtomicBool,
}

impl Sqlite {
    /// Opens a file, or makes it; in memory, if there is none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open(file: Option<&Path>) -> Result<Self, String> {
        let connection = match file {
            Some(file) => Connection::open(file),
            None => Connection::open_in_memory(),
        };
        let table = "CREATE TABLE IF NOT EXISTS spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, \
                     value BLOB NOT NULL, PRIMARY KEY (store, key))";
        let connection = connection.and_then(|it| it.execute(table, []).map(|_| it));
        Ok(Self {
            connection: Mutex::new(connection.map_err(|reason| reason.to_string())?),
            is_poisoned: AtomicBool::new(false),
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.is_poisoned.load(Ordering::Relaxed) {
            return Err(Failure::Trap("the store's lock is poisoned".into()));
        }
        work(&mut connection).map_err(|reason| Failure::Other(reason.to_string()))
    }

    pub(super) fn get(&self, label: &str, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.with(|connection| get(connection, label, key))
    }

    pub(super) fn set(&self, label: &str, key: &str, value: &[u8]) -> Result<(), Failure> {
        self.with(|connection| set(connection, label, key, value))
    }

    pub(super) fn keys(&self, label: &str) -> Result<Vec<String>, Failure> {
        self.with(|connection| {
            connection
                .prepare_cached("SELECT key FROM spin_key_value WHERE store = ?1")?
                .query_map([label], |row| row.get(0))?
                .collect()
        })
    }

    pub(super) fn get_many(&self, label: &str, keys: Vec<String>) -> Result<Found, Failure> {
        self.with(|connection| {
            let mut found = Vec::new();
            for key in keys {
                if let Some(value) = get(connection, label, &key)? {
                    found.push((key, Some(value)));
                }
            }
            Ok(found)
        })
    }

    pub(super) fn set_many(
        &self,
        label: &str,
        values: &[(String, Vec<u8>)],
    ) -> Result<(), Failure> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            for (key, value) in values {
                set(&transaction, label, key, value)?;
            }
            transaction.commit()
        })
    }

    pub(super) fn delete_many(&self, label: &str, keys: &[String]) -> Result<(), Failure> {
        self.with(|connection| {
            // At once, as Spin's one statement is.
            let transaction = connection.transaction()?;
            for key in keys {
                let delete = "DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2";
                transaction.prepare_cached(delete)?.execute([label, key])?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    pub(super) fn increment(&self, label: &str, key: &str, delta: i64) -> Result<i64, Failure> {
        let number = self.with(|connection| {
            let transaction = connection.transaction()?;
            let number = match get(&transaction, label, key)?.map(<[u8; 8]>::try_from) {
                None => 0,
                Some(Ok(number)) => i64::from_le_bytes(number),
                Some(Err(_)) => {
                    self.is_poisoned.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
            };
            let sum = number.wrapping_add(delta);
            set(&transaction, label, key, &sum.to_le_bytes())?;
            transaction.commit()?;
            Ok(Some(sum))
        })?;
        number.ok_or_else(|| Failure::Trap("the value to increment is not 8 bytes".into()))
    }

    /// Whether it is done. A key that was not there when it was read is written, whatever it is now.
    pub(super) fn swap(
        &self,
        label: &str,
        key: &str,
        seen: Option<&[u8]>,
        value: &[u8],
    ) -> Result<bool, Failure> {
        self.with(|connection| {
            let Some(seen) = seen else {
                return set(connection, label, key, value).map(|()| true);
            };
            let swap = "UPDATE spin_key_value SET value = ?4 \
                        WHERE store = ?1 AND key = ?2 AND value = ?3";
            let mut swap = connection.prepare_cached(swap)?;
            Ok(swap.execute(params![label, key, seen, value])? == 1)
        })
    }
}

fn get(connection: &Connection, label: &str, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2")?
        .query_row([label, key], |row| row.get(0))
        .optional()
}

fn set(connection: &Connection, label: &str, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(UPSERT)?;
    upsert.execute(params![label, key, value]).map(drop)
}
