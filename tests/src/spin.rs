//! What Fermyon Spin is to a component: `spin up` of a manifest in this process, over wasmtime, since no package registry
//! has a `spin`.
//!
//! Its bad parts are there too, as they were measured on Spin 4.0.2 and as its sources have them: an instance of its own
//! for each request; headers of clients that look like Spin's own; stores whose compare-and-swap does not compare, or
//! always fails; one that is broken for good by an `increment` of what is no number; an instance that ends once its
//! answer is sent. What a manifest and a component may contain beyond what sealedge has in its own is refused.
//!
//! ```no_run
//! use sealedge_tests::spin::{Backend, Setup, Store};
//! let app = Setup::new("spin.toml")
//!     .variable("config", "version: v1")
//!     .store(Backend::Memory)
//!     .start()
//!     .unwrap();
//! println!("http://{}", app.address);
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::oneshot;
use wasmtime::component::Linker;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

mod build;
mod front;
pub mod hosts;
mod interfaces;
pub mod manifest;
mod outgoing;
mod output;
mod real;
mod redis;
mod request;
mod sqlite;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use self::output::Lines;
pub use self::real::{Spin, program};
pub use self::redis::{Redis, RedisServer};
pub use self::request::{Counts, Spent, Times};
pub use self::sqlite::Sqlite;
pub use self::state::Atomics;
pub use self::store::{
    Cas, Failure, Fault, Found, Gate, KeyValue, Operation, Spot, Store, Swap, Waiting,
};

/// Of how many requests the costs are kept.
const KEPT: usize = 100_000;

/// Where an app's values are.
#[derive(Clone, Debug, Default)]
pub enum Backend {
    /// SQLite, in memory.
    #[default]
    Memory,
    /// A file of SQLite.
    File(PathBuf),
    /// The Redis at this address.
    Redis(String),
}

/// An app that is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    manifest: PathBuf,
    env: Option<PathBuf>,
    variables: BTreeMap<String, String>,
    backend: Backend,
    atomics: Atomics,
    is_https: bool,
    authorities: Vec<CertificateDer<'static>>,
}

/// A running app. It ends when this is dropped.
pub struct App {
    /// `127.0.0.1:PORT`, where it takes HTTP/1.1.
    pub address: String,
    inside: Arc<Inside>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the requests of an app share.
struct Inside {
    manifest: manifest::Resolved,
    instance: ProxyPre<state::State>,
    key_value: KeyValue,
    atomics: Atomics,
    sender: outgoing::Sender,
    is_https: bool,
    client: Mutex<Option<SocketAddr>>,
    requests: AtomicU64,
    times: Mutex<VecDeque<Times>>,
    output: Lines,
    errors: Lines,
    troubles: Lines,
}

impl Setup {
    /// An app by its manifest. Its `.env` is read only if it is named by [`Setup::env`], so that a developer's own does
    /// not get into tests.
    pub fn new(manifest: impl Into<PathBuf>) -> Self {
        Self {
            manifest: manifest.into(),
            env: None,
            variables: BTreeMap::new(),
            backend: Backend::default(),
            atomics: Atomics::default(),
            is_https: false,
            authorities: Vec::new(),
        }
    }

    /// A file of variables, which Spin reads beside the manifest.
    #[must_use]
    pub fn env(mut self, file: impl Into<PathBuf>) -> Self {
        self.env = Some(file.into());
        self
    }

