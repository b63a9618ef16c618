//! What is in the memory of a running server, and what may leave it.
//!
//! The server is the one with faults, which lets its memory be read: the program itself forbids that.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealedge_tests::client::{Answer, Client, Credentials, for_admin, recorded};
use sealedge_tests::memory::{Found, Needle, search};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};

fn server(keystore: &str, more: &str) -> Server {
    let config = for_admin(keystore) + more;
    Server::start(Path::new(crate::SEALEDGE_WITH_FAULTS), "", &config)
}

/// Bytes that are nowhere else.
fn secret(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut random = File::open("/dev/urandom").unwrap();
    random.read_exact(&mut bytes).unwrap();
    bytes
}

/// How secret bytes may lie in memory. Eight of them are enough to be recognised, and are as much
/// as a register leaves that was saved.
fn traces(bytes: &[u8]) -> Vec<Needle> {
    let text = STANDARD.encode(bytes);
    let parts = bytes
        .chunks_exact(8)
        .map(|part| ("bytes".to_owned(), part.to_vec()));
    // The last four characters may be different where the bytes are a part of something.
    let texts = [0, text.len() - 20].map(|at| text.as_bytes()[at..at + 16].to_vec());
    let texts = texts.map(|text| ("base64".to_owned(), text));
    parts.chain(texts).collect()
}

/// The same of a key, and its stored form: base64 of a message that begins with the key.
fn traces_of_key(key: &[u8]) -> Vec<Needle> {
    let message = [&[0x0a, 0x24, 0x0a, 0x20], key].concat();
    let text = STANDARD.encode(message).into_bytes();
    let stored = [16, 32].map(|at| ("stored".to_owned(), text[at..at + 16].to_vec()));
    traces(key).into_iter().chain(stored).collect()
}

fn in_guest(server: &Server, needles: &[Needle]) -> Vec<Found> {
    let mut found = search(server.id(), needles);
    found.retain(|found| found.in_guest);
    found
}

/// Shows that the search finds what is there: all of a key that is cached.
fn assert_cached(server: &Server, key: &[u8]) {
    let needles: Vec<Needle> = key
        .chunks_exact(8)
        .map(|part| (format!("{part:?}"), part.to_vec()))
        .collect();
    let names: BTreeSet<String> = in_guest(server, &needles)
        .into_iter()
        .map(|found| found.name)
        .collect();
    assert_eq!(names.len(), needles.len(), "the search finds no cached key");
}

