//! What a client of `sealedge proxy` can do to the others, who share its connection to the server.

use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealedge_tests::client::{Client, Credentials, recorded};
use sealedge_tests::frames::{Frames, PREFACE, SETTINGS};
use sealedge_tests::log_stream::LogStream;
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::local_proxy::{Relay, SELF, call, command, command_of, run, upstream};

const RST_STREAM: u8 = 3;

fn who(name: &str) -> Credentials {
    Credentials::of(&recorded(name))
}

/// A proxy with these limits.
fn limited(upstream: &Server, limits: &Value, arguments: &[&str]) -> Server {
    let url = format!("https://{}", upstream.address);
    let mut command: Command = command_of(crate::SEALEDGE_WITH_FAULTS, "admin", &url);
    command
        .env("SSL_CERT_FILE", upstream.folder.path().join("server.cert"))
        .env("TEST_LIMITS", limits.to_string());
    run(command, arguments)
}

/// A proxy behind which connections are counted, and a log that is read through it.
async fn watched(upstream: &Server) -> (Relay, Server, LogStream) {
    let relay = Relay::to(&upstream.address).await;
    let proxy = run(command("admin", upstream, &relay.address), &[]);
    let log = LogStream::of(&mut Client::admin(&proxy.address).await, "audit").await;
    (relay, proxy, log)
}

