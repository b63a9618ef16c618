//! More than the server takes at a time, and what it cuts when it stops.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sealedge_tests::client::{Answer, Client, Credentials, for_admin, recorded};
use sealedge_tests::frames::{Frames, PREFACE, SETTINGS};
use sealedge_tests::raw::Raw;
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

fn server(limits: &Value) -> Server {
    server_with(limits, "")
}

/// The same with more lines of configuration.
fn server_with(limits: &Value, more: &str) -> Server {
    let program = Path::new(crate::SEALEDGE_WITH_FAULTS);
    Server::with_limits(program, limits, &(for_admin("mem: {}") + more))
}

async fn create(client: &mut Client, name: &str) -> Answer {
    let path = format!("/v1/key/create/{name}");
    client.call("PUT", &path, Value::Null).await
}

async fn generate(client: &mut Client, name: &str) -> Answer {
    let path = format!("/v1/key/generate/{name}");
    client.call("PUT", &path, Value::Null).await
}

/// Keys whose reads take so many seconds.
async fn slow_keys(client: &mut Client, seconds: u32, count: usize) -> Vec<String> {
    let names = (0..count).map(|at| format!("hang-{seconds}-{at}"));
    let names: Vec<String> = names.collect();
    for name in &names {
        assert_eq!(create(client, name).await.status, 200);
    }
    names
}

/// Generates a DEK of each of the keys, on a connection of its own beside the test. There is no answer
/// if the connection ends.
async fn generate_beside(server: &Server, names: &[String]) -> Vec<JoinHandle<Option<Answer>>> {
    let mut waiting = Vec::new();
    for name in names {
        let mut client = Client::admin(&server.address).await;
        let path = format!("/v1/key/generate/{name}");
        let answer = async move { client.send("PUT", &path, &[], "").await.ok() };
        waiting.push(tokio::spawn(answer));
    }
    waiting
}

