//! A soak: servers under mixed load beside clients that mean no good, for as long as one likes, and
//! what they must look like afterwards.

mod nuisances;
mod report;
mod tally;
mod users;
mod vitals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

pub use report::{Progress, Report, ServerReport};
pub use tally::Tally;
pub use vitals::{Memory, Samples};

use crate::client::{Client, Credentials, config, recorded};
use crate::server::{Server, write_certificate};

/// How long an answer, the end of a connection, or the end of all of them may take. Longer than any limit
/// of the server: what takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may take to notice that nobody is there any more.
const FAREWELL: Duration = Duration::from_secs(20);

/// What a soak does.
pub struct Plan {
    /// The program whose servers are driven.
    pub program: PathBuf,
    /// For how long there is load.
    pub time: Duration,
    /// What the choices of all clients follow from.
    pub seed: u64,
    /// By how many per cent of its plateau the memory may have grown at the end.
    pub growth: f64,
    /// What the names of all keys begin with.
    pub prefix: String,
}

/// What all clients of a server share.
struct Target {
    address: String,
    credentials: Credentials,
    http1: ClientConfig,
    http2: ClientConfig,
    prefix: String,
    end: Instant,
    tally: Arc<Tally>,
}

impl Target {
    fn new(server: &Server, plan: &Plan, end: Instant, tally: Arc<Tally>) -> Self {
        let credentials = Credentials::of(&recorded("admin"));
        let speaking = |protocol: &[u8]| {
            let mut config = config(Some(&credentials), rustls::DEFAULT_VERSIONS);
            config.alpn_protocols = vec![protocol.to_vec()];
            config
        };
        Self {
            address: server.address.clone(),
            http1: speaking(b"http/1.1"),
            http2: speaking(b"h2"),
            credentials,
            prefix: plan.prefix.clone(),
            end,
            tally,
        }
    }

    /// Whether the load goes on.
    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// A key that is there all the time.
    fn lasting_key(&self) -> String {
        format!("{}lasting", self.prefix)
    }
}

/// A server, and what was seen of it.
struct Patient {
    store: &'static str,
    server: Server,
    /// How many files it had open at first; `None` if it is not for us to see.
    files: Option<usize>,
    samples: Samples,
}

/// Runs a soak. `progress` is called about once a second.
///
/// # Panics
/// If a server does not start.
pub async fn run(plan: &Plan, mut progress: impl FnMut(&Progress)) -> Report {
    let tally = Arc::new(Tally::default());
    let stores = [("fs", "fs: {path: '{folder}/keys'}"), ("mem", "mem: {}")];
    let mut patients = Vec::new();
    for (store, config) in stores {
        patients.push(Patient::admit(plan, store, config).await);
    }
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for (number, patient) in patients.iter().enumerate() {
        let end = begin + plan.time;
        let target = Arc::new(Target::new(&patient.server, plan, end, tally.clone()));
        let seed = plan.seed.wrapping_add(number as u64);
        users::begin(&mut clients, &target, seed);
        nuisances::begin(&mut clients, &target, seed);
    }
    if watch(&mut patients, plan, begin, &tally, &mut progress).await {
        let all_end = async { while clients.join_next().await.is_some() {} };
        if timeout(2 * PATIENCE, all_end).await.is_err() {
            tally.fault("clients still wait after the end");
        }
    }
    // Whoever is left is not to keep a connection open.
    clients.shutdown().await;
    let mut servers = Vec::new();
    for patient in patients {
        servers.push(patient.discharge(plan, &tally).await);
    }
    Report::new(plan, begin.elapsed(), servers, &tally)
}

/// Watches the servers while there is load; whether all of them live on.
async fn watch(
    patients: &mut [Patient],
    plan: &Plan,
    begin: Instant,
    tally: &Tally,
    progress: &mut impl FnMut(&Progress),
) -> bool {
    let interval = (plan.time / 600).clamp(Duration::from_millis(20), Duration::from_secs(5));
    let mut shown = begin;
    while begin.elapsed() < plan.time {
        sleep(interval).await;
        let mut memory = 0;
        for patient in &mut *patients {
            let Some(resident) = patient.resident() else {
                return false;
            };
            patient.samples.add(resident);
            memory += resident;
        }
        if shown.elapsed() >= Duration::from_secs(1) {
            shown = Instant::now();
            progress(&tally.progress(begin.elapsed(), memory as f64 / 1024.0));
        }
    }
    true
}

