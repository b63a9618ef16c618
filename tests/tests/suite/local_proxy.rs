//! `sealedge proxy`: clients that know only mTLS, in front of a server that wants signed requests.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sealedge_tests::client::{Answer, Client, Credentials, for_admin, recorded};
use sealedge_tests::log_stream::LogStream;
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub const SELF: &str = "/v1/identity/self/describe";

/// A server for a proxy.
pub fn upstream() -> Server {
    let config = for_admin("mem: {}").replace("audit: off", "audit: on");
    Server::start(Path::new(crate::SEALEDGE), "", &config)
}

/// The command of a proxy that signs as this client of the recordings.
pub fn command_at(who: &str, address: &str) -> Command {
    command_of(crate::SEALEDGE, who, &format!("https://{address}"))
}

/// The same of this program, for a server with this URL.
pub fn command_of(program: &str, who: &str, url: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["proxy", "--upstream", url])
        .env("KES_API_KEY", recorded(who).to_text().as_str())
        .env_remove("SEALEDGE_AUTH");
    command
}

/// The same, which trusts a server.
pub fn command(who: &str, upstream: &Server, address: &str) -> Command {
    let mut command = command_at(who, address);
    command.env("SSL_CERT_FILE", upstream.folder.path().join("server.cert"));
    command
}

/// A proxy on a free port, whose certificate is `proxy.cert` in its folder.
pub fn run(mut command: Command, arguments: &[&str]) -> Server {
    let folder = tempfile::tempdir().unwrap();
    command
        .args(["--listen", "127.0.0.1:0", "--cert-out"])
        .arg(folder.path().join("proxy.cert"))
        .args(arguments);
    Server::run(command, folder)
}

/// The same in front of a server.
pub fn proxy(who: &str, upstream: &Server, arguments: &[&str]) -> Server {
    run(command(who, upstream, &upstream.address), arguments)
}

/// Asks without a body.
pub async fn call(client: &mut Client, method: &str, path: &str) -> Answer {
    client.call(method, path, Value::Null).await
}

#[tokio::test]
async fn a_client_by_mtls_uses_a_server_that_gets_signed_requests() {
    let upstream = upstream();
    let proxy = proxy("admin", &upstream, &[]);
    let credentials = Credentials::of(&recorded("admin"));
    let mut by_two = Client::connect_http2(&proxy.address, Some(&credentials))
        .await
        .unwrap();
    for client in [&mut Client::admin(&proxy.address).await, &mut by_two] {
        let me = call(client, "GET", SELF).await;
        assert_eq!(me.json()["auth"], "signature", "{me:?}");
        let answer = call(client, "PUT", "/v1/key/create/k?a=b&c").await;
        assert!([200, 400].contains(&answer.status), "{answer:?}");
        let listed = call(client, "GET", "/v1/key/list/%6B").await;
        assert_eq!(listed.json()["names"], json!(["k"]), "{listed:?}");
        // As long as a body may be, and longer.
        let message = "A".repeat(1_000_000);
        let sealed = client
            .call("PUT", "/v1/key/encrypt/k", json!({ "plaintext": message }))
            .await;
        assert_eq!(sealed.status, 200);
        let long = format!("{{\"plaintext\": \"{}\"}}", "A".repeat(1 << 20));
        let answer = client.send("PUT", "/v1/key/encrypt/k", &[], long).await;
        if let Ok(answer) = answer {
            assert_eq!(answer.message(), "invalid request body");
        }
    }
    // What would be a credential is the proxy's own only.
    let mut client = Client::admin(&proxy.address).await;
    let headers = [
        ("authorization", "Bearer kes:v1:x"),
        ("signature", "sealedge=:AAAA:"),
        ("signature-input", "sealedge=();tag=\"sealedge\""),
        ("client-cert", ":AAAA:"),
        ("x-tls-client-cert", "x"),
        ("content-digest", "sha-256=:AAAA:"),
        ("host", "elsewhere.example.com"),
    ];
    let answer = client.send("GET", SELF, &headers, "").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.content_type.as_deref(), Some("application/json"));
    // HEAD has the length of what is not sent.
    let head = client.begin("HEAD", SELF, &[], "".into()).await.unwrap();
    assert_ne!(head.headers()["content-length"], "0");
    proxy.wait_for_error("sha-256");
    let banner = proxy.errors();
    let identity = recorded("admin").identity().to_string();
    assert!(banner.contains(&identity), "{banner}");
    let secret = recorded("admin").to_text();
    assert!(!(banner + &proxy.output()).contains(&secret[7..]));
}

