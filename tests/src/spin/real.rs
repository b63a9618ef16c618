//! The real thing: `spin up`, where there is a `spin`.
//!
//! Not tried: there was none where this was written. It is made of what Spin's documentation says of its options.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Backend, Setup, build};
use crate::openbao::free_address;

/// A running `spin up`. It ends when this is dropped.
pub struct Spin {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    folder: TempDir,
}

/// The program on the PATH. `None` if there is none, which is said: what it would show, the harness shows too.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("spin"))
        .find(|file| file.is_file());
    if found.is_none() {
        eprintln!("there is no `spin`: this was tried in the harness alone");
    }
    found
}

impl Setup {
    /// The same app by a real Spin. Authorities and what is said of TLS and atomics are not for it.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn start_with(&self, program: &Path) -> Result<Spin, String> {
        let manifest = self.resolve()?;
        build::component(&manifest)?;
        let problem = |reason: std::io::Error| reason.to_string();
        let folder = tempfile::tempdir().map_err(problem)?;
        let place = |name: &str| folder.path().join(name);
        fs::write(place("runtime.toml"), self.runtime_config()).map_err(problem)?;
        let output = fs::File::create(place("output")).map_err(problem)?;
        let errors = fs::File::create(place("errors")).map_err(problem)?;
        let address = free_address();
        let mut command = Command::new(program);
        command.arg("up").arg("--from").arg(&self.manifest);
        command.args(["--listen", &address]);
        command.arg("--state-dir").arg(place("state"));
        command
            .arg("--runtime-config-file")
            .arg(place("runtime.toml"));
        for (name, value) in &manifest.values {
            command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
        }
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(problem)?;
        let mut spin = Spin {
            child,
            address,
            folder,
        };
        if spin.listens() {
            Ok(spin)
        } else {
            Err(spin.output() + &spin.errors())
        }
    }

    fn runtime_config(&self) -> String {
        let store = match &self.backend {
            Backend::Memory => return String::new(),
            Backend::File(file) => format!("type = \"spin\"\npath = {:?}", file.display()),
            Backend::Redis(address) => format!("type = \"redis\"\nurl = \"redis://{address}\""),
        };
        format!("[key_value_store.default]\n{store}\n")
    }
}

impl Spin {
    /// What it and the component have written to standard output.
    pub fn output(&self) -> String {
        self.written("output")
    }

    /// And to standard error.
    pub fn errors(&self) -> String {
        self.written("errors")
    }

    fn written(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn listens(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(60) {
            if std::net::TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Spin {
    fn drop(&mut self) {
        // It has a process of its own for the trigger, which ends with it if it is asked to end.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-s", "INT", &id]).status();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) && matches!(self.child.try_wait(), Ok(None))
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