/// Searches until there is nothing to be found: a server learns a moment later that a client is gone.
fn assert_gone(server: &Server, needles: &[Needle], what: &str) {
    let begun = Instant::now();
    loop {
        let found = search(server.id(), needles);
        if found.is_empty() {
            return;
        }
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(20), "{what}: {found:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

async fn connect(server: &Server, http2: bool) -> Client {
    let credentials = Credentials::of(&recorded("admin"));
    if http2 {
        Client::connect_http2(&server.address, Some(&credentials)).await
    } else {
        Client::connect(&server.address, Some(&credentials)).await
    }
    .unwrap()
}

async fn import(client: &mut Client, name: &str, key: &[u8]) {
    let body = json!({"key": STANDARD.encode(key), "cipher": "AES256"});
    let path = format!("/v1/key/import/{name}");
    assert_eq!(client.call("PUT", &path, body).await.status, 200);
}

async fn generate(client: &mut Client, name: &str) -> Answer {
    let path = format!("/v1/key/generate/{name}");
    let answer = client.call("PUT", &path, json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// Uses a key by many clients at once, so that every instance has it. They go before this returns.
async fn use_everywhere(server: &Server, name: &'static str) {
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..8 {
        let mut client = connect(server, at % 2 == 1).await;
        tasks.spawn(async move {
            for _ in 0..10 {
                generate(&mut client, name).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

async fn a_deleted_key_is_nowhere(keystore: &str) {
    let server = server(keystore, "");
    for http2 in [false, true] {
        let key = secret(32);
        let mut traces = traces_of_key(&key);
        let mut client = connect(&server, http2).await;
        import(&mut client, "a", &key).await;
        let mut secrets = vec![key.clone()];
        if let Ok(stored) = std::fs::read(server.keys().join("a")) {
            // Its key for HMAC, which the server has made: 42 bytes into the message.
            secrets.push(STANDARD.decode(stored).unwrap()[42..74].to_vec());
            traces.extend(self::traces(&secrets[1]));
        }
        let found = in_guest(&server, &traces);
        assert!(found.is_empty(), "an imported key stays: {found:#?}");
        use_everywhere(&server, "a").await;
        let summed = client.call("PUT", "/v1/key/hmac/a", json!({"message": "eA=="}));
        assert_eq!(summed.await.status, 200);
        for secret in &secrets {
            assert_cached(&server, secret);
        }
        let deleted = client.call("DELETE", "/v1/key/delete/a", Value::Null);
        assert_eq!(deleted.await.status, 200);
        let found = in_guest(&server, &traces);
        assert!(found.is_empty(), "a deleted key stays: {found:#?}");
        // What came and went over a connection that is still there may be in its buffers.
        drop(client);
        assert_gone(&server, &traces, "a deleted key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_deleted_from_files_is_nowhere_in_memory() {
    a_deleted_key_is_nowhere("fs: {path: '{folder}/keys'}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_deleted_from_memory_is_nowhere_in_it() {
    a_deleted_key_is_nowhere("mem: {}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_time_is_over_is_nowhere_in_memory() {
    let server = server(
        "fs: {path: '{folder}/keys'}",
        "cache: {expiry: {any: 4s, unused: 1h}}\n",
    );
    let key = secret(32);
    let mut client = connect(&server, false).await;
    import(&mut client, "a", &key).await;
    drop(client);
    use_everywhere(&server, "a").await;
    assert_cached(&server, &key);
    // Nobody asks for it any more: it is wiped all the same.
    assert_gone(&server, &traces_of_key(&key), "a key that is too old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dek_that_was_answered_is_nowhere_in_memory() {
    let server = server("fs: {path: '{folder}/keys'}", "");
    let key = secret(32);
    for http2 in [false, true] {
        let name = if http2 { "b" } else { "a" };
        let mut client = connect(&server, http2).await;
        import(&mut client, name, &key).await;
        let mut traces_of_all = Vec::new();
        for _ in 0..20 {
            let dek = generate(&mut client, name).await.json();
            let plaintext = STANDARD.decode(dek["plaintext"].as_str().unwrap()).unwrap();
            traces_of_all.extend(traces(&plaintext));
            let body = json!({"ciphertext": dek["ciphertext"]});
            let path = format!("/v1/key/decrypt/{name}");
            let opened = client.call("PUT", &path, body).await.json();
            assert_eq!(opened["plaintext"], dek["plaintext"]);
        }
        assert_cached(&server, &key);
        let found = in_guest(&server, &traces_of_all);
        assert!(found.is_empty(), "a DEK stays: {found:#?}");
        if http2 {
            // The library for HTTP/2 keeps the last answer of a connection until the next one.
            drop(client);
        }
        assert_gone(&server, &traces_of_all, "a DEK");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plaintext_that_was_encrypted_is_nowhere_in_memory() {
    let server = server("mem: {}", "");
    for http2 in [false, true] {
        // The second is read after the call has begun, by another way.
        for length in [32, 40_000] {
            let plaintext = secret(length);
            let mut client = connect(&server, http2).await;
            client.call("PUT", "/v1/key/create/a", Value::Null).await;
            let body = json!({"plaintext": STANDARD.encode(&plaintext)});
            let sealed = client.call("PUT", "/v1/key/encrypt/a", body).await;
            assert_eq!(sealed.status, 200, "{sealed:?}");
            let path = "/v1/key/decrypt/a";
            let opened = client.call("PUT", path, sealed.json()).await.json();
            assert_eq!(opened["plaintext"], STANDARD.encode(&plaintext));
            // Of the beginning and of the end.
            let ends = [&plaintext[..24], &plaintext[length / 3 * 3 - 24..]];
            let needles: Vec<Needle> = ends.into_iter().flat_map(traces).collect();
            let found = in_guest(&server, &needles);
            assert!(found.is_empty(), "a plaintext stays: {found:#?}");
            drop(client);
            assert_gone(&server, &needles, "a plaintext");
        }
    }
}

#[test]
fn no_core_is_dumped_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let program = Path::new(crate::SEALEDGE);
    let server = Server::start_in(program, folder, "", &for_admin("mem: {}"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);
}

/// The command that runs a program under this limit to what it may lock.
fn limited(limit: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--memlock={limit}"));
    command
}

/// Whether a program that is run so can be run.
fn works(mut command: Command) -> bool {
    command.arg("true").stderr(Stdio::null());
    command.status().unwrap().success()
}

/// A server that is run so, once it has answered; how many KiB it has locked.
async fn locked_by_server(mut command: Command) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let program = Path::new(crate::SEALEDGE);
    let plain = Server::command(program, folder.path(), "", &for_admin("mem: {}"));
    command.arg(plain.get_program()).args(plain.get_args());
    let server = Server::run(command, folder);
    let mut client = Client::admin(&server.address).await;
    let answer = client.call("GET", "/v1/status", Value::Null).await;
    assert_eq!(answer.status, 200);
    server.figure("VmLck")
}

#[tokio::test]
async fn a_server_whose_locked_memory_is_limited_locks_none_and_works() {
    // More than it has at its start and less than the addresses of an instance, if that may be set.
    let limit = ["1073741824", "65536"]
        .into_iter()
        .find(|limit| works(limited(limit)));
    let mut command = limited(limit.unwrap());
    let mut unprivileged = Command::new("setpriv");
    unprivileged.arg("--bounding-set=-ipc_lock");
    if works(unprivileged) {
        command.args(["setpriv", "--bounding-set=-ipc_lock"]);
    }
    assert_eq!(locked_by_server(command).await, 0);
}

#[tokio::test]
async fn a_server_that_may_lock_its_memory_does() {
    let command = if works(limited("unlimited")) {
        limited("unlimited")
    } else if is_privileged() {
        Command::new("env")
    } else {
        eprintln!("not shown that memory is locked: this user may not");
        return;
    };
    assert_ne!(locked_by_server(command).await, 0);
}

/// Whether this process has CAP_IPC_LOCK, outside of any user namespace.
fn is_privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let all: Vec<&str> = users.split_whitespace().collect();
    capabilities >> 14 & 1 == 1 && all == ["0", "0", "4294967295"]
}
