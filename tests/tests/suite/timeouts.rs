//! Clients that take too long: each is closed, and counted.

use std::path::Path;
use std::time::Duration;

use sealedge_tests::client::{Client, Credentials, for_admin, recorded};
use sealedge_tests::frames::{DATA, Frames, GOAWAY, PREFACE, SETTINGS};
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const VERSION: &str = "GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn server(limits: &Value) -> Server {
    let program = Path::new(crate::SEALEDGE_WITH_FAULTS);
    Server::with_limits(program, limits, &for_admin("mem: {}"))
}

fn admin() -> Credentials {
    Credentials::of(&recorded("admin"))
}

/// How many connections were refused or cut off for this reason.
async fn refused(server: &Server, reason: &str) -> f64 {
    let mut client = Client::admin(&server.address).await;
    let name = format!("kes_connection_refused_{reason}");
    client.figure(&name).await
}

/// Waits until so many connections were cut off for this reason.
async fn wait_for_refusals(server: &Server, reason: &str, count: f64) {
    for _ in 0..600 {
        if refused(server, reason).await >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(refused(server, reason).await, count, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_go_on_is_ended() {
    let server = server(&json!({"head": 1000}));
    let mut silent = TcpStream::connect(&server.address).await.unwrap();
    let mut bytes = [0; 16];
    let read = silent.read(&mut bytes);
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    assert_eq!(read.expect("it is not closed").unwrap_or_default(), 0);
    wait_for_refusals(&server, "handshake_timeout", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_ends_its_connection() {
    let server = server(&json!({"head": 1000}));
    let who = admin();
    let half = VERSION.get(..20).unwrap();
    for sent in ["", half] {
        let mut raw = Raw::connect(&server.address, &who).await;
        raw.send(sent).await;
        assert_eq!(raw.answer().await, None, "{sent}");
    }
    // Not even if a little of it comes again and again.
    let mut raw = Raw::connect(&server.address, &who).await;
    raw.send("GET /").await;
    let mut bytes = 0;
    while refused(&server, "head_timeout").await < 3.0 {
        raw.send("a").await;
        bytes += 1;
        assert!(bytes < 2000, "it is not closed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Nor on a connection that has had requests, which could be idle for long.
    let mut raw = Raw::connect(&server.address, &who).await;
    raw.send(VERSION).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    raw.send(half).await;
    assert_eq!(raw.answer().await, None);
    wait_for_refusals(&server, "head_timeout", 4.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_without_a_request_is_ended() {
    let server = server(&json!({"head": 1000}));
    let who = admin();
    for sent in [0, 10, PREFACE.len()] {
        let mut frames = Frames::connect(&server.address, &who).await;
        frames.send(PREFACE.get(..sent).unwrap()).await;
        if sent == PREFACE.len() {
            frames.frame(SETTINGS, 0, 0, &[]).await;
        }
        frames.rest().await;
    }
    wait_for_refusals(&server, "head_timeout", 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_but_later_than_one_whose_head_is_late() {
    let server = server(&json!({"head": 500, "idle": 4000}));
    let who = admin();
    let mut one = Raw::connect(&server.address, &who).await;
    let mut two = Frames::connect(&server.address, &who).await;
    two.send(PREFACE).await;
    two.frame(SETTINGS, 0, 0, &[]).await;
    for round in 0..2_u32 {
        one.send(VERSION).await;
        assert_eq!(one.answer().await.unwrap().status, 200);
        two.get_version(2 * round + 1).await;
        while two.next().await != Some(DATA) {}
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    assert_eq!(one.answer().await, None);
    // By HTTP/2 a client is told, so that it does not send a request that is lost.
    assert!(two.rest().await.contains(&GOAWAY));
    // To be idle is no fault.
    for reason in ["head_timeout", "unread", "http2"] {
        assert_eq!(refused(&server, reason).await, 0.0, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_with_a_request_under_way_is_not_idle() {
    let server = server(&json!({"head": 200, "idle": 200, "send": 200}));
    let who = admin();
    let mut client = Client::admin(&server.address).await;
    for name in ["hang-3-x", "hang-3-y"] {
        let path = format!("/v1/key/create/{name}");
        assert_eq!(client.call("PUT", &path, Value::Null).await.status, 200);
    }
    let mut two = Client::connect_http2(&server.address, Some(&who))
        .await
        .unwrap();
    let (one, two) = tokio::join!(
        client.call("PUT", "/v1/key/generate/hang-3-x", Value::Null),
        two.call("PUT", "/v1/key/generate/hang-3-y", Value::Null),
    );
    assert_eq!((one.status, two.status), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_answer_holds_no_connection() {
    let server = server(&json!({"send": 500}));
    let who = admin();
    // Answers as long as the names, until no buffer has room for more.
    let name = "a".repeat(50_000);
    let request = format!("PUT /v1/key/create/{name} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut raw = Raw::connect(&server.address, &who).await;
    let sending = tokio::spawn(async move {
        for _ in 0..2000 {
            raw.send(&request).await;
        }
        raw
    });
    wait_for_refusals(&server, "unread", 1.0).await;
    sending.await.unwrap();

    // By HTTP/2 a client need not even stop reading: it gives its streams no window.
    let mut frames = Frames::connect(&server.address, &who).await;
    frames.send(PREFACE).await;
    frames.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    // Acknowledges the server's, so that ours are in force.
    frames.frame(SETTINGS, 1, 0, &[]).await;
    frames.get_version(1).await;
    assert!(!frames.rest().await.contains(&DATA));
    wait_for_refusals(&server, "unread", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_answered_and_its_client_is_named() {
    let config = for_admin("mem: {}") + "api: {/v1/key/encrypt: {timeout: 1500ms}}\n";
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
    let mut raw = Raw::connect(&server.address, &admin()).await;
    let path = "/v1/key/encrypt/key";
    raw.send(format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{"
    ))
    .await;
    let answer = raw.answer().await.unwrap();
    assert_eq!(answer.status, 504);
    assert_eq!(answer.connection.as_deref(), Some("close"));
    let who = recorded("admin").identity();
    let line = format!("the request took too long: {path:?} for {who} at 127.0.0.1");
    server.wait_for_error(&line);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_and_no_http_is_counted() {
    // A handshake fails that has no certificate.
    let server = Server::start(
        Path::new(crate::SEALEDGE),
        "",
        &(for_admin("mem: {}") + "auth: {signatures: off}\n"),
    );
    let who = admin();
    for failed in 1..=3 {
        let outcome = async {
            let mut client = Client::connect(&server.address, None).await?;
            client.send("GET", "/version", &[], "").await
        };
        assert!(outcome.await.is_err(), "no certificate is needed");
        wait_for_refusals(&server, "handshake", f64::from(failed)).await;
    }
    // One line for now, however many fail.
    let line = server.wait_for_error("the TLS handshake with 127.0.0.1 failed: ");
    assert!(line.contains("peer sent no certificates"), "{line}");
    assert_eq!(server.errors().matches("the TLS handshake").count(), 1);
    // A client that only looks whether somebody listens is none that was refused.
    drop(TcpStream::connect(&server.address).await.unwrap());

    let (path, head) = ("a".repeat(100_000), "a".repeat(1_000_000));
    for (sent, status) in [
        ("no http\r\n\r\n".to_owned(), 400),
        (format!("GET /{path} HTTP/1.1\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\na: {head}\r\n\r\n"), 431),
    ] {
        let mut raw = Raw::connect(&server.address, &who).await;
        raw.send(sent).await;
        let answer = raw.answer().await.map(|answer| answer.status);
        assert_eq!(answer, Some(status));
    }
    wait_for_refusals(&server, "head", 3.0).await;

    let mut frames = Frames::connect(&server.address, &who).await;
    frames.send(PREFACE).await;
    // Data on a stream that there is not.
    frames.frame(SETTINGS, 0, 0, &[]).await;
    frames.frame(DATA, 0, 7, b"data").await;
    assert!(frames.rest().await.contains(&GOAWAY));
    wait_for_refusals(&server, "http2", 1.0).await;
    wait_for_refusals(&server, "handshake", 3.0).await;
}