/// Sees that nothing has become of the log.
async fn is_still_read(proxy: &Server, mut log: LogStream) {
    let mut admin = Client::admin(&proxy.address).await;
    let created = call(&mut admin, "PUT", "/v1/key/create/last").await;
    assert_eq!(created.status, 200, "{created:?}");
    log.of_path("/v1/key/create/last").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_head_goes_no_further() {
    let upstream = upstream();
    let (relay, proxy, log) = watched(&upstream).await;
    let mut nobody = Client::connect(&proxy.address, None).await.unwrap();
    let mut admin = Client::admin(&proxy.address).await;
    let long = "a".repeat(100_000);
    for client in [&mut nobody, &mut admin] {
        for (method, path, agent) in [
            ("GET", "/version", &*long),
            ("GET", &format!("/{}", &long[..50_000]), ""),
            (&long, "/version", ""),
        ] {
            let headers = [("user-agent", agent)];
            let answer = client.send(method, path, &headers, "").await.unwrap();
            assert_eq!(answer.status, 431);
            assert!(answer.message().contains("16384 bytes"), "{answer:?}");
        }
    }
    is_still_read(&proxy, log).await;
    assert_eq!(relay.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_shown_nothing_does_not_share_the_connection() {
    let upstream = upstream();
    let (relay, proxy, log) = watched(&upstream).await;
    for _ in 0..3 {
        let mut nobody = Client::connect(&proxy.address, None).await.unwrap();
        let answer = call(&mut nobody, "GET", "/version").await;
        assert_eq!(answer.status, 200);
    }
    is_still_read(&proxy, log).await;
    assert_eq!(relay.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_shown_nothing_leaves_room_for_the_others() {
    let upstream = upstream();
    let proxy = limited(&upstream, &json!({"connections": 8}), &[]);
    let mut kept = Vec::new();
    for index in 0..8 {
        let mut nobody = Client::connect(&proxy.address, None).await.unwrap();
        let answer = nobody.send("GET", "/version", &[], "").await;
        assert_eq!(answer.is_ok(), index < 4, "{answer:?}");
        kept.push(nobody);
    }
    let answer = call(&mut Client::admin(&proxy.address).await, "GET", SELF).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_given_up_do_not_end_the_connection() {
    const REQUESTS: u32 = 100;
    let upstream = upstream();
    let (relay, proxy, log) = watched(&upstream).await;
    // What the proxy sends comes to the server at once.
    relay.is_open.send_replace(false);
    let mut client = Frames::connect(&proxy.address, &who("admin")).await;
    client.send(PREFACE).await;
    client.frame(SETTINGS, 0, 0, &[]).await;
    for stream in 0..REQUESTS {
        client.get_version(2 * stream + 1).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for stream in 0..REQUESTS {
        client
            .frame(RST_STREAM, 0, 2 * stream + 1, &8_u32.to_be_bytes())
            .await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    relay.is_open.send_replace(true);
    is_still_read(&proxy, log).await;
    assert_eq!(relay.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_a_part_of_what_bodies_may_take() {
    let upstream = upstream();
    let arguments = ["--allow", &recorded("admin").identity().to_string()];
    let stranger = recorded("stranger").identity().to_string();
    let arguments = [&arguments[..], &["--allow", &stranger]].concat();
    let proxy = limited(&upstream, &json!({"bytes": 8 << 20}), &arguments);
    let begun = "PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut nobody = Raw::connect_as_nobody(&proxy.address).await;
        nobody.send(begun).await;
        // Nobody waits for the rest of it.
        let answer = nobody.answer().await.unwrap();
        assert_eq!(answer.message(), "tls: client certificate is required");
        held.push(nobody);
    }
    for _ in 0..2 {
        let mut client = Raw::connect(&proxy.address, &who("stranger")).await;
        client.send(begun).await;
        held.push(client);
    }
    let mut stranger = Client::connect(&proxy.address, Some(&who("stranger")))
        .await
        .unwrap();
    let asked = Instant::now();
    let refused = loop {
        let answer = call(&mut stranger, "GET", "/version").await;
        if answer.status == 503 {
            break answer.message();
        }
        assert!(asked.elapsed() < Duration::from_secs(20), "{answer:?}");
    };
    assert!(
        refused.contains("requests of this client may have 2097152 bytes"),
        "{refused}"
    );
    let mut admin = Client::admin(&proxy.address).await;
    assert_eq!(
        call(&mut admin, "PUT", "/v1/key/create/k").await.status,
        200
    );
    let body = json!({"plaintext": "AAAA"});
    assert_eq!(
        admin.call("PUT", "/v1/key/encrypt/k", body).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_answer_ends_its_connection_to_the_proxy() {
    let upstream = upstream();
    let proxy = limited(&upstream, &json!({"send": 1000}), &[]);
    let mut client = Client::connect_with_window(&proxy.address, &who("admin"), 0)
        .await
        .unwrap();
    let _unread = client
        .begin("GET", "/version", &[], Bytes::new())
        .await
        .unwrap();
    let begun = Instant::now();
    // Answered by a head alone.
    while client.send("GET", "/v1/ready", &[], "").await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_are_among_what_a_client_may_hold() {
    let upstream = upstream();
    let limits = json!({"bytes": 100_000, "client_part": 1, "send": 600_000});
    let proxy = limited(&upstream, &limits, &[]);
    let mut admin = Client::admin(&proxy.address).await;
    // What is wrong with a name is said with the name.
    let path = format!("/v1/key/describe/{}", "a".repeat(10_000));
    for window in [0, 1] {
        let mut client = Client::connect_with_window(&proxy.address, &who("admin"), window)
            .await
            .unwrap();
        let mut unread = Vec::new();
        for _ in 0..9 {
            let answer = client.begin("GET", &path, &[], Bytes::new()).await.unwrap();
            assert_eq!(answer.status(), 400);
            unread.push(answer);
        }
        let answer = call(&mut admin, "GET", SELF).await;
        assert_eq!(answer.status, 503);
        let why = "may have 100000 bytes of bodies and unread answers";
        assert!(answer.message().contains(why), "{answer:?}");
        drop((client, unread));
        let begun = Instant::now();
        while call(&mut admin, "GET", SELF).await.status != 200 {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it is not given back"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_proxy_leads_to_one_server_only() {
    let upstream = upstream();
    let proxy = run(command("admin", &upstream, &upstream.address), &[]);
    for target in ["/v1/key/create/k", "elsewhere.example.com:443"] {
        let mut raw = Raw::connect(&proxy.address, &who("admin")).await;
        raw.send(format!(
            "CONNECT {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        ))
        .await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.message().contains("CONNECT"), "{answer:?}");
    }
    assert_eq!(upstream.output(), "");
}