#[tokio::test]
async fn only_those_who_are_allowed_get_in() {
    let upstream = upstream();
    let connect = async |proxy: &Server, who: &str| {
        let credentials = Credentials::of(&recorded(who));
        let client = Client::connect(&proxy.address, Some(&credentials)).await;
        client.unwrap()
    };
    let own = proxy("admin", &upstream, &[]);
    assert_eq!(
        call(&mut connect(&own, "admin").await, "GET", SELF)
            .await
            .status,
        200
    );
    let app = recorded("app").identity().to_string();
    let refused = call(&mut connect(&own, "app").await, "GET", SELF).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.message().ends_with(&format!("--allow {app}")),
        "{refused:?}"
    );
    let mut nobody = Client::connect(&own.address, None).await.unwrap();
    let answer = call(&mut nobody, "GET", SELF).await;
    assert_eq!(answer.message(), "tls: client certificate is required");
    // Another one instead, who then acts as the proxy.
    let others = proxy("admin", &upstream, &["--allow", &app]);
    let me = call(&mut connect(&others, "app").await, "GET", SELF).await;
    assert_eq!(me.json()["admin"], true, "{me:?}");
    assert_eq!(
        call(&mut connect(&others, "admin").await, "GET", SELF)
            .await
            .status,
        403
    );
    let any = proxy("admin", &upstream, &["--allow", "any"]);
    assert_eq!(
        call(&mut connect(&any, "stranger").await, "GET", SELF)
            .await
            .status,
        200
    );
    let mut nobody = Client::connect(&any.address, None).await.unwrap();
    assert_eq!(call(&mut nobody, "GET", SELF).await.status, 400);
    // The proxies have asked for those who were let in, and for nobody else.
    // But for those who have shown nothing, whom the server refuses.
    let records = upstream.lines(5);
    let is_signed = |record: &&String| record.contains("\"auth\":\"signature\"");
    assert_eq!(records.iter().filter(is_signed).count(), 3, "{records:?}");
    assert_eq!(records.len(), 5, "{records:?}");
}

/// Hands bytes on to a server.
pub struct Relay {
    /// Where it listens.
    pub address: String,
    /// How many connections there have been.
    pub connections: Arc<AtomicUsize>,
    /// Whether what clients send is handed on, or kept until this is true.
    pub is_open: watch::Sender<bool>,
}

impl Relay {
    /// Listens.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let (server, count) = (server.to_owned(), connections.clone());
        let (is_open, opened) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(&server).await.unwrap();
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = server.into_split();
                tokio::spawn(hand_on(from_client, to_server, opened.clone()));
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_server, &mut to_client).await },
                );
            }
        });
        Self {
            address,
            connections,
            is_open,
        }
    }
}