impl Patient {
    /// Starts a server with this key store, and counts its open files when it has served somebody.
    async fn admit(plan: &Plan, store: &'static str, config: &str) -> Self {
        let server = start(plan, config);
        for http2 in [false, true] {
            let credentials = Credentials::of(&recorded("admin"));
            let connected = if http2 {
                Client::connect_http2(&server.address, Some(&credentials)).await
            } else {
                Client::connect(&server.address, Some(&credentials)).await
            };
            let mut client = connected.unwrap();
            let answer = client.call("GET", "/v1/status", Value::Null).await;
            assert_eq!(answer.status, 200);
        }
        // The connections are closed; until the server has noticed its files are more, never fewer.
        let mut files = server.open_files();
        for _ in 0..50 {
            sleep(Duration::from_millis(20)).await;
            files = files.min(server.open_files());
        }
        Self {
            store,
            server,
            files,
            samples: Samples::default(),
        }
    }

    /// Its memory in KiB; `None` if it has ended.
    fn resident(&self) -> Option<u64> {
        self.server.try_figure("VmRSS")
    }

    /// Looks at a server that nobody uses any more, and stops it. What is wrong goes to the tally.
    async fn discharge(self, plan: &Plan, tally: &Tally) -> ServerReport {
        let store = self.store;
        let left = self.files_at_end().await;
        let mut idle = Samples::default();
        for _ in 0..20 {
            sleep(Duration::from_millis(100)).await;
            let Some(resident) = self.resident() else {
                break;
            };
            idle.add(resident);
        }
        let memory = self.samples.memory(&idle);
        if let Some(growth) = memory.growth_beyond(plan.growth) {
            tally.fault(&format!("memory of the server with {store}: {growth}"));
        }
        if left > self.files {
            let (before, after) = (self.files.unwrap_or(0), left.unwrap_or(0));
            let what = format!("the server with {store} had {before} files open, now {after}");
            tally.fault(&what);
        }
        let files = self.files.zip(left);
        self.look_inside(tally).await;
        self.stop(tally);
        ServerReport {
            store,
            memory,
            files,
        }
    }

    /// How many files it has open when it has had time to notice that nobody is there any more.
    async fn files_at_end(&self) -> Option<usize> {
        let begin = Instant::now();
        loop {
            let left = self.server.open_files();
            if left <= self.files || begin.elapsed() > FAREWELL {
                return left;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks the server itself: it still answers, and nothing but the question is under way.
    async fn look_inside(&self, tally: &Tally) {
        let credentials = Credentials::of(&recorded("admin"));
        let address = self.server.address.clone();
        let asked = tokio::spawn(async move {
            let mut client = Client::connect(&address, Some(&credentials)).await.unwrap();
            client.figure("kes_http_request_active").await
        });
        match timeout(PATIENCE, asked).await {
            Ok(Ok(active)) if active <= 1.0 => {}
            Ok(Ok(active)) => tally.fault(&format!("{active} requests are under way at the end")),
            _ => tally.fault("the server does not answer at the end"),
        }
    }

    fn stop(self, tally: &Tally) {
        if self.resident().is_some() {
            self.server.signal("TERM");
        }
        let store = self.store;
        let (code, _, errors) = self.server.wait();
        if code != Some(0) {
            let last = errors.lines().last().unwrap_or_default();
            tally.fault(&format!(
                "the server with {store} ended with {code:?}: {last}"
            ));
        }
        let bad = |line: &&str| line.contains("panicked") || line.contains("died");
        if let Some(line) = errors.lines().find(bad) {
            tally.fault(&format!("the server with {store} says: {line}"));
        }
    }
}

/// A server whose audit log is written, and kept by nobody.
fn start(plan: &Plan, store: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let config = format!(
        "admin: {{identity: {}}}\nlog: {{audit: on}}\nkeystore: {{{store}}}\nkeys: [{{name: {}lasting}}]\n",
        recorded("admin").identity(),
        plan.prefix
    );
    let plain = Server::command(&plan.program, folder.path(), "", &config);
    let mut command = std::process::Command::new("bash");
    command
        .args(["-c", r#"exec "$@" >/dev/null"#, "bash"])
        .arg(plain.get_program())
        .args(plain.get_args());
    Server::run(command, folder)
}