    /// A variable of the application, whatever `.env` says.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Where its values are.
    #[must_use]
    pub fn store(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// What becomes of `wasi:keyvalue/atomics`.
    #[must_use]
    pub fn atomics(mut self, atomics: Atomics) -> Self {
        self.atomics = atomics;
        self
    }

    /// Has it say that clients come by TLS. They still come without.
    #[must_use]
    pub fn https(mut self) -> Self {
        self.is_https = true;
        self
    }

    /// An authority whose certificates it believes of servers that it sends requests to. There are no others.
    #[must_use]
    pub fn authority(mut self, certificate: CertificateDer<'static>) -> Self {
        self.authorities.push(certificate);
        self
    }

    /// Builds the component as the manifest says, once in a process, and runs it.
    ///
    /// # Errors
    /// What Spin would say at its start: a variable that is missing, a manifest that is none, a component that does not
    /// build or imports what is not there.
    pub fn start(self) -> Result<App, String> {
        let manifest = self.resolve()?;
        let component = build::component(&manifest)?;
        let mut linker = Linker::new(component.engine());
        let instance = state::link(&mut linker, self.atomics)
            .and_then(|()| linker.instantiate_pre(&component))
            .and_then(ProxyPre::new)
            .map_err(|reason| format!("{reason:?}"))?;
        let store = match &self.backend {
            Backend::Memory => Store::Sqlite(Sqlite::open(None)?),
            Backend::File(file) => Store::Sqlite(Sqlite::open(Some(file))?),
            Backend::Redis(address) => Store::Redis(Redis::new(address)?),
        };
        App::run(Inside {
            key_value: KeyValue::new(store, manifest.stores.clone()),
            manifest,
            instance,
            atomics: self.atomics,
            sender: outgoing::sender(&self.authorities)?,
            is_https: self.is_https,
            client: Mutex::default(),
            requests: AtomicU64::new(0),
            times: Mutex::default(),
            output: Lines::default(),
            errors: Lines::default(),
            troubles: Lines::default(),
        })
    }

    /// The manifest under these variables.
    ///
    /// # Errors
    /// It is none, or a variable is missing.
    pub fn resolve(&self) -> Result<manifest::Resolved, String> {
        manifest::Resolved::read(&self.manifest, self.env.as_deref(), &self.variables)
    }
}

impl App {
    fn run(inside: Inside) -> Result<Self, String> {
        let problem = |reason: std::io::Error| reason.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").map_err(problem)?;
        listener.set_nonblocking(true).map_err(problem)?;
        let address = listener.local_addr().map_err(problem)?.to_string();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(problem)?;
        let inside = Arc::new(inside);
        let serving = inside.clone();
        let (stop, stopped) = oneshot::channel();
        // A thread of its own ends the runtime: a test may be asynchronous itself, where that can't be waited for.
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener);
                tokio::select! {
                    () = front::serve(serving, listener.unwrap()) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(5));
        });
        Ok(Self {
            address,
            inside,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What the component writes to standard output.
    pub fn output(&self) -> &Lines {
        &self.inside.output
    }

    /// What it writes to standard error.
    pub fn errors(&self) -> &Lines {
        &self.inside.errors
    }

    /// What Spin itself has to say: why a request got a 500, or might not be sent.
    pub fn troubles(&self) -> &Lines {
        &self.inside.troubles
    }

    /// Its key-value stores: counts, faults, and what waits.
    pub fn key_value(&self) -> &KeyValue {
        &self.inside.key_value
    }

    /// From where its clients are said to come, from now on; `None`: from where they come.
    ///
    /// # Panics
    /// If another test has panicked.
    pub fn client(&self, address: Option<SocketAddr>) {
        *self.inside.client.lock().unwrap() = address;
    }

    /// What the last requests have cost, in the order in which they ended. A request may be here a moment after its
    /// answer.
    ///
    /// # Panics
    /// If another test has panicked.
    pub fn times(&self) -> Vec<Times> {
        self.inside.times.lock().unwrap().iter().cloned().collect()
    }

    /// What a request has cost, once it is over: by its number, from 1 on.
    ///
    /// # Panics
    /// If it is not over within half a minute.
    pub fn times_of(&self, number: u64) -> Times {
        for _ in 0..30_000 {
            let times = self.inside.times.lock().unwrap();
            if let Some(found) = times.iter().rev().find(|it| it.number == number) {
                return found.clone();
            }
            drop(times);
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("request {number} is not over");
    }

    /// What the last request has cost that was taken on.
    ///
    /// # Panics
    /// As [`App::times_of`].
    pub fn last(&self) -> Times {
        let number = &self.inside.requests;
        self.times_of(number.load(std::sync::atomic::Ordering::Relaxed))
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Inside {
    fn record(&self, times: Times) {
        let mut kept = self.times.lock().unwrap();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(times);
    }
}

/// The repository's manifest.
pub fn manifest_of_sealedge() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../spin.toml")
}
