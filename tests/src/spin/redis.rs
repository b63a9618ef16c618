//! A key-value store in Redis, as Spin has it; and a real Redis of a test's own.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::aio::ConnectionManager;
use redis::{AsyncCommands, Client, RedisError};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::store::{Failure, Found};
use crate::front;
use crate::openbao::free_address;

/// The store. All labels share it: Spin gives keys no prefix.
pub struct Redis {
    client: Client,
    connection: OnceCell<ConnectionManager>,
}

/// A connection of its own, for a compare-and-swap.
pub(super) struct Watch(ConnectionManager);

impl Redis {
    /// A store in the Redis at this address, which is connected to when it is used first.
    ///
    /// # Errors
    /// The address is none.
    pub fn new(address: &str) -> Result<Self, String> {
        let client = Client::open(format!("redis://{address}"));
        Ok(Self {
            client: client.map_err(|reason| reason.to_string())?,
            connection: OnceCell::new(),
        })
    }

    async fn connection(&self) -> Result<ConnectionManager, Failure> {
        let connect = || ConnectionManager::new(self.client.clone());
        let connection = self.connection.get_or_try_init(connect).await;
        connection.cloned().map_err(failure)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.connection().await?.get(key).await.map_err(failure)
    }

    pub(super) async fn set(&self, key: &str, value: &[u8]) -> Result<(), Failure> {
        self.connection()
            .await?
            .set(key, value)
            .await
            .map_err(failure)
    }

    pub(super) async fn exists(&self, key: &str) -> Result<bool, Failure> {
        self.connection().await?.exists(key).await.map_err(failure)
    }

    pub(super) async fn keys(&self) -> Result<Vec<String>, Failure> {
        self.connection().await?.keys("*").await.map_err(failure)
    }

    /// By `KEYS`, as Spin does it.
    pub(super) async fn get_many(&self, keys: Vec<String>) -> Result<Found, Failure> {
        let mut connection = self.connection().await?;
        let mut command = redis::cmd("KEYS");
        let found = command.arg(keys).query_async(&mut connection);
        found.await.map_err(failure)
    }

    pub(super) async fn set_many(&self, values: &[(String, Vec<u8>)]) -> Result<(), Failure> {
        self.connection().await?.mset(values).await.map_err(failure)
    }

    pub(super) async fn delete_many(&self, keys: &[String]) -> Result<(), Failure> {
        self.connection().await?.del(keys).await.map_err(failure)
    }

    pub(super) async fn increment(&self, key: &str, delta: i64) -> Result<i64, Failure> {
        self.connection()
            .await?
            .incr(key, delta)
            .await
            .map_err(failure)
    }

    pub(super) async fn watch(&self) -> Result<Watch, Failure> {
        let connection = ConnectionManager::new(self.client.clone()).await;
        connection.map(Watch).map_err(failure)
    }
}

impl Watch {
    pub async fn current(&self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        let mut connection = self.0.clone();
        let watch = redis::cmd("WATCH")
            .arg(key)
            .exec_async(&mut connection)
            .await;
        watch.map_err(failure)?;
        connection.get(key).await.map_err(failure)
    }

    /// Whether it is done. It never is, to Spin: that ends with an `UNWATCH` that has an argument, which no Redis
    /// takes. The value may be written nevertheless.
    pub async fn swap(mut self, key: &str, value: &[u8]) -> bool {
        let mut transaction = redis::pipe();
        let written: Result<(), RedisError> = transaction
            .atomic()
            .set(key, value)
            .query_async(&mut self.0)
            .await;
        let unwatched = redis::cmd("UNWATCH").arg(key).exec_async(&mut self.0).await;
        unwatched.is_ok() && written.is_ok()
    }
}

fn failure(reason: RedisError) -> Failure {
    Failure::Other(reason.to_string())
}

/// A running Redis, which keeps nothing. It is killed when this is dropped.
pub struct RedisServer {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    _folder: TempDir,
}

impl RedisServer {
    /// Starts one. `None` if there is none, which is said.
    ///
    /// # Panics
    /// If it does not start, and in CI if there is none.
    pub fn start() -> Option<Self> {
        let program = front::program("redis-server")?;
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let address = free_address();
            let (host, port) = address.split_once(':').unwrap();
            let log = File::create(folder.path().join("log")).unwrap();
            let child = Command::new(&program)
                .args([
                    "--bind",
                    host,
                    "--port",
                    port,
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .arg("--dir")
                .arg(folder.path())
                .stdin(Stdio::null())
                .stdout(log)
                .spawn()
                .unwrap();
            let mut server = Self {
                child,
                address,
                _folder: folder,
            };
            if server.listens() {
                return Some(server);
            }
            // Somebody else took the port, most likely.
        }
        panic!("redis-server does not start");
    }

    fn listens(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) && self.child.try_wait().unwrap().is_none()
        {
            if TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
