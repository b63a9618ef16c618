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
    folder: PathBuf,
}

impl Place {
    /// A file of the proxy: `server.key`, `server.cert`, `server.pem` (both), and of its own as a client
    /// `proxy.key`, `proxy.cert`, `proxy.pem`.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
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
    /// An nginx whose server has these directives, and which is `own` to those behind it. `None` if there is
    /// no nginx.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn nginx(own: &Credentials, directives: impl Fn(&Place) -> String) -> Option<Self> {
        let program = program("nginx")?;
        let config = |place: &Place| {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary = temporary.map(|it| format!("{it}_temp_path {};", place.file(it)));
            format!(
                "daemon off; master_process off; pid {}; error_log stderr;\nevents {{}}\nhttp {{ {}\n\
                 access_log off; server {{ listen {} ssl; ssl_certificate {}; ssl_certificate_key {};\n{} }} }}\n",
                place.file("pid"),
                temporary.join(" "),
                place.listen,
                place.file("server.cert"),
                place.file("server.key"),
                directives(place)
            )
        };
        let arguments = ["-e", "stderr", "-c"];
        Some(Self::start(&program, &arguments, own, &config).await)
    }

    /// A haproxy whose frontend and backend have these lines. `None` if there is no haproxy.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn haproxy(own: &Credentials, lines: impl Fn(&Place) -> String) -> Option<Self> {
        let program = program("haproxy")?;
        let config = |place: &Place| {
            format!(
                "defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
                 frontend front\n  bind {} ssl crt {} verify optional ca-file {} ca-ignore-err all \
                 crt-ignore-err all\n{}\n",
                place.listen,
                place.file("server.pem"),
                place.file("server.cert"),
                lines(place)
            )
        };
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
                folder: folder.path().to_owned(),
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
    fs::write(
        folder.join("server.pem"),
        read("server.cert") + &read("server.key"),
    )
    .unwrap();
    let certificate = to_pem(own.chain.first().unwrap());
    let key = to_pem(&own.key).replace("CERTIFICATE", "PRIVATE KEY");
    fs::write(folder.join("proxy.cert"), &certificate).unwrap();
    fs::write(folder.join("proxy.key"), &key).unwrap();
    fs::write(folder.join("proxy.pem"), certificate + &key).unwrap();
}