async fn hand_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut opened: watch::Receiver<bool>,
) {
    let mut part = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut part).await {
        let is_open = opened.wait_for(|is_open| *is_open).await.is_ok();
        if length == 0 || !is_open || to.write_all(&part[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_requests_share_a_connection() {
    let upstream = upstream();
    let relay = Relay::to(&upstream.address).await;
    let proxy = run(command("admin", &upstream, &relay.address), &[]);
    let mut first = Client::admin(&proxy.address).await;
    assert_eq!(
        call(&mut first, "PUT", "/v1/key/create/k").await.status,
        200
    );
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let mut client = Client::admin(&proxy.address).await;
        tasks.spawn(async move {
            for _ in 0..20 {
                let answer = call(&mut client, "PUT", "/v1/key/generate/k").await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(relay.connections.load(Ordering::SeqCst), 1);
    assert_eq!(upstream.lines(161).len(), 161);
}

#[tokio::test]
async fn a_server_may_go_away_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    drop(port);
    let config = for_admin("fs: {path: \"{folder}/keys\"}");
    let start = |folder: TempDir| {
        let mut command = Server::command(Path::new(crate::SEALEDGE), folder.path(), "", &config);
        command.args(["--addr", &address]);
        Server::run(command, folder)
    };
    // The proxy is there first.
    let trusted = upstream();
    let mut proxied = command("admin", &trusted, &address);
    proxied.env("SSL_CERT_FILE", folder.path().join("server.cert"));
    let proxy = run(proxied, &[]);
    let mut client = Client::admin(&proxy.address).await;
    let answer = call(&mut client, "GET", SELF).await;
    assert_eq!(answer.status, 502);
    assert!(answer.message().contains("can't be reached"), "{answer:?}");
    let server = start(folder);
    assert_eq!(
        call(&mut client, "PUT", "/v1/key/create/k").await.status,
        200
    );
    server.signal("KILL");
    let folder = server.into_folder();
    let answer = call(&mut client, "PUT", "/v1/key/generate/k").await;
    assert_eq!(answer.status, 502, "{answer:?}");
    let server = start(folder);
    assert_eq!(
        call(&mut client, "PUT", "/v1/key/generate/k").await.status,
        200
    );
    // What is said comes a moment later.
    let comings = || proxy.errors().matches("answers again").count();
    for _ in 0..3000 {
        if comings() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(comings(), 2, "{}", proxy.errors());
    // One that ends in order tells the proxy, and nothing is lost.
    server.signal("TERM");
    let _server = start(server.into_folder());
    assert_eq!(
        call(&mut client, "PUT", "/v1/key/create/k").await.status,
        400
    );
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_sent_nothing() {
    let (upstream, other) = (upstream(), upstream());
    let proxy = run(command("admin", &other, &upstream.address), &[]);
    let answer = call(&mut Client::admin(&proxy.address).await, "GET", SELF).await;
    assert_eq!(answer.status, 502);
    assert!(answer.message().contains("SSL_CERT_FILE"), "{answer:?}");
    let insecure = run(command("admin", &other, &upstream.address), &["-k"]);
    let answer = call(&mut Client::admin(&insecure.address).await, "GET", SELF).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.lines(1).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_comes_as_it_is_written_and_ends_with_the_proxy() {
    let upstream = upstream();
    let proxy = proxy("admin", &upstream, &[]);
    let mut stream = LogStream::of(&mut Client::admin(&proxy.address).await, "audit").await;
    let mut client = Client::admin(&proxy.address).await;
    for name in ["a", "b"] {
        let path = format!("/v1/key/create/{name}");
        assert_eq!(call(&mut client, "PUT", &path).await.status, 200);
        let record = stream.of_path("/v1/key/create/").await;
        assert_eq!(record["request"]["path"], path);
        assert_eq!(record["request"]["auth"], "signature");
    }
    // A reader that goes away is gone from the server as well.
    let gone = LogStream::of(&mut Client::admin(&proxy.address).await, "audit").await;
    drop(gone);
    proxy.signal("TERM");
    let mut left = 0;
    while stream.next().await.is_some() {
        left += 1;
    }
    assert!(left <= 1, "the other reader's");
    let (code, _, errors) = proxy.wait();
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("stopping: finishing"), "{errors}");
}

/// A command that ends with success.
pub fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    output
}

#[test]
fn the_command_line_and_curl_go_through_a_proxy() {
    let upstream = upstream();
    let proxy = proxy("admin", &upstream, &[]);
    let trusted = proxy.folder.path().join("proxy.cert");
    let cli = |arguments: &[&str]| {
        let mut command = Command::new(crate::SEALEDGE);
        command
            .args(arguments)
            .env("SSL_CERT_FILE", &trusted)
            .env("KES_SERVER", &proxy.address)
            .env("KES_API_KEY", recorded("admin").to_text().as_str());
        output(&mut command)
    };
    cli(&["key", "create", "k"]);
    let dek: Value = serde_json::from_slice(&cli(&["key", "dek", "k"]).stdout).unwrap();
    let ciphertext = dek["ciphertext"].as_str().unwrap();
    let opened = cli(&["key", "decrypt", "k", ciphertext]).stdout;
    let opened: Value = serde_json::from_slice(&opened).unwrap();
    assert_eq!(opened["plaintext"], dek["plaintext"]);
    if is_missing("curl") {
        return;
    }
    let folder = proxy.folder.path();
    let (key, certificate) = (folder.join("app.key"), folder.join("app.crt"));
    let mut make = Command::new(crate::SEALEDGE);
    make.args(["identity", "new", "--key"])
        .arg(&key)
        .arg("--cert")
        .arg(&certificate);
    output(&mut make);
    let mut of = Command::new(crate::SEALEDGE);
    of.args(["identity", "of", "--json"]).arg(&certificate);
    let identity: Value = serde_json::from_slice(&output(&mut of).stdout).unwrap();
    let allow = ["--allow", identity["identity"].as_str().unwrap()];
    let by_curl = self::proxy("admin", &upstream, &allow);
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail-with-body", "-X", "POST", "--cacert"])
        .arg(by_curl.folder.path().join("proxy.cert"))
        .arg("--key")
        .arg(&key)
        .arg("--cert")
        .arg(&certificate)
        .arg(format!("https://{}/v1/key/generate/k", by_curl.address));
    let dek: Value = serde_json::from_slice(&output(&mut curl).stdout).unwrap();
    assert!(dek["plaintext"].is_string());
}

/// Whether a program is not installed, which is reported, and an error where everything has to be.
pub fn is_missing(program: &str) -> bool {
    match Command::new(program).arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "{program} is missing");
            eprintln!("skipped: {program} is not installed");
            true
        }
        version => {
            version.unwrap();
            false
        }
    }
}
