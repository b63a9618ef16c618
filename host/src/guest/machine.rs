//! The machine and the process under the service: clock, figures, logs, counters.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::server::danger::ClientCertVerifier;
use sealedge_core::auth::nonces::{Lifetime, Nonce, Nonces, Replay};
use sealedge_core::identity::Identity;
use sealedge_core::metrics::Counters;
use sealedge_core::time::Time;

use super::errors::Errors;
use super::feed::{Feed, Reader};
use super::log::Log;
use super::types::{self, Topic};
use crate::server::tls;

/// How long the end of the process waits for whoever reads its output.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all instances share of the process.
pub struct Machine {
    started: u64,
    cpus: u32,
    usable_cpus: u32,
    audit: Log,
    errors: Arc<Errors>,
    logs_requests: AtomicBool,
    audit_feed: Arc<Feed>,
    error_feed: Arc<Feed>,
    counters: Arc<Mutex<Counters>>,
    /// The signed requests that were seen, for all instances.
    nonces: Mutex<Nonces>,
    /// Judges the certificates of clients who sign.
    clients: RwLock<Option<Arc<dyn ClientCertVerifier>>>,
}

impl Machine {
    /// The machine now: this is when the server has started.
    ///
    /// # Errors
    /// There is no thread for a log.
    pub fn new() -> std::io::Result<Self> {
        let usable = std::thread::available_parallelism().map_or(1, |count| count.get());
        let usable_cpus = u32::try_from(usable).unwrap_or(u32::MAX);
        let error_feed = Arc::new(Feed::new());
        let counters = Arc::<Mutex<Counters>>::default();
        let errors = Arc::new(Errors::new(error_feed.clone(), counters.clone())?);
        let complaints = errors.clone();
        let audit = Log::new("audit", std::io::stdout(), move |reason| {
            let what = "the audit log can't be written to standard output";
            complaints.say_error(&format!("{what}: {reason}"));
        })?;
        Ok(Self {
            started: wall_clock(),
            cpus: processors().unwrap_or(usable_cpus).max(usable_cpus),
            usable_cpus,
            audit,
            errors,
            logs_requests: AtomicBool::new(false),
            audit_feed: Arc::new(Feed::new()),
            error_feed,
            counters,
            nonces: Mutex::default(),
            clients: RwLock::default(),
        })
    }

    /// Nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        wall_clock()
    }

    /// Remembers a signed request as long as it lives.
    ///
    /// # Errors
    /// It was seen before or is too old by now, or there is no room for it.
    pub fn remember(
        &self,
        identity: &[u8; 32],
        nonce: &Nonce,
        lives: Lifetime,
    ) -> Result<(), Replay> {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        // Not before: who waits for the lock would have an older time than who is before it.
        let now = Time::from_nanos(self.now());
        nonces.remember(Identity::from_bytes(*identity), *nonce, lives, now)
    }

    /// Forgets the signed requests that are too old. To be called about once a second.
    pub fn tick(&self) {
        let now = Time::from_nanos(self.now());
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.tick(now);
    }

    /// Has the certificates of clients who sign judged as those of handshakes are.
    pub fn set_clients(&self, verifier: Arc<dyn ClientCertVerifier>) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        *clients = Some(verifier);
    }

    /// Whether a handshake with these certificates would be let in now.
    pub fn trusts(&self, certificates: &[Vec<u8>]) -> bool {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients
            .as_ref()
            .is_some_and(|clients| tls::admits(&**clients, certificates))
    }

    /// Takes an audit record, a line: for the audit log, if there is one, and for whoever reads it.
    pub fn audit(&self, record: Vec<u8>) {
        if self.audit_feed.is_read() {
            self.audit_feed.push(&record);
        }
        if self.logs_requests.load(Ordering::Relaxed) {
            self.audit.write(record);
        }
    }

    /// Whether somebody reads audit records as they come, so that there must be some.
    pub fn is_audit_read(&self) -> bool {
        self.audit_feed.is_read()
    }

    /// Waits while the reader of the audit log is too slow for more requests: no record is lost.
    pub async fn audit_room(&self) {
        self.audit.room().await;
    }

    /// Turns the logs on or off as the configuration has it. Before that only errors are logged.
    pub fn set_logs(&self, settings: &types::Settings) {
        self.logs_requests
            .store(settings.audit_log, Ordering::Relaxed);
        self.errors.turn(settings.error_log);
    }

    /// Takes an error of the service or the host: see [`Errors::error`].
    pub fn error(&self, message: &str) {
        self.errors.error(message);
    }

    /// Tells the operator of an error, and be the error log off: see [`Errors::say_error`].
    pub fn say_error(&self, message: &str) {
        self.errors.say_error(message);
    }

    /// Reads a log from now on, while it is written.
    pub fn read(&self, topic: Topic) -> Reader {
        match topic {
            Topic::Audit => self.audit_feed.read(),
            Topic::Error => self.error_feed.read(),
        }
    }

    /// Hands records to readers of the logs, without end.
    pub async fn feed_readers(&self) {
        tokio::join!(self.audit_feed.run(), self.error_feed.run());
    }

    /// Tells the operator something, on standard error.
    pub fn say(&self, message: &str) {
        self.errors.say(message);
    }

    /// Counts what no instance can: what is refused before it, or lost with it.
    pub fn count<T>(&self, what: impl FnOnce(&Counters) -> T) -> T {
        what(&self.counters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until both logs are written, but not without end. What comes later is lost.
    pub fn flush(&self) {
        let lost = self.audit.end(PATIENCE);
        if lost > 0 {
            self.say_error(&format!(
                "the last {lost} records of the audit log are lost: nobody reads standard output"
            ));
        }
        self.errors.end(PATIENCE);
    }

    /// The figures of the process now.
    pub fn system(&self) -> types::Machine {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        types::Machine {
            commit: env!("SEALEDGE_COMMIT").to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: match std::env::consts::ARCH {
                "x86_64" => "amd64".to_owned(),
                "aarch64" => "arm64".to_owned(),
                other => other.to_owned(),
            },
            started: self.started,
            cpus: self.cpus,
            usable_cpus: self.usable_cpus,
            threads: u32::try_from(figure(&status, "Threads:")).unwrap_or(u32::MAX),
            heap: figure(&status, "RssAnon:") * 1024,
            stack: figure(&status, "VmStk:") * 1024,
        }
    }
}

/// Nanoseconds since the Unix epoch.
pub fn wall_clock() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// A number in Linux's `/proc/self/status`; 0 where there is none.
fn figure(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// The machine's logical processors.
fn processors() -> Option<u32> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let count = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    u32::try_from(count).ok()
}
