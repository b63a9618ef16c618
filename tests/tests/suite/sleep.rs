//! Connections by HTTP/1.1 on which nothing happens: they sleep, and cost little.

use std::path::Path;
use std::time::Duration;

use sealedge_tests::client::{Credentials, for_admin, recorded};
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

const VERSION: &str = "GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A request with a body.
const HMAC: &str = "PUT /v1/key/hmac/my-key HTTP/1.1\r\nhost: localhost\r\n\
                    content-length: 18\r\n\r\n{\"message\":\"AAEC\"}";

fn server(limits: &Value) -> Server {
    let config = for_admin("mem: {}") + "keys: [{name: my-key}]\n";
    Server::with_limits(Path::new(crate::SEALEDGE_WITH_FAULTS), limits, &config)
}

fn admin() -> Credentials {
    Credentials::of(&recorded("admin"))
}

/// Longer than a connection is quiet here before it sleeps.
async fn for_a_while() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_slept_goes_on() {
    let server = server(&json!({"quiet": 50, "head": 20_000}));
    let mut raw = Raw::connect(&server.address, &admin()).await;
    for request in [VERSION, HMAC, HMAC, VERSION] {
        raw.send(request).await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
        for_a_while().await;
    }
    // A head that had begun is not lost.
    let (half, rest) = VERSION.split_at(20);
    raw.send(VERSION.to_owned() + half).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    for_a_while().await;
    raw.send(rest).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_sleeps_ends_when_it_is_idle_for_too_long() {
    let server = server(&json!({"quiet": 50, "idle": 1500}));
    let mut raw = Raw::connect(&server.address, &admin()).await;
    raw.send(VERSION).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    assert_eq!(raw.answer().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_sleeps_does_not_hold_up_the_end_of_the_server() {
    let server = server(&json!({"quiet": 50, "grace": 600_000}));
    let mut raw = Raw::connect(&server.address, &admin()).await;
    raw.send(VERSION).await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    for_a_while().await;
    server.signal("TERM");
    assert_eq!(raw.answer().await, None);
    assert_eq!(server.wait().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_began_with_the_request_before_it_is_awaited_no_longer_than_others() {
    let server = server(&json!({"quiet": 50, "head": 500}));
    let mut raw = Raw::connect(&server.address, &admin()).await;
    raw.send(VERSION.to_owned() + "GET /").await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    assert_eq!(raw.answer().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_sleeps_costs_less_than_24_kib() {
    const COUNT: u64 = 1000;
    let server = server(&json!({"quiet": 20}));
    let mut connections = Vec::new();
    let mut before = 0;
    // The first ones fill what is there once.
    for at in 0..COUNT + 200 {
        if at == 200 {
            before = server.figure("VmRSS");
        }
        let mut raw = Raw::connect(&server.address, &admin()).await;
        raw.send(HMAC).await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
        connections.push(raw);
    }
    let each = (server.figure("VmRSS") - before) / COUNT;
    assert!(each < 24, "{each} KiB");
}