fn assert_busy(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert_eq!(answer.content_type.as_deref(), Some("application/json"));
    let message = answer.message();
    let expected = format!("the server is busy: {why}, try again later");
    assert_eq!(message, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_are_closed_until_there_is_room() {
    let server = server(&json!({"connections": 3}));
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::admin(&server.address).await);
    }
    let who = Credentials::of(&recorded("admin"));
    for _ in 0..2 {
        let more = Client::connect(&server.address, Some(&who)).await;
        assert!(more.is_err(), "a fourth connection is served");
    }
    let refused = "kes_connection_refused_limit";
    let mut client = clients.pop().unwrap();
    assert_eq!(client.figure(refused).await, 2.0);
    drop(client);
    let mut tries = 0;
    while Client::connect(&server.address, Some(&who)).await.is_err() {
        tries += 1;
        assert!(tries < 1000, "there is no room again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A server in a shell that has done this first.
fn server_after(script: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let config = for_admin("fs: {path: \"{folder}/keys\"}");
    let program = Path::new(crate::SEALEDGE_WITH_FAULTS);
    let plain = Server::command(program, folder.path(), "", &config);
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{script}; exec \"$@\""), "bash"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .env("TEST_LIMITS", json!({"head": 60_000}).to_string());
    Server::run(command, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_may_have_as_many_files_open_as_the_hard_limit_says() {
    let server = server_after("ulimit -Sn 64");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let figures: Vec<&str> = line.unwrap().split_whitespace().collect();
    let [.., soft, hard, _] = figures.as_slice() else {
        panic!("{figures:?}")
    };
    assert_eq!(soft, hard);
    assert_ne!(*soft, "64");
}

/// Whether the server has not closed a connection on which nothing was said.
fn is_open(stream: &TcpStream) -> bool {
    stream
        .try_read(&mut [0; 1])
        .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_file_descriptors_to_the_key_store() {
    let server = server_after("ulimit -n 100");
    let mut client = Client::admin(&server.address).await;
    let mut open = Vec::new();
    for _ in 0..120 {
        open.push(TcpStream::connect(&server.address).await.unwrap());
    }
    // Half of the files are for connections, of which the client has one.
    for _ in 0..1000 {
        open.retain(is_open);
        if open.len() == 49 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(open.len(), 49);
    assert_eq!(create(&mut client, "key").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_beyond_the_bound_are_told_to_try_later() {
    let server = server(&json!({"requests": 4, "client_part": 1, "address_part": 1}));
    let mut client = Client::admin(&server.address).await;
    let who = Credentials::of(&recorded("admin"));
    let mut two = Client::connect_http2(&server.address, Some(&who))
        .await
        .unwrap();
    let names = slow_keys(&mut client, 4, 4).await;
    let waiting = generate_beside(&server, &names).await;
    for name in &names {
        server.wait_for_error(&format!("the read of {name} begins"));
    }
    for client in [&mut client, &mut two] {
        let answer = client.call("GET", "/version", Value::Null).await;
        assert_busy(&answer, "4 requests of this client are under way");
    }
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().status, 200);
    }
    assert_eq!(generate(&mut client, "hang-4-0").await.status, 200);
    let failed = client
        .figure("kes_http_request_failure{code=\"503\"}")
        .await;
    assert_eq!(failed, 2.0);
    // Only the one that asks for it.
    assert_eq!(client.figure("kes_http_request_active").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_counts_for_as_long_as_it_is_held_even_if_its_client_is_gone() {
    let server = server(&json!({"requests": 2, "client_part": 1, "address_part": 1}));
    let mut client = Client::admin(&server.address).await;
    let names = slow_keys(&mut client, 8, 2).await;
    for (name, waiting) in names.iter().zip(generate_beside(&server, &names).await) {
        server.wait_for_error(&format!("the read of {name} begins"));
        waiting.abort();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!server.errors().contains("ends"), "too slow a machine");
    let answer = client.call("GET", "/version", Value::Null).await;
    assert_busy(&answer, "2 requests of this client are under way");
    for name in &names {
        server.wait_for_error(&format!("the read of {name} ends"));
    }
    let mut tries = 0;
    while client.call("GET", "/version", Value::Null).await.status != 200 {
        tries += 1;
        assert!(tries < 1000, "nothing was given back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_bound_are_told_to_try_later() {
    let server = server(&json!({"bytes": 100_000, "client_part": 1, "address_part": 1}));
    let mut client = Client::admin(&server.address).await;
    assert_eq!(create(&mut client, "key").await.status, 200);
    let encrypt = |length: usize| {
        let begin = "{\"plaintext\":\"AAAA\"";
        let rest = length - begin.len() - 1;
        format!("{begin}{}}}", " ".repeat(rest))
    };
    let head = |framing: &str| {
        format!("PUT /v1/key/encrypt/key HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n")
    };
    let who = Credentials::of(&recorded("admin"));
    let mut slow = Raw::connect(&server.address, &who).await;
    let body = encrypt(80_000);
    let (first, second) = body.split_at(40_000);
    slow.send(head("content-length: 80000")).await;
    slow.send(first).await;
    let path = "/v1/key/encrypt/key";
    let why = "requests of this client may have 100000 bytes of bodies and unread answers";
    // Until the head of the first one has come; one of them is the request that asks.
    let mut tries = 0;
    while client.figure("kes_http_request_active").await < 2.0 {
        tries += 1;
        assert!(tries < 1000, "the first one is not let in");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = client
        .send("PUT", path, &[], encrypt(40_000))
        .await
        .unwrap();
    assert_busy(&answer, why);
    // One of no known length could be as long as any.
    let mut unknown = Raw::connect(&server.address, &who).await;
    unknown.send(head("transfer-encoding: chunked")).await;
    assert_busy(&unknown.answer().await.unwrap(), why);
    // A small one has room.
    let mut client = Client::admin(&server.address).await;
    let answer = client.send("PUT", path, &[], encrypt(1000)).await.unwrap();
    assert_eq!(answer.status, 200);
    slow.send(second).await;
    assert_eq!(slow.answer().await.unwrap().status, 200);
    let answer = client
        .send("PUT", path, &[], encrypt(40_000))
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_store_that_hangs_leaves_threads_to_the_rest() {
    let limit = "api: {/v1/key/generate: {timeout: 120s}}\n";
    let server = server_with(&json!({}), limit);
    let mut client = Client::admin(&server.address).await;
    // More than the runtime has threads for blocking work, if nobody tells it otherwise.
    let names = slow_keys(&mut client, 120, 560).await;
    let waiting = generate_beside(&server, &names).await;
    let begun = || server.errors().matches(" begins").count();
    for _ in 0..3000 {
        if begun() >= 256 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(begun(), 256);
    // The figures of all instances are added up by such a thread.
    for _ in 0..20 {
        let answer = client.call("GET", "/v1/metrics", Value::Null).await;
        assert_eq!(answer.status, 200);
    }
    assert!(waiting.iter().all(|answer| !answer.is_finished()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_nobody_waits_for_any_more_is_not_begun() {
    let limit = "api: {/v1/key/generate: {timeout: 300ms}}\n";
    let server = server_with(&json!({"store": 1}), limit);
    let mut client = Client::admin(&server.address).await;
    for name in ["hang-3-x", "hang-0-y", "sound"] {
        assert_eq!(create(&mut client, name).await.status, 200);
    }
    for name in ["hang-3-x", "hang-0-y"] {
        assert_eq!(generate(&mut client, name).await.status, 504);
    }
    server.wait_for_error("the read of hang-3-x ends");
    assert_eq!(generate(&mut client, "sound").await.status, 200);
    let said = server.errors();
    assert!(!said.contains("read of hang-0-y begins"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_says_what_it_cuts_off() {
    let server = server(&json!({"grace": 500}));
    let mut client = Client::admin(&server.address).await;
    let names = slow_keys(&mut client, 30, 3).await;
    let waiting = generate_beside(&server, &names).await;
    for name in &names {
        server.wait_for_error(&format!("the read of {name} begins"));
    }
    server.signal("TERM");
    let (code, _, errors) = server.wait();
    assert_eq!(code, Some(0), "{errors}");
    let said = "stopped: cut off 3 requests in flight on 3 connections";
    assert!(errors.contains(said), "{errors}");
    for answer in waiting {
        // None, unless it was faster than the end.
        let answer = answer.await.unwrap();
        assert!(answer.is_none_or(|answer| answer.status == 500));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_hang_up_do_not_hold_up_the_end() {
    let server = server(&json!({"head": 300, "grace": 600_000}));
    let who = Credentials::of(&recorded("admin"));
    let mut two = Frames::connect(&server.address, &who).await;
    two.send(PREFACE).await;
    two.frame(SETTINGS, 0, 0, &[]).await;
    two.get_version(1).await;
    while two.next().await != Some(0) {}
    let mut one = Raw::connect(&server.address, &who).await;
    one.send("GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert_eq!(one.answer().await.unwrap().status, 200);
    server.signal("TERM");
    let (code, _, errors) = server.wait();
    assert_eq!(code, Some(0), "{errors}");
    assert!(!errors.contains("cut off"), "{errors}");
}
