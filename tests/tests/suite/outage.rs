//! A key store elsewhere that goes away, comes back, refuses, or answers what no key store would.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sealedge_tests::client::{Client, recorded};
use sealedge_tests::openbao::OpenBao;
use sealedge_tests::server::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::stores::{POLICY, keystore, program};

/// A server whose keys leave the cache within a second, and are kept for an outage.
fn start(keystore: &str) -> Server {
    let admin = recorded("admin").identity();
    let config = format!(
        "admin: {{identity: {admin}}}
cache: {{expiry: {{any: 1s, unused: 1s, offline: 10m}}}}
log: {{audit: off}}
keystore: {{{keystore}}}
"
    );
    Server::start(Path::new(crate::SEALEDGE), "", &config)
}

async fn call(client: &mut Client, method: &str, path: &str) -> u16 {
    client.call(method, path, Value::Null).await.status
}

/// Waits until a request has this status.
async fn until(client: &mut Client, path: &str, status: u16) {
    let begun = Instant::now();
    loop {
        let now = call(client, "GET", path).await;
        if now == status {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{path}: {now}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Clients that use a key all the time, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    async fn on(server: &Server, key: &str, clients: usize) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            done: Arc::default(),
            clients: Vec::new(),
        };
        for _ in 0..clients {
            let mut client = Client::admin(&server.address).await;
            let (stop, done) = (load.stop.clone(), load.done.clone());
            let (generate, decrypt) = (
                format!("/v1/key/generate/{key}"),
                format!("/v1/key/decrypt/{key}"),
            );
            load.clients.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let dek = client.call("PUT", &generate, Value::Null).await;
                    assert_eq!(dek.status, 200, "{dek:?}");
                    let sealed = json!({"ciphertext": dek.json()["ciphertext"]});
                    let opened = client.call("PUT", &decrypt, sealed).await;
                    assert_eq!(opened.json()["plaintext"], dek.json()["plaintext"]);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        load
    }

    /// Waits for some more of its requests.
    async fn goes_on(&self) {
        let (before, begun) = (self.done.load(Ordering::Relaxed), Instant::now());
        while self.done.load(Ordering::Relaxed) < before + 20 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it stands still");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops it: none of its requests has failed, and none had a wrong answer.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_keys_go_on_while_the_key_store_is_killed_or_sealed() {
    let Some(program) = program() else { return };
    let mut bao = OpenBao::start(&program).await;
    let server = start(&keystore(&bao, "engine: kv2, version: v2").await);
    let mut client = Client::admin(&server.address).await;
    assert_eq!(call(&mut client, "PUT", "/v1/key/create/k").await, 200);
    let load = Load::on(&server, "k", 4).await;
    load.goes_on().await;
    for is_killed in [true, false] {
        let away = || server.errors().matches(" is away: ").count();
        let back = || server.errors().matches(" is back").count();
        let before = (away(), back());
        if is_killed {
            bao.kill();
        } else {
            bao.seal().await;
        }
        until(&mut client, "/v1/ready", 504).await;
        let status = client.call("GET", "/v1/status", Value::Null).await.json();
        assert_eq!(status["keystore_unreachable"], true, "{status}");
        // Longer than the cache keeps keys when all is well.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        load.goes_on().await;
        // What is not in memory is not to be had.
        let other = client
            .call("PUT", "/v1/key/generate/other", Value::Null)
            .await;
        assert_eq!(
            (other.status, other.message().as_str()),
            (502, "failed to read key")
        );
        if is_killed {
            bao.restart().await;
        } else {
            bao.unseal().await;
        }
        until(&mut client, "/v1/ready", 200).await;
        load.goes_on().await;
        let name = if is_killed { "new-1" } else { "new-2" };
        let create = format!("/v1/key/create/{name}");
        assert_eq!(call(&mut client, "PUT", &create).await, 200);
        // Said once, and not for each of many requests.
        let said = (away() - before.0, back() - before.1);
        assert_eq!(said, (1, 1), "{}", server.errors());
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_memory_of_one_instance_serves_all() {
    let Some(program) = program() else { return };
    let mut bao = OpenBao::start(&program).await;
    let server = start(&keystore(&bao, "engine: kv2, version: v2").await);
    let mut client = Client::admin(&server.address).await;
    let names: Vec<String> = (0..20).map(|at| format!("k-{at}")).collect();
    for name in &names {
        assert_eq!(
            call(&mut client, "PUT", &format!("/v1/key/create/{name}")).await,
            200
        );
        assert_eq!(
            call(&mut client, "GET", &format!("/v1/key/describe/{name}")).await,
            200
        );
    }
    bao.kill();
    // All at once, so that each instance has to do with many.
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let mut client = Client::admin(&server.address).await;
        let names = names.clone();
        tasks.push(tokio::spawn(async move {
            for name in names {
                let path = format!("/v1/key/generate/{name}");
                let answer = client.call("PUT", &path, Value::Null).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_keys_are_not_held_up_by_a_key_store_that_hangs() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    let server = start(&keystore(&bao, "engine: kv2, version: v2").await);
    let mut client = Client::admin(&server.address).await;
    assert_eq!(call(&mut client, "PUT", "/v1/key/create/k").await, 200);
    let load = Load::on(&server, "k", 8).await;
    load.goes_on().await;
    bao.hang(true);
    server.wait_for_error(" is away: no answer in time");
    let before = load.done.load(Ordering::Relaxed);
    // For as long as two tries take that are not answered.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let done = load.done.load(Ordering::Relaxed) - before;
    assert!(done > 500, "{done} in eleven seconds");
    bao.hang(false);
    until(&mut client, "/v1/ready", 200).await;
    load.goes_on().await;
    assert_eq!(call(&mut client, "PUT", "/v1/key/create/new").await, 200);
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_any_more_is_no_outage() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    let server = start(&keystore(&bao, "engine: kv2, version: v2").await);
    let mut client = Client::admin(&server.address).await;
    assert_eq!(call(&mut client, "PUT", "/v1/key/create/k").await, 200);
    assert_eq!(call(&mut client, "GET", "/v1/key/describe/k").await, 200);
    let nothing = json!({"policy": "path \"none/*\" { capabilities = [\"read\"] }"});
    bao.put("sys/policies/acl/sealedge", &nothing).await;
    until(&mut client, "/v1/key/describe/k", 502).await;
    let line = server.wait_for_error("error: failed to read key");
    assert!(line.contains("permission denied"), "{line}");
    // It answers, so it is there.
    assert_eq!(call(&mut client, "GET", "/v1/ready").await, 200);
    bao.put("sys/policies/acl/sealedge", &json!({"policy": POLICY}))
        .await;
    until(&mut client, "/v1/key/describe/k", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_and_a_revoked_one_replaced() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    // Renewed within two seconds; after six there is a new login.
    let role = bao.role("short", POLICY, 2).await;
    let server = start(&format!(
        "vault: {{endpoint: 'http://{}', engine: kv2, version: v2, approle: {{id: {}, secret: {}}}}}",
        bao.address, role.id, role.secret
    ));
    let mut client = Client::admin(&server.address).await;
    assert_eq!(call(&mut client, "PUT", "/v1/key/create/k").await, 200);
    let begun = Instant::now();
    let mut revoked = false;
    while begun.elapsed() < Duration::from_secs(9) {
        // Absent keys are never in the cache.
        assert_eq!(call(&mut client, "GET", "/v1/key/describe/none").await, 404);
        assert_eq!(call(&mut client, "GET", "/v1/key/describe/k").await, 200);
        if !revoked && begun.elapsed() > Duration::from_secs(3) {
            let prefix = "sys/leases/revoke-prefix/auth/approle/login";
            bao.put(prefix, &json!({})).await;
            revoked = true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!server.errors().contains(" error: "), "{}", server.errors());
}

/// A fake of a key store: it logs everybody in, and answers everything else so. An answer without an end
/// is kept open.
async fn fake(answer: Vec<u8>, holds: bool) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut read = vec![0; 16 << 10];
                while let Ok(length @ 1..) = stream.read(&mut read).await {
                    let request = String::from_utf8_lossy(&read[..length]).into_owned();
                    let sent = if request.contains("/login") {
                        let token = r#"{"auth":{"client_token":"t","lease_duration":3600,"renewable":true}}"#;
                        let length = token.len();
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                        stream.write_all((head + token).as_bytes()).await
                    } else {
                        let _ = stream.write_all(&answer).await;
                        if holds {
                            std::future::pending::<()>().await;
                        }
                        return;
                    };
                    if sent.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_key_store_would_answer_is_an_error_and_no_end() {
    let whole = |status: &str, kind: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n".to_vec();
    endless.resize(endless.len() + (100 << 20), b' ');
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"data\":".to_vec();
    for (what, answer, holds, said) in [
        (
            "HTML",
            whole("200 OK", "text/html", "<html>Sign in</html>"),
            false,
            "",
        ),
        (
            "an error page",
            whole("404 Not Found", "text/html", "<html></html>"),
            false,
            "",
        ),
        ("half an answer", half, false, "broke off"),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), false, ""),
        (
            "another shape",
            whole("200 OK", "application/json", "{\"data\":[]}"),
            false,
            "",
        ),
        ("too much", endless, false, "too long"),
        ("silence", Vec::new(), true, "no answer in time"),
    ] {
        let (address, task) = fake(answer, holds).await;
        let server = start(&format!(
            "vault: {{endpoint: 'http://{address}', approle: {{id: i, secret: s}}}}"
        ));
        let mut client = Client::admin(&server.address).await;
        let begun = Instant::now();
        let answer = client.call("GET", "/v1/key/describe/k", Value::Null).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        assert!(matches!(answer.status, 502 | 504), "{what}: {answer:?}");
        let line = server.wait_for_error(" error: ");
        assert!(
            line.contains(&address) && line.contains(said),
            "{what}: {line}"
        );
        assert_eq!(call(&mut client, "GET", "/version").await, 200);
        // The answer was not kept: 100 MiB would show.
        assert!(server.figure("VmHWM") < 150 << 10, "{what}");
        task.abort();
    }
}
