//! The servers under measurement, and what the system knows of them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sealedge_benches::Scene;
use sealedge_tests::server::write_certificate;
use tempfile::TempDir;

use crate::client::{self, Client};

/// The key that is asked for.
pub const KEY: &str = "bench-0";

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server's program.
#[derive(Clone)]
pub struct Program {
    /// How tables call it.
    pub name: &'static str,
    path: PathBuf,
}

impl Program {
    /// The service as a component.
    pub const SEALEDGE: &str = "sealedge";
    /// The same service, linked natively into the same host.
    pub const NATIVE: &str = "native";
    /// The least that a server can do.
    pub const BARE: &str = "bare";
    /// KES.
    pub const KES: &str = "KES";

    /// The programs that there are, sealedge first.
    pub fn all() -> Vec<Self> {
        let kes = find("kes");
        let built = [
            (Self::SEALEDGE, env!("CARGO_BIN_EXE_sealedge-as-component")),
            (Self::NATIVE, env!("CARGO_BIN_EXE_sealedge-as-native")),
            (Self::BARE, env!("CARGO_BIN_EXE_bare")),
        ];
        let built = built.map(|(name, path)| (name, PathBuf::from(path)));
        let kes = kes.map(|path| (Self::KES, path));
        let all = built.into_iter().chain(kes);
        all.map(|(name, path)| Self { name, path }).collect()
    }

    /// Whether it is a key encryption service, not only something like it.
    pub fn is_whole(&self) -> bool {
        self.name != Self::BARE
    }

    /// What it says of its version; nothing if it says nothing.
    pub fn version(&self) -> String {
        let output = Command::new(&self.path).arg("--version").output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// What starts it on a port, its files being in `folder`.
    fn command(&self, pinned: bool, folder: &Path, port: u16, client: &Client) -> Command {
        let mut command = if pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(&self.path);
            command
        } else {
            Command::new(&self.path)
        };
        if self.is_whole() {
            command.args(["server", "--config"]);
            command.arg(folder.join("config.yml"));
        } else {
            command.arg(format!("127.0.0.1:{port}"));
            command.args(["server.key", "server.cert"].map(|file| folder.join(file)));
            command.arg(client.certificate_file());
        }
        command
    }
}

/// A program on the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A running server. It is killed when this is dropped.
pub struct Server {
    /// How tables call it.
    pub name: &'static str,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// From the start of its process to the first DEK.
    pub start: Duration,
    process: Child,
}

/// The files of a server, for as often as it is started.
pub struct Files {
    folder: TempDir,
    scene: Scene,
}

impl Files {
    /// The certificate and an empty key store, of a server that has this to find its way in.
    pub fn new(scene: Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        fs::create_dir(folder.path().join("keys")).unwrap();
        Self { folder, scene }
    }

    /// The configuration, which KES reads as well.
    fn configuration(&self, port: u16) -> String {
        let here = self.folder.path().display();
        let policies = self.scene.policy_section(&client::identity());
        let keys: String = (0..self.scene.keys)
            .map(|key| format!("- {{name: bench-{key}}}\n"))
            .collect();
        // On a disk, 100,000 keys would take minutes.
        let store = if self.scene.keys == 1 {
            format!("{{fs: {{path: {here}/keys}}}}")
        } else {
            "{mem: {}}".to_owned()
        };
        format!(
            "version: v1
address: 127.0.0.1:{port}
tls: {{key: {here}/server.key, cert: {here}/server.cert, auth: off}}
admin: {{identity: disabled}}
cache: {{expiry: {{any: 1h, unused: 1h}}}}
log: {{error: on, audit: off}}
keystore: {store}
{policies}keys:
{keys}"
        )
    }
}

impl Server {
    /// Starts a program, on core 0 if it is to be pinned, and has it give a DEK.
    pub async fn start(program: &Program, files: &Files, client: &Client, pinned: bool) -> Self {
        // Whoever else takes the port meanwhile makes the server fail, and this with it.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let folder = files.folder.path();
        let configuration = files.configuration(address.port());
        fs::write(folder.join("config.yml"), configuration).unwrap();
        let said = folder.join("said");
        let output = fs::File::create(&said).unwrap();
        let mut command = program.command(pinned, folder, address.port(), client);
        command.stdin(Stdio::null());
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let address = address.to_string();
        let begin = Instant::now();
        let mut process = command.spawn().unwrap();
        let mut connection = loop {
            if let Some(connection) = client.connect(&address).await {
                break connection;
            }
            let runs = process.try_wait().unwrap().is_none() && begin.elapsed() < PATIENCE;
            let said = || fs::read_to_string(&said).unwrap_or_default();
            assert!(runs, "{} does not start: {}", program.name, said());
            std::thread::sleep(Duration::from_micros(200));
        };
        client::generate(&mut connection, KEY).await;
        Self {
            name: program.name,
            address,
            start: begin.elapsed(),
            process,
        }
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

    /// Its memory in RAM, in KiB.
    pub fn resident(&self) -> f64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next());
        kibibytes.unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Keeps this process on one core, and with it whatever it starts; whether it can be done here.
pub fn pin(core: usize) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    let pinned = Command::new("taskset")
        .args(["-a", "-c", "-p", &core.to_string()])
        .arg(std::process::id().to_string())
        .stdout(Stdio::null())
        .status();
    cores > core && pinned.is_ok_and(|status| status.success())
}
