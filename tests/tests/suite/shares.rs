//! What one client, and the clients at one address, may take of what there is for all.

use std::path::Path;
use std::sync::Arc;

use sealedge_tests::client::{Answer, Client, Credentials, config, for_admin, recorded, secure};
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

/// A server in which a client may have a quarter, and an address half.
fn server(limits: Value) -> Server {
    let app = recorded("app").identity();
    let policy = format!("policy: {{app: {{allow: [/v1/key/*], identities: [{app}]}}}}\n");
    let program = Path::new(crate::SEALEDGE_WITH_FAULTS);
    Server::with_limits(program, &limits, &(for_admin("mem: {}") + &policy))
}

fn who(name: &str) -> Credentials {
    Credentials::of(&recorded(name))
}

/// A client from this address of the machine's own.
async fn client(server: &Server, name: &str, from: &str) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let to = server.address.parse().unwrap();
    let stream = socket.connect(to).await.unwrap();
    let config = config(Some(&who(name)), rustls::DEFAULT_VERSIONS);
    let stream = secure(stream, Arc::new(config)).await.unwrap();
    Client::over(stream).await.unwrap()
}

/// Begins a request that takes a minute.
async fn hang(server: &Server, name: &str, key: usize, from: &str) -> JoinHandle<()> {
    let mut client = client(server, name, from).await;
    let path = format!("/v1/key/describe/hang-60-{key}");
    let asked = tokio::spawn(async move {
        let _ = client.send("GET", &path, &[], "").await;
    });
    server.wait_for_error(&format!("the read of hang-60-{key} begins"));
    asked
}

fn assert_busy(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    let message = answer.message();
    assert!(message.contains(why), "{message}");
}

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";

#[tokio::test(flavor = "multi_thread")]
async fn one_client_and_one_address_leave_room_for_others() {
    let server = server(json!({"requests": 8}));
    let mut admin = client(&server, "admin", HERE).await;
    for key in 0..4 {
        let path = format!("/v1/key/create/hang-60-{key}");
        assert_eq!(admin.call("PUT", &path, Value::Null).await.status, 200);
    }
    let mut hanging = Vec::new();
    for key in 0..2 {
        hanging.push(hang(&server, "admin", key, HERE).await);
    }
    // Wherever it comes from.
    for from in [HERE, ELSEWHERE] {
        let mut admin = client(&server, "admin", from).await;
        let answer = admin.call("GET", "/version", Value::Null).await;
        assert_busy(&answer, "2 requests of this client are under way");
    }
    for key in 2..4 {
        hanging.push(hang(&server, "app", key, HERE).await);
    }
    // A certificate of one's own is made in no time.
    let mut stranger = client(&server, "stranger", HERE).await;
    let answer = stranger.call("GET", "/version", Value::Null).await;
    assert_busy(&answer, "4 requests from this address are under way");
    let mut stranger = client(&server, "stranger", ELSEWHERE).await;
    let answer = stranger.call("GET", "/version", Value::Null).await;
    assert_eq!(answer.status, 200);
    hanging.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_of_one_client_leave_room_for_those_of_others() {
    let server = server(json!({"bytes": 400_000}));
    let mut admin = client(&server, "admin", HERE).await;
    let created = admin.call("PUT", "/v1/key/create/key", Value::Null).await;
    assert_eq!(created.status, 200);
    let path = "/v1/key/encrypt/key";
    let mut slow = Raw::connect(&server.address, &who("admin")).await;
    let head = format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 80000\r\n\r\n");
    slow.send(head + "{").await;
    let mut tries = 0;
    while admin.figure("kes_http_request_active").await < 2.0 {
        tries += 1;
        assert!(tries < 1000, "the slow one is not let in");
    }
    let body = r#"{"plaintext":"AAAA"}"#.to_owned() + &" ".repeat(30_000);
    let answer = admin.send("PUT", path, &[], body.clone()).await.unwrap();
    assert_busy(
        &answer,
        "requests of this client may have 100000 bytes of bodies and unread answers",
    );
    let mut app = client(&server, "app", HERE).await;
    let answer = app.send("PUT", path, &[], body).await.unwrap();
    assert_eq!(answer.status, 200);
}
