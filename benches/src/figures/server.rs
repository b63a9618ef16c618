//! A server under measurement, and what the system knows of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sealedge_core::api_key::ApiKey;
use sealedge_tests::client::recorded;
use sealedge_tests::server::{self, write_certificate};

/// The key that is asked for.
pub const KEY: &str = "bench-key";

/// A running server. It is killed when this is dropped.
pub struct Server {
    /// How the table calls it.
    pub name: &'static str,
    process: server::Server,
}

impl Server {
    /// Starts a program, on core 0 if it is to be pinned.
    pub fn start(name: &'static str, program: &Path, pinned: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let command = command(program, pinned, folder.path(), 0);
        let process = server::Server::run(command, folder);
        Self { name, process }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.process.address
    }

    /// The CPU time that its threads have used.
    pub fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanos = tasks.filter_map(|task| {
            // A thread may end meanwhile; those that serve don't.
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Its memory in RAM, in MiB.
    pub fn resident(&self) -> f64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes: f64 = line
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap()
            .parse()
            .unwrap();
        kibibytes / 1024.0
    }
}

/// What starts a program on a port, its files being in `folder`. On core 0 if it is to be pinned.
pub fn command(program: &Path, pinned: bool, folder: &Path, port: u16) -> Command {
    write_certificate(folder);
    let here = folder.display();
    let config = format!(
        "version: v1
address: 127.0.0.1:{port}
tls: {{key: {here}/server.key, cert: {here}/server.cert}}
admin: {{identity: disabled}}
policy:
  bench:
    allow:
    - /v1/key/generate/bench*
    - /v1/key/encrypt/bench*
    - /v1/key/decrypt/bench*
    - /v1/status
    deny: [/v1/key/generate/bench-internal*]
    identities: [{}]
log: {{error: on, audit: off}}
keys: [{{name: {KEY}}}]
keystore: {{fs: {{path: {here}/keys}}}}
",
        client().identity(),
    );
    let file = folder.join("config.yml");
    fs::write(&file, config).unwrap();
    let mut command = if pinned {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.arg("server").arg("--config").arg(&file);
    command
}

/// Who asks.
pub fn client() -> ApiKey {
    recorded("app")
}

/// Keeps a process on one core; whether it can be done here.
pub fn pin(process: u32, core: usize) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    let pinned = Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string(), &process.to_string()])
        .stdout(Stdio::null())
        .status();
    cores > core && pinned.is_ok_and(|status| status.success())
}
