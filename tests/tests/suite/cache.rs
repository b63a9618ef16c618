//! How long keys stay in memory, and a key store that is away: by changing the store's files behind
//! the server.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sealedge_tests::client::{Answer, Client, Credentials, recorded};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::Value;

/// Two keys that a test can tell from each other by what `describe` says.
const AES: (&str, &str) = ("vector-aes", "AES256");
const CHACHA: (&str, &str) = ("vector-chacha", "ChaCha20");

fn server(expiry: &str) -> Server {
    with_one_instance(&config(expiry))
}

/// A configuration with this expiry, whose store is the folder [`Server::keys`].
pub fn config(expiry: &str) -> String {
    format!(
        "admin: {{identity: {}}}
cache: {{expiry: {expiry}}}
keystore: {{fs: {{path: \"{{folder}}/keys\"}}}}
",
        recorded("admin").identity()
    )
}

/// A server with one instance, so that there is one cache: it sees one processor.
pub fn with_one_instance(config: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let plain = Server::command(Path::new(crate::SEALEDGE), folder.path(), "", config);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &a_processor()]);
    command.arg(plain.get_program()).args(plain.get_args());
    Server::run(command, folder)
}

/// A processor on which this process may run.
fn a_processor() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    list.trim().split([',', '-']).next().unwrap().to_owned()
}

async fn connect(server: &Server) -> Client {
    let credentials = Credentials::of(&recorded("admin"));
    Client::connect(&server.address, Some(&credentials))
        .await
        .unwrap()
}

/// Stores a key as another process would: whole or not at all.
fn store(server: &Server, name: &str, (vector, _): (&str, &str)) {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/keystore");
    let temporary = server.folder.path().join("temporary");
    std::fs::copy(vectors.join(vector), &temporary).unwrap();
    std::fs::rename(temporary, server.keys().join(name)).unwrap();
}

async fn describe(client: &mut Client, name: &str) -> Answer {
    client
        .call("GET", &format!("/v1/key/describe/{name}"), Value::Null)
        .await
}

/// Which key the name has.
async fn which(client: &mut Client, name: &str) -> String {
    let answer = describe(client, name).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["algorithm"].as_str().unwrap().to_owned()
}

fn assert_failed(answer: &Answer, status: u16, message: &str) {
    assert_eq!(
        (answer.status, answer.message().as_str()),
        (status, message)
    );
}

/// The newest line of the error log, which the server has written by now but may be on its way.
async fn last_error(server: &Server, about: &str) -> String {
    for _ in 0..200 {
        let errors = server.errors();
        let last = errors.lines().last().unwrap_or_default();
        if last.contains(about) {
            return last.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing about {about}: {}", server.errors());
}

/// Asks every 20 ms until the answer's status is this: when the last request was sent that had
/// another answer, and when this one came.
async fn until(client: &mut Client, name: &str, status: u16) -> (Instant, Instant) {
    let begun = Instant::now();
    let mut last = begun;
    loop {
        let asked = Instant::now();
        if describe(client, name).await.status == status {
            return (last, Instant::now());
        }
        last = asked;
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "it never is {status}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_key_is_read_again_when_it_is_too_old_however_much_it_is_used() {
    let any = Duration::from_secs(1);
    let server = server("{any: 1s, unused: 1m}");
    let mut client = connect(&server).await;
    store(&server, "a", AES);
    let asked = Instant::now();
    assert_eq!(which(&mut client, "a").await, AES.1);
    let answered = Instant::now();
    store(&server, "a", CHACHA);
    let mut last = None;
    let read_again = loop {
        let now = Instant::now();
        if which(&mut client, "a").await == CHACHA.1 {
            break now;
        }
        last = Some(now);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(last.expect("it is not kept at all") < answered + any);
    let answered = Instant::now();
    assert!(answered >= asked + any);
    // And one that is gone from the store is gone by then.
    std::fs::remove_file(server.keys().join("a")).unwrap();
    let (last, gone) = until(&mut client, "a", 404).await;
    assert!(last < answered + any && gone >= read_again + any);
}

#[tokio::test]
async fn a_key_is_dropped_when_it_is_not_used() {
    let unused = Duration::from_millis(700);
    let server = server("{any: 1m, unused: 700ms}");
    let mut client = connect(&server).await;
    // A busy machine may make a pause of its own: then what was seen says nothing, and is tried again.
    for _ in 0..5 {
        store(&server, "a", AES);
        assert_eq!(which(&mut client, "a").await, AES.1);
        store(&server, "a", CHACHA);
        let begun = Instant::now();
        let mut used = begun;
        // In use it outlives its limit by far.
        let lapsed = loop {
            let now = Instant::now();
            let key = which(&mut client, "a").await;
            if used.elapsed() >= unused {
                break true;
            }
            assert_eq!(key, AES.1);
            if begun.elapsed() > 2 * unused {
                break false;
            }
            used = now;
            tokio::time::sleep(Duration::from_millis(60)).await;
        };
        tokio::time::sleep(unused).await;
        assert_eq!(which(&mut client, "a").await, CHACHA.1);
        tokio::time::sleep(unused).await;
        if !lapsed {
            return;
        }
    }
    panic!("this machine is too busy to tell");
}

#[tokio::test]
async fn an_absence_is_never_remembered_and_a_delete_is_seen_at_once() {
    let server = server("{any: 1m, unused: 1m, offline: 1m}");
    let mut client = connect(&server).await;
    let mut other = connect(&server).await;
    for round in 0..5 {
        for client in [&mut client, &mut other] {
            assert_failed(&describe(client, "a").await, 404, "key does not exist");
        }
        // By another process.
        let key = [AES, CHACHA][round % 2];
        store(&server, "a", key);
        for client in [&mut client, &mut other] {
            assert_eq!(which(client, "a").await, key.1);
        }
        let deleted = other.call("DELETE", "/v1/key/delete/a", Value::Null).await;
        assert_eq!(deleted.status, 200);
    }
    assert_failed(&describe(&mut client, "a").await, 404, "key does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_seen_by_every_instance() {
    let config = format!(
        "admin: {{identity: {}}}\nkeystore: {{fs: {{path: \"{{folder}}/keys\"}}}}",
        recorded("admin").identity()
    );
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(connect(&server).await);
    }
    for _ in 0..10 {
        store(&server, "a", AES);
        // All at once, so that several instances read it.
        let reads = clients.into_iter().map(|mut client| {
            tokio::spawn(async move {
                for _ in 0..5 {
                    assert_eq!(which(&mut client, "a").await, AES.1);
                }
                client
            })
        });
        let reads: Vec<_> = reads.collect();
        clients = Vec::new();
        for read in reads {
            clients.push(read.await.unwrap());
        }
        let first = clients.first_mut().unwrap();
        let deleted = first.call("DELETE", "/v1/key/delete/a", Value::Null).await;
        assert_eq!(deleted.status, 200);
        for client in &mut clients {
            assert_eq!(describe(client, "a").await.status, 404);
        }
    }
}

#[tokio::test]
async fn keys_outlive_an_absence_of_the_store_for_as_long_as_is_wanted() {
    let offline = Duration::from_millis(2500);
    let server = server("{any: 300ms, unused: 300ms, offline: 2500ms}");
    let mut client = connect(&server).await;
    store(&server, "a", AES);
    store(&server, "b", AES);
    let away = server.folder.path().join("away");
    let asked = Instant::now();
    assert_eq!(which(&mut client, "a").await, AES.1);
    let answered = Instant::now();
    std::fs::rename(server.keys(), &away).unwrap();
    // One that was not read before is not there.
    assert_failed(&describe(&mut client, "b").await, 502, "failed to read key");
    // Unused for longer than both other limits, and than the service takes to wipe what expired.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(which(&mut client, "a").await, AES.1);
    let (last, gone) = until(&mut client, "a", 502).await;
    assert!(last < answered + offline && gone >= asked + offline);
    assert_failed(&describe(&mut client, "a").await, 502, "failed to read key");

    // It comes back, and then what the store says counts, though the key is in memory.
    std::fs::rename(&away, server.keys()).unwrap();
    assert_eq!(which(&mut client, "a").await, AES.1);
    store(&server, "a", CHACHA);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(which(&mut client, "a").await, CHACHA.1);
    std::fs::remove_file(server.keys().join("a")).unwrap();
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_failed(&describe(&mut client, "a").await, 404, "key does not exist");
    std::fs::rename(server.keys(), &away).unwrap();
    assert_failed(&describe(&mut client, "a").await, 502, "failed to read key");
}

#[tokio::test]
async fn a_store_that_is_away_or_damaged_fails_its_requests_and_no_more() {
    let server = server("{any: 300ms, unused: 300ms}");
    let mut client = connect(&server).await;
    store(&server, "good", AES);
    let keys = server.keys();
    for (name, content) in [("empty", ""), ("text", "no key"), ("half", "CiQKIAABAgME")] {
        std::fs::write(keys.join(name), content).unwrap();
    }
    std::fs::create_dir(keys.join("folder")).unwrap();
    for name in ["empty", "text", "half", "folder"] {
        for (method, route, body) in [
            ("GET", "describe", Value::Null),
            ("PUT", "generate", Value::Null),
            ("PUT", "hmac", serde_json::json!({"message": "AAAA"})),
        ] {
            let answer = client
                .call(method, &format!("/v1/key/{route}/{name}"), body)
                .await;
            assert_failed(&answer, 502, "failed to read key");
        }
        let said = last_error(&server, name).await;
        assert!(said.contains("error: failed to read key"), "{said}");
    }
    // A value that is whole again is read again.
    store(&server, "half", CHACHA);
    assert_eq!(which(&mut client, "half").await, CHACHA.1);
    assert_eq!(which(&mut client, "good").await, AES.1);

    let away = server.folder.path().join("away");
    std::fs::rename(&keys, &away).unwrap();
    tokio::time::sleep(Duration::from_millis(350)).await;
    for (method, path, status, message) in [
        ("GET", "/v1/key/describe/good", 502, "failed to read key"),
        ("PUT", "/v1/key/create/new", 502, "failed to create key"),
        ("GET", "/v1/key/list/", 502, "failed to list keys"),
        ("DELETE", "/v1/key/delete/good", 502, "failed to delete key"),
        ("GET", "/v1/ready", 504, "key store is not reachable"),
    ] {
        let answer = client.call(method, path, Value::Null).await;
        assert_failed(&answer, status, message);
        // Each line says what failed, and at which path.
        let what = message
            .strip_prefix("key store")
            .map_or(message, |_| "key store");
        let said = last_error(&server, what).await;
        assert!(said.contains(keys.to_str().unwrap()), "{path}: {said}");
    }
    let status = client.call("GET", "/v1/status", Value::Null).await;
    assert_eq!(status.status, 200);
    assert_eq!(status.json()["keystore_unreachable"], true);
    assert_eq!(status.json()["keystore_unavailable"], true);
    assert!(!keys.exists(), "the server has made the directory anew");

    std::fs::rename(&away, &keys).unwrap();
    assert_eq!(
        client.call("GET", "/v1/ready", Value::Null).await.status,
        200
    );
    assert_eq!(which(&mut client, "good").await, AES.1);
    assert_eq!(
        client
            .call("PUT", "/v1/key/create/new", Value::Null)
            .await
            .status,
        200
    );
}
