//! Real TLS proxies in front of a server: nginx and haproxy, where they are installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::client::{Credentials, to_pem};
use crate::openbao::free_address;
use crate::pip;
use crate::server::write_certificate;

/// A proxy. It is killed when this is dropped.
pub struct Front {
    child: Child,
    /// `127.0.0.1:PORT`, where it takes TLS.
    pub address: String,
    _folder: TempDir,
}

/// What a configuration is made of: files, and addresses.
pub struct Place {
    /// Where it listens.
    pub listen: String,
    /// Where its files are: `kms.key`, `kms.crt` and `kms.pem` (both), by which clients know it, and by which it is a
    /// client itself `proxy.key`, `proxy.crt` and `proxy.pem`.
    pub folder: String,
}

/// A program on the PATH, or where administrators' programs are; `None` if it is not installed, which is said.
///
/// # Panics
/// In CI, if it is not installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        pip::skipped(name, "it is not installed");
    }
    found
}

impl Front {
    /// An nginx with these servers, which is `own` to those behind it. `None` if there is no nginx.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn nginx(own: &Credentials, servers: impl Fn(&Place) -> String) -> Option<Self> {
        let program = program("nginx")?;
        let config = |place: &Place| {
            let folder = &place.folder;
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary = temporary.map(|it| format!("{it}_temp_path {folder}/{it};"));
            format!(
                "daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\n\
                 http {{ {}\naccess_log off;\n{} }}\n",
                temporary.join(" "),
                servers(place)
            )
        };
        let arguments = ["-e", "stderr", "-c"];
        Some(Self::start(&program, &arguments, own, &config).await)
    }

    /// A haproxy with this configuration, likewise. `None` if there is no haproxy.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn haproxy(own: &Credentials, config: impl Fn(&Place) -> String) -> Option<Self> {
        let program = program("haproxy")?;
        Some(Self::start(&program, &["-db", "-f"], own, &config).await)
    }

    async fn start(
        program: &Path,
        arguments: &[&str],
        own: &Credentials,
        config: &dyn Fn(&Place) -> String,
    ) -> Self {
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            write_files(folder.path(), own);
            let place = Place {
                listen: free_address(),
                folder: folder.path().display().to_string(),
            };
            let file = folder.path().join("front.conf");
            fs::write(&file, config(&place)).unwrap();
            let log = File::create(folder.path().join("log")).unwrap();
            let child = Command::new(program)
                .args(arguments)
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let mut front = Self {
                child,
                address: place.listen,
                _folder: folder,
            };
            if front.listens().await {
                return front;
            }
            // Somebody else took the port, most likely.
            let log = fs::read_to_string(front._folder.path().join("log"));
            eprintln!("{} does not start: {}", program.display(), log.unwrap());
        }
        panic!("{} does not start", program.display());
    }

    async fn listens(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) && self.child.try_wait().unwrap().is_none()
        {
            if TcpStream::connect(&self.address).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_files(folder: &Path, own: &Credentials) {
    write_certificate(folder);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let certificate = to_pem(own.chain.first().unwrap());
    let key = to_pem(&own.key).replace("CERTIFICATE", "PRIVATE KEY");
    for (name, certificate, key) in [
        ("kms", read("server.cert"), read("server.key")),
        ("proxy", certificate, key),
    ] {
        let file = |suffix: &str| folder.join(format!("{name}.{suffix}"));
        fs::write(file("crt"), &certificate).unwrap();
        fs::write(file("key"), &key).unwrap();
        fs::write(file("pem"), certificate + &key).unwrap();
    }
}
