//! Answers that the client does not read, and bodies that the server does not.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sealedge_tests::client::{Client, Credentials, for_admin, recorded};
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

fn server(limits: &Value) -> Server {
    let program = Path::new(crate::SEALEDGE_WITH_FAULTS);
    Server::with_limits(program, limits, &for_admin("mem: {}"))
}

fn who(name: &str) -> Credentials {
    Credentials::of(&recorded(name))
}

/// A client by HTTP/2 whose answers come in so many bytes before they are read.
async fn with_window(server: &Server, window: u32) -> Client {
    Client::connect_with_window(&server.address, &who("admin"), window)
        .await
        .unwrap()
}

/// Begins to encrypt so many bytes: the body of the answer.
async fn begin_to_encrypt(client: &mut Client, length: usize) -> Incoming {
    let plaintext = STANDARD.encode(vec![0; length]);
    let body = json!({ "plaintext": plaintext }).to_string();
    let answer = client.begin("PUT", "/v1/key/encrypt/key", &[], body.into());
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_answer_ends_its_connection_whatever_else_goes_on_there() {
    let server = server(&json!({"send": 1000}));
    let mut admin = Client::admin(&server.address).await;
    let created = admin.call("PUT", "/v1/key/create/key", Value::Null).await;
    assert_eq!(created.status, 200);
    // One byte of the second one is taken, which leaves the rest to HTTP/2 itself.
    for (window, ended) in [(0, 1.0), (1, 2.0)] {
        let mut client = with_window(&server, window).await;
        let _unread = begin_to_encrypt(&mut client, 1000).await;
        let begun = Instant::now();
        // Answered by a head alone.
        while client.send("GET", "/v1/ready", &[], "").await.is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is kept");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let name = "kes_connection_refused_unread";
        assert_eq!(admin.figure(name).await, ended);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_read_slowly_is_read_to_its_end() {
    let server = server(&json!({"send": 4000}));
    let mut admin = Client::admin(&server.address).await;
    let created = admin.call("PUT", "/v1/key/create/key", Value::Null).await;
    assert_eq!(created.status, 200);
    let mut client = with_window(&server, 16 * 1024).await;
    let mut body = begin_to_encrypt(&mut client, 120_000).await;
    let begun = Instant::now();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().into_data().unwrap().len();
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    assert!(bytes > 160_000, "{bytes}");
    // All of it took longer than each piece may.
    assert!(begun.elapsed() > Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_are_among_what_may_be_held() {
    let limits = json!({"bytes": 50_000, "client_part": 1, "address_part": 1, "send": 600_000});
    let server = server(&limits);
    let mut admin = Client::admin(&server.address).await;
    // What is wrong with a name is said with the name.
    let path = format!("/v1/key/describe/{}", "a".repeat(10_000));
    for window in [0, 1] {
        let mut client = with_window(&server, window).await;
        let mut unread = Vec::new();
        for _ in 0..5 {
            let answer = client.begin("GET", &path, &[], Bytes::new()).await.unwrap();
            assert_eq!(answer.status(), 400);
            unread.push(answer);
        }
        let answer = admin.call("GET", "/version", Value::Null).await;
        assert_eq!(answer.status, 503);
        let why = "requests of this client may have 50000 bytes of bodies and unread answers";
        assert!(answer.message().contains(why), "{answer:?}");
        drop((client, unread));
        let begun = Instant::now();
        while admin.call("GET", "/version", Value::Null).await.status != 200 {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it is not given back"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The head of a request by HTTP/1.1 with so long a body.
fn head(path: &str, length: usize) -> String {
    format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_before_the_body_is_read_is_told_that_the_connection_ends() {
    let (open, busy) = (server(&json!({})), server(&json!({"requests": 0})));
    let length = 8 << 20;
    for (server, client, status) in [
        (&open, "stranger", 403),
        (&open, "admin", 400),
        (&busy, "admin", 503),
    ] {
        let mut raw = Raw::connect(&server.address, &who(client)).await;
        raw.send(head("/v1/key/encrypt/key", length)).await;
        let part = vec![b' '; 64 * 1024];
        for _ in 0..length / part.len() {
            raw.send(&part).await;
        }
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.connection.as_deref(), Some("close"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_the_body_was_read_ends_no_connection() {
    let server = server(&json!({}));
    for length in [0, 100, 100_000] {
        let mut raw = Raw::connect(&server.address, &who("admin")).await;
        raw.send(head("/v1/key/encrypt/key", length)).await;
        raw.send(vec![b' '; length]).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.connection, None, "{answer:?}");
    }
}
