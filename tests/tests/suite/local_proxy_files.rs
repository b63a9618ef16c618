//! What `sealedge proxy` has in files: its certificate, the key that it signs by, and its socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::KeyPair;
use sealedge_core::api_key::ApiKey;
use sealedge_tests::client::{Client, Credentials, recorded, to_pem};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::Value;

use super::local_proxy::{SELF, call, command, is_missing, output, proxy, upstream};

#[tokio::test]
async fn a_proxy_may_have_a_certificate_that_stays() {
    let upstream = upstream();
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut command = command("admin", &upstream, &upstream.address);
    command
        .args(["--listen", "127.0.0.1:0", "--json", "--tls-key"])
        .args([&file("server.key"), "--tls-cert", &file("server.cert")]);
    let proxy = Server::run(command, tempfile::tempdir().unwrap());
    let said = proxy.errors();
    let banner: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let identity = recorded("admin").identity().to_string();
    assert_eq!(banner["identity"], identity);
    assert_eq!(banner["clients"], identity);
    assert_eq!(banner["upstream"], format!("https://{}", upstream.address));
    assert_eq!(banner.get("certificate"), None);
    let mut cli = Command::new(crate::SEALEDGE);
    cli.args(["key", "create", "k"])
        .env("SSL_CERT_FILE", file("server.cert"))
        .env("KES_SERVER", banner["address"].as_str().unwrap())
        .env("KES_API_KEY", recorded("admin").to_text().as_str());
    output(&mut cli);
}

/// Writes the private key and the certificate of an API key: the files.
fn write_key(folder: &Path, api_key: &ApiKey) -> [PathBuf; 2] {
    let credentials = Credentials::of(api_key);
    let key = KeyPair::try_from(credentials.key.as_slice()).unwrap();
    let files = ["client.key", "client.cert"].map(|name| folder.join(name));
    std::fs::write(&files[0], key.serialize_pem()).unwrap();
    std::fs::write(&files[1], to_pem(&credentials.chain[0])).unwrap();
    files
}

#[tokio::test]
async fn a_hangup_reloads_what_is_in_files() {
    let upstream = upstream();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_certificate(folder);
    let client = write_key(folder, &recorded("admin"));
    let mut command = command("admin", &upstream, &upstream.address);
    command
        .args(["--listen", "127.0.0.1:0", "--tls-key"])
        .arg(folder.join("server.key"))
        .arg("--tls-cert")
        .arg(folder.join("server.cert"))
        .env_remove("KES_API_KEY")
        .env("KES_CLIENT_KEY", &client[0])
        .env("KES_CLIENT_CERT", &client[1]);
    let proxy = Server::run(command, tempfile::tempdir().unwrap());
    // One connection stays as it is.
    let mut before = Client::admin(&proxy.address).await;
    assert_eq!(call(&mut before, "GET", SELF).await.status, 200);
    write_certificate(folder);
    proxy.signal("HUP");
    proxy.wait_for_error("reloaded the certificate that clients see and the key that signs");
    let create = |name: &str| {
        let mut cli = Command::new(crate::SEALEDGE);
        cli.args(["key", "create", name])
            .env("SSL_CERT_FILE", folder.join("server.cert"))
            .env("KES_SERVER", &proxy.address)
            .env("KES_API_KEY", recorded("admin").to_text().as_str());
        output(&mut cli);
    };
    create("a");
    assert_eq!(call(&mut before, "GET", SELF).await.status, 200);
    // All of it or nothing.
    let trusted = std::fs::read(folder.join("server.cert")).unwrap();
    write_certificate(folder);
    write_key(folder, &recorded("app"));
    proxy.signal("HUP");
    let said = proxy.wait_for_error("nothing was reloaded");
    let identity = recorded("app").identity().to_string();
    assert!(
        said.contains(&identity) && said.contains("restart"),
        "{said}"
    );
    std::fs::write(folder.join("server.cert"), trusted).unwrap();
    create("b");
    proxy.signal("HUP");
    proxy.wait_for_error("it is not the key of");
    create("c");
}

#[tokio::test]
async fn a_hangup_ends_no_proxy_without_files() {
    let upstream = upstream();
    let proxy = proxy("admin", &upstream, &[]);
    proxy.signal("HUP");
    proxy.wait_for_error("nothing to reload");
    let answer = call(&mut Client::admin(&proxy.address).await, "GET", SELF).await;
    assert_eq!(answer.status, 200);
}

/// A proxy on a socket, once it listens there; it is killed when this is dropped.
struct OnSocket(std::process::Child);

impl OnSocket {
    fn start(upstream: &Server, socket: &Path) -> Self {
        let mut command = command("admin", upstream, &upstream.address);
        let listen = format!("unix:{}", socket.display());
        command
            .args(["--listen", &listen])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let child = Self(command.spawn().unwrap());
        for _ in 0..3000 {
            if std::os::unix::net::UnixStream::connect(socket).is_ok() {
                return child;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody listens on {listen}");
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status();
        assert!(kill.unwrap().success());
    }

    fn end(mut self, signal: &str) {
        self.signal(signal);
        self.0.wait().unwrap();
    }
}

impl Drop for OnSocket {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_socket_is_for_its_user_and_replaced_when_it_is_dead() {
    let upstream = upstream();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sealedge.sock");
    let asked = |path: &str| {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let proxy = OnSocket::start(&upstream, &socket);
    let file = std::fs::symlink_metadata(&socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let answer = asked(SELF);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("signature"),
        "{answer}"
    );
    // It is in use.
    let mut second = command("admin", &upstream, &upstream.address);
    second.args(["--listen", &format!("unix:{}", socket.display())]);
    let refused = second.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("another process listens on it"), "{said}");
    assert_eq!(refused.status.code(), Some(1));
    proxy.end("KILL");
    assert!(socket.exists());
    let proxy = OnSocket::start(&upstream, &socket);
    assert!(asked(SELF).starts_with("HTTP/1.1 200"));
    if !is_missing("curl") {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--unix-socket"])
            .arg(&socket)
            .arg(format!("http://localhost{SELF}"));
        let me: Value = serde_json::from_slice(&output(&mut curl).stdout).unwrap();
        assert_eq!(me["admin"], true);
    }
    proxy.signal("HUP");
    assert!(asked(SELF).starts_with("HTTP/1.1 200"));
    proxy.end("TERM");
    assert!(!socket.exists());
}
