//! What every store does when it is away, and one elsewhere when it is slow or lets the service not in: a part
//! of the suite for every key store (`stores.rs`).

use std::time::Duration;

use sealedge_tests::client::Client;
use sealedge_tests::openbao::OpenBao;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::rewrap::start;

/// A server whose keys are read anew again and again, with the key `trouble`.
async fn server(config: &str) -> Server {
    let server = start(&(config.to_owned() + "cache: {expiry: {any: 10ms, unused: 10ms}}\n"));
    assert_eq!(ask(&server, "PUT", "/v1/key/create/trouble").await, 200);
    server
}

async fn ask(server: &Server, method: &str, path: &str) -> u16 {
    let mut client = Client::admin(&server.address).await;
    client.call(method, path, Value::Null).await.status
}

async fn generate(server: &Server) -> u16 {
    // What is in memory has expired.
    tokio::time::sleep(Duration::from_millis(20)).await;
    ask(server, "PUT", "/v1/key/generate/trouble").await
}

/// It is away and comes back.
pub async fn away(config: &str, away: impl AsyncFnOnce(), back: impl AsyncFnOnce()) {
    let server = server(config).await;
    away().await;
    assert_eq!(generate(&server).await, 502);
    assert_eq!(ask(&server, "GET", "/v1/ready").await, 504);
    assert_eq!(ask(&server, "PUT", "/v1/key/create/other").await, 502);
    assert_eq!(ask(&server, "GET", "/v1/key/list/*").await, 502);
    assert_eq!(ask(&server, "DELETE", "/v1/key/delete/trouble").await, 502);
    back().await;
    assert_eq!(generate(&server).await, 200);
    assert_eq!(ask(&server, "GET", "/v1/ready").await, 200);
    assert_eq!(ask(&server, "DELETE", "/v1/key/delete/trouble").await, 200);
}

/// It takes its time, and then answers.
pub async fn slow(config: &str, bao: &OpenBao) {
    let server = server(config).await;
    bao.hang(true);
    let waits = tokio::spawn(async move { (generate(&server).await, server) });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!waits.is_finished());
    bao.hang(false);
    let (status, server) = waits.await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(ask(&server, "DELETE", "/v1/key/delete/trouble").await, 200);
}

/// It does not let the service do anything any more: no outage, and what it says counts.
pub async fn unauthorised(config: &str, bao: &OpenBao) {
    let server = server(config).await;
    bao.put("sys/policies/acl/sealedge", &json!({"policy": "# nothing"}))
        .await;
    for _ in 0..2 {
        assert_eq!(generate(&server).await, 502);
        assert_eq!(ask(&server, "GET", "/v1/key/list/*").await, 502);
    }
    assert_eq!(ask(&server, "GET", "/v1/ready").await, 200);
    server.wait_for_error("status 403");
}
