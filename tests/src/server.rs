//! A server of a test's own: a real process on a free loopback port.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

/// A running server. It is killed when this is dropped.
pub struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Its own folder: `config.yml`, `server.key`, `server.cert`, and `keys` if it is so configured.
    pub folder: TempDir,
    output: Lines,
    errors: Lines,
}

/// What a process has written so far.
struct Lines {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts `program` under a configuration: `config` without the lines `version`, `address` and
    /// `tls.key`/`tls.cert`; `{folder}` in it stands for the server's own folder. More under `tls`
    /// goes into `tls`, lines indented by two.
    ///
    /// # Panics
    /// If the server does not start; with what it said.
    pub fn start(program: &Path, tls: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        Self::start_in(program, folder, tls, config)
    }

    /// The same in a folder that is there: `server.key` and `server.cert` must be in it.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn start_in(program: &Path, folder: TempDir, tls: &str, config: &str) -> Self {
        let command = Self::command(program, folder.path(), tls, config);
        Self::run(command, folder)
    }

    /// The command that starts a server in a folder, after its configuration is written there. For
    /// [`Server::run`].
    ///
    /// # Panics
    /// If the folder can't be written to.
    pub fn command(program: &Path, folder: &Path, tls: &str, config: &str) -> Command {
        let file = write_configuration(folder, tls, config);
        let mut command = Command::new(program);
        command.arg("server").arg("--config").arg(&file);
        command
    }

    /// Starts `program`, which must be the one with faults, under these limits: see `with_faults.rs`.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn with_limits(program: &Path, limits: &Value, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        let mut command = Self::command(program, folder.path(), "", config);
        command.env("TEST_LIMITS", limits.to_string());
        Self::run(command, folder)
    }

    /// Runs a command that starts a server.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn run(mut command: Command, folder: TempDir) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Lines::of(child.stdout.take().unwrap());
        let errors = Lines::of(child.stderr.take().unwrap());
        for _ in 0..3000 {
            let said = output.text() + &errors.text();
            let mark = "sealedge is listening on https://";
            if let Some((_, rest)) = said.split_once(mark) {
                let address = rest.split_whitespace().next().unwrap().to_owned();
                return Self {
                    child,
                    address,
                    folder,
                    output,
                    errors,
                };
            }
            if let Some(status) = child.try_wait().unwrap() {
                std::thread::sleep(std::time::Duration::from_millis(50));
                panic!(
                    "the server ended with {status}: {}{}",
                    output.text(),
                    errors.text()
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = child.kill();
        panic!(
            "the server did not start: {}{}",
            output.text(),
            errors.text()
        );
    }

    /// Puts another configuration (see [`Server::start`]) in the place of its own.
    ///
    /// # Panics
    /// If the folder can't be written to.
    pub fn configure(&self, tls: &str, config: &str) {
        write_configuration(self.folder.path(), tls, config);
    }

    /// The same, and has it read. Returns when the server says so.
    ///
    /// # Panics
    /// If it does not say so within half a minute.
    pub fn reload(&self, tls: &str, config: &str) {
        self.configure(tls, config);
        let count = || self.errors().matches("reloaded the configuration").count();
        let before = count();
        self.signal("HUP");
        for _ in 0..3000 {
            if count() > before {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("nothing is reloaded: {}", self.errors());
    }

    /// Its folder, for another one, once it has ended or is killed.
    ///
    /// # Panics
    /// If there is no other folder to leave in its place.
    pub fn into_folder(mut self) -> TempDir {
        let _ = self.child.wait();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The folder of its `fs` store, where the configuration says `path: {folder}/keys`.
    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// What it has written to standard output so far.
    pub fn output(&self) -> String {
        self.output.text()
    }

    /// The lines on standard output, once there are so many: what is audited comes a moment after its answer.
    ///
    /// # Panics
    /// If there are fewer after half a minute.
    pub fn lines(&self, count: usize) -> Vec<String> {
        for _ in 0..3000 {
            let lines: Vec<_> = self.output().lines().map(str::to_owned).collect();
            if lines.len() >= count {
                return lines;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("there are no {count} lines: {}", self.output());
    }

    /// What it has written to standard error so far.
    pub fn errors(&self) -> String {
        self.errors.text()
    }

    /// Waits until a line on standard error has this in it; the line.
    ///
    /// # Panics
    /// If none comes within half a minute.
    pub fn wait_for_error(&self, text: &str) -> String {
        for _ in 0..3000 {
            let errors = self.errors.text();
            if let Some(line) = errors.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("no line says {text:?}: {}", self.errors());
    }

    /// What Linux says about the process: a figure of `/proc/PID/status`, such as `VmRSS` (KiB).
    ///
    /// # Panics
    /// If there is no such figure.
    pub fn figure(&self, name: &str) -> u64 {
        self.try_figure(name).unwrap()
    }

    /// The same; `None` if there is no such figure, or the process has ended.
    pub fn try_figure(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(self.proc("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let figure = line.trim_start_matches(':').split_whitespace().next()?;
        figure.parse().ok()
    }

    /// How many entries a folder of `/proc/PID` has, such as `fd`.
    ///
    /// # Panics
    /// If there is no such folder.
    pub fn count(&self, folder: &str) -> usize {
        std::fs::read_dir(self.proc(folder)).unwrap().count()
    }

    /// How many files it has open; `None` if that is not for this user to see, for the program hides it.
    pub fn open_files(&self) -> Option<usize> {
        Some(std::fs::read_dir(self.proc("fd")).ok()?.count())
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.id().to_string()).join(name)
    }

    /// Sends a signal by its name, such as `TERM`, without waiting.
    ///
    /// # Panics
    /// If there is no such process any more.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits until it has ended by itself; its exit code, all output and all errors.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub fn wait(mut self) -> (Option<i32>, String, String) {
        for _ in 0..6000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.output.end(), self.errors.end());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the server does not end: {}", self.errors());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let sink = text.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut sink = sink.lock().unwrap();
                sink.push_str(&line);
                sink.push('\n');
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

/// Writes `config.yml`, whole at once: the file.
fn write_configuration(folder: &Path, tls: &str, config: &str) -> PathBuf {
    let text = format!(
        "version: v1\naddress: 127.0.0.1:0\ntls:\n  key: {{folder}}/server.key\n  cert: {{folder}}/server.cert\n{tls}\n{config}"
    );
    let file = folder.join("config.yml");
    let here = folder.display().to_string();
    let temporary = folder.join("config.new");
    std::fs::write(&temporary, text.replace("{folder}", &here)).unwrap();
    std::fs::rename(temporary, &file).unwrap();
    file
}

/// Writes `server.key` and `server.cert`, valid for `localhost` and `127.0.0.1`.
///
/// # Panics
/// If the folder can't be written to.
pub fn write_certificate(folder: &Path) {
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("server.cert"), certificate.pem()).unwrap();
}
