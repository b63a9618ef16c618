//! The streams of the audit and error logs, and their readers.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use sealedge_tests::authority::Authority;
use sealedge_tests::client::{Client, Credentials, for_admin, recorded};
use sealedge_tests::log_stream::LogStream;
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::reload_tls::{VERIFY, folder_with, short};

/// The logs `on` or `off`, and a policy by which `app` may read the logs if it is `allowed`.
fn config(logs: &str, allowed: bool) -> String {
    let path = if allowed { "/v1/log/*" } else { "/v1/none" };
    format!(
        "admin: {{identity: {}}}
policy: {{app: {{allow: [{path}], identities: [{}]}}}}
log: {{audit: {logs}, error: {logs}}}
auth: {{signatures: off}}
keystore: {{fs: {{path: \"{{folder}}/keys\"}}}}
",
        recorded("admin").identity(),
        recorded("app").identity(),
    )
}

fn start(config: &str) -> Server {
    Server::start(Path::new(crate::SEALEDGE), "", config)
}

/// A server whose clients have as much time as a slow machine needs, unless `limits` say otherwise.
fn with_limits(limits: &Value) -> Server {
    let program = Path::new(crate::SEALEDGE_WITH_FAULTS);
    Server::with_limits(program, limits, &for_admin("mem: {}"))
}

/// A client of this name in the recordings, by HTTP/1.1 or HTTP/2.
async fn connect(server: &Server, who: &str, by_two: bool) -> Client {
    let credentials = Credentials::of(&recorded(who));
    let client = if by_two {
        Client::connect_http2(&server.address, Some(&credentials)).await
    } else {
        Client::connect(&server.address, Some(&credentials)).await
    };
    client.unwrap()
}

/// A log, read on a connection of its own.
async fn read(server: &Server, log: &str, by_two: bool) -> LogStream {
    LogStream::of(&mut connect(server, "admin", by_two).await, log).await
}

async fn describe(client: &mut Client, name: &str) -> u16 {
    let path = format!("/v1/key/describe/{name}");
    client.call("GET", &path, Value::Null).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_what_others_ask_whatever_the_configuration_says() {
    for logs in ["off", "on"] {
        let server = start(&config(logs, true));
        let mut admin = Client::admin(&server.address).await;
        for by_two in [false, true] {
            let mut stream = read(&server, "audit", by_two).await;
            assert_eq!(describe(&mut admin, "none").await, 404);
            let record = stream.next().await.unwrap();
            let ip = "127.0.0.1";
            let identity = recorded("admin").identity().to_string();
            let request = json!({
                "ip": ip, "path": "/v1/key/describe/none", "identity": identity, "auth": "mtls",
            });
            assert_eq!(record["request"], request, "{record}");
            assert_eq!(record["response"]["code"], 404);
            let mut stranger = connect(&server, "stranger", by_two).await;
            assert_eq!(describe(&mut stranger, "none").await, 403);
            assert_eq!(stream.next().await.unwrap()["response"]["code"], 403);
            // Another stream is a request as well, and begins with what comes after it.
            let mut another = read(&server, "audit", by_two).await;
            assert_eq!(describe(&mut admin, "more").await, 404);
            let record = stream.next().await.unwrap();
            assert_eq!(record["request"]["path"], "/v1/log/audit");
            assert_eq!(record["response"]["code"], 200);
            for stream in [&mut stream, &mut another] {
                let record = stream.next().await.unwrap();
                assert_eq!(record["request"]["path"], "/v1/key/describe/more");
                assert!(record.get("lost").is_none(), "{record}");
            }
        }
        server.signal("TERM");
        let (_, output, _) = server.wait();
        // Standard output has what the configuration says, and not what is read.
        let count = output.lines().count();
        assert_eq!(count, if logs == "on" { 10 } else { 0 }, "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_errors_of_the_service_and_of_the_host() {
    for logs in ["off", "on"] {
        let server = start(&config(logs, true));
        std::fs::write(server.keys().join("corrupt"), "no key").unwrap();
        let mut stream = read(&server, "error", false).await;
        let mut admin = Client::admin(&server.address).await;
        let counted = admin.figure("kes_log_error_events").await;
        assert_eq!(describe(&mut admin, "corrupt").await, 502);
        let record = stream.next().await.unwrap();
        let message = record["message"].as_str().unwrap().to_owned();
        let expected = "failed to read key: what is stored for 'corrupt' is no key";
        assert!(message.starts_with(expected), "{record}");
        // By TLS 1.3 the refusal shows at the first request only.
        if let Ok(mut nobody) = Client::connect(&server.address, None).await {
            let refused = nobody.send("GET", "/version", &[], "").await;
            assert!(refused.is_err());
        }
        let record = stream.next().await.unwrap();
        let message = record["message"].as_str().unwrap();
        assert!(message.contains("the TLS handshake with"), "{record}");
        server.configure("", "no: configuration");
        server.signal("HUP");
        let record = stream.next().await.unwrap();
        let message = record["message"].as_str().unwrap();
        assert!(message.contains("nothing was reloaded"), "{record}");
        let events = admin.figure("kes_log_error_events").await;
        assert_eq!(events - counted, 3.0);
        let said = server.errors().contains("'corrupt' is no key");
        assert_eq!(said, logs == "on", "{}", server.errors());
    }
}

#[tokio::test]
async fn nobody_reads_a_log_whom_no_policy_allows() {
    let server = start(&config("off", false));
    for log in ["audit", "error"] {
        let path = format!("/v1/log/{log}");
        for who in ["app", "stranger"] {
            let mut client = connect(&server, who, false).await;
            let answer = client.call("GET", &path, Value::Null).await;
            assert_eq!(answer.status, 403, "{answer:?}");
        }
        let mut admin = Client::admin(&server.address).await;
        for (method, status) in [("POST", 405), ("HEAD", 405)] {
            let answer = admin.call(method, &path, Value::Null).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    server.reload("", &config("off", true));
    let mut app = connect(&server, "app", false).await;
    LogStream::of(&mut app, "audit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_made_only_while_somebody_reads() {
    let server = start(&config("off", true));
    let mut admin = Client::admin(&server.address).await;
    let events = "kes_log_audit_events";
    describe(&mut admin, "none").await;
    assert_eq!(admin.figure(events).await, 0.0);
    for by_two in [false, true] {
        let stream = read(&server, "audit", by_two).await;
        let before = admin.figure(events).await;
        describe(&mut admin, "none").await;
        // The request before and the figures before it.
        assert_eq!(admin.figure(events).await, before + 2.0);
        drop(stream);
        let mut before = admin.figure(events).await;
        let mut tries = 0;
        loop {
            let now = admin.figure(events).await;
            if now == before {
                break;
            }
            before = now;
            tries += 1;
            assert!(tries < 1000, "a reader that is gone is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_slows_nobody_and_then_sees_how_much_is_lost() {
    let server = with_limits(&json!({"send": 600_000}));
    for by_two in [false, true] {
        let mut slow = read(&server, "audit", by_two).await;
        // More than all buffers on the way have room for, and be they as large as they may.
        let (clients, rounds) = (4, 500);
        let name = "a".repeat(60_000);
        let mut tasks = Vec::new();
        for _ in 0..clients {
            let mut admin = Client::admin(&server.address).await;
            let name = name.clone();
            tasks.push(tokio::spawn(async move {
                for _ in 0..rounds {
                    assert_eq!(describe(&mut admin, &name).await, 400);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let mut admin = Client::admin(&server.address).await;
        let (mut seen, mut lost) = (0, 0);
        let mut last = false;
        while seen + lost < clients * rounds {
            // A loss shows in the next record.
            if lost == 0 && !last {
                describe(&mut admin, "last").await;
                last = true;
            }
            let record = slow.next().await.unwrap();
            assert!(record["request"]["path"].is_string(), "{record}");
            seen += 1;
            lost += record.get("lost").map_or(0, |n| n.as_u64().unwrap());
        }
        assert!(lost > 0, "nothing is lost");
        // The last one may be among these.
        assert!(seen + lost <= clients * rounds + 1, "{seen} and {lost}");
        describe(&mut admin, "again").await;
        let record = slow.of_path("again").await;
        assert!(record.get("lost").is_none(), "{record}");
    }
}

const THREE: [&str; 3] = ["one", "two", "three"];

/// Reads until the last of three records, of which none may be lost.
async fn read_three(mut stream: LogStream) -> LogStream {
    for name in THREE {
        let record = stream.of_path(&format!("/v1/key/describe/{name}")).await;
        assert!(record.get("lost").is_none(), "{record}");
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_readers_get_each_record() {
    let server = with_limits(&json!({"head": 120_000, "send": 600_000}));
    let mut readers = Vec::new();
    for _ in 0..5 {
        let mut client = connect(&server, "admin", true).await;
        for _ in 0..150 {
            let stream = LogStream::of(&mut client, "audit").await;
            readers.push(tokio::spawn(read_three(stream)));
        }
    }
    for _ in 0..250 {
        let stream = read(&server, "audit", false).await;
        readers.push(tokio::spawn(read_three(stream)));
    }
    assert_eq!(readers.len(), 1000);
    let mut admin = Client::admin(&server.address).await;
    for name in THREE {
        assert_eq!(describe(&mut admin, name).await, 404);
    }
    let mut streams = Vec::new();
    for reader in readers {
        streams.push(reader.await.unwrap());
    }
    // All of them together hold up no end.
    let told = Instant::now();
    server.signal("TERM");
    for stream in &mut streams {
        assert_eq!(stream.next().await, None);
    }
    let (code, _, errors) = server.wait();
    assert_eq!(code, Some(0), "{errors}");
    assert!(!errors.contains("cut off"), "{errors}");
    assert!(told.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_is_neither_idle_nor_unread() {
    let server = with_limits(&json!({"head": 300, "idle": 300, "send": 300}));
    let mut by_one = read(&server, "audit", false).await;
    let mut by_two = read(&server, "audit", true).await;
    by_one.of_path("/v1/log/audit").await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let mut admin = Client::admin(&server.address).await;
        describe(&mut admin, "none").await;
        by_one.of_path("none").await;
        by_two.of_path("none").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_closed() {
    let server = with_limits(&json!({"send": 500}));
    let mut admin = Client::admin(&server.address).await;
    let name = "a".repeat(60_000);
    for (by_two, closed) in [(false, 1.0), (true, 2.0)] {
        let stream = read(&server, "audit", by_two).await;
        let begun = Instant::now();
        while admin.figure("kes_connection_refused_unread").await < closed {
            describe(&mut admin, &name).await;
            assert!(begun.elapsed() < Duration::from_secs(120), "{by_two}");
        }
        drop(stream);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_count_as_requests_under_way() {
    let server = with_limits(&json!({"requests": 2, "client_part": 1, "address_part": 1}));
    let mut admin = Client::admin(&server.address).await;
    let stream = read(&server, "audit", false).await;
    assert_eq!(describe(&mut admin, "none").await, 404);
    let another = read(&server, "error", true).await;
    let answer = admin.call("GET", "/version", Value::Null).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    drop((stream, another));
    let mut tries = 0;
    while describe(&mut admin, "none").await == 503 {
        tries += 1;
        assert!(tries < 1000, "there is no room again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_ends_streams_and_who_is_removed_gets_no_other() {
    let server = start(&config("off", true));
    for by_two in [false, true] {
        server.reload("", &config("off", true));
        let mut app = connect(&server, "app", by_two).await;
        let mut stream = LogStream::of(&mut app, "audit").await;
        server.reload("", &config("off", false));
        assert_eq!(stream.next().await, None);
        let answer = app.call("GET", "/v1/log/audit", Value::Null).await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_servers_life_does_not_wait_for_a_reader_that_is_stuck() {
    let limits = json!({"head": 1000, "send": 600_000, "grace": 600_000});
    for by_two in [false, true] {
        let server = with_limits(&limits);
        let stuck = read(&server, "audit", by_two).await;
        let mut admin = Client::admin(&server.address).await;
        let name = "a".repeat(60_000);
        for _ in 0..500 {
            describe(&mut admin, &name).await;
        }
        server.signal("TERM");
        // Long before the grace period is over.
        let (code, _, errors) = server.wait();
        assert_eq!(code, Some(0), "{errors}");
        drop(stuck);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_readers_certificate_expires_where_it_is_verified() {
    for (tls, is_signed, is_verified) in [
        (VERIFY, false, true),
        (VERIFY, true, true),
        ("", false, false),
    ] {
        let authority = Authority::new("ours");
        let (who, until) = short(&authority, 5);
        let config = format!(
            "admin: {{identity: {}}}\nkeystore: {{mem: {{}}}}\n",
            who.identity()
        );
        let folder = folder_with(&authority);
        let server = Server::start_in(Path::new(crate::SEALEDGE), folder, tls, &config);
        let client = match is_signed {
            true => Client::signing_by(&server.address, who.signer()).await,
            false => Client::connect(&server.address, Some(&who)).await,
        };
        let mut client = client.unwrap();
        let mut stream = LogStream::of(&mut client, "error").await;
        if is_verified {
            assert_eq!(stream.next().await, None);
            // Its last second is whole, and may have begun before.
            assert!(SystemTime::now() + Duration::from_secs(1) >= until);
            continue;
        }
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        let ended = tokio::time::timeout(left + Duration::from_secs(2), stream.next()).await;
        assert!(ended.is_err(), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_time_limit_ends_a_stream() {
    let limited = "api: {/v1/log/error: {timeout: 1s}}\n";
    let server = start(&(config("off", true) + limited));
    let mut stream = read(&server, "error", false).await;
    assert_eq!(stream.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_gone_is_noticed_though_it_asked_for_more() {
    let server = with_limits(&json!({"send": 500}));
    let before = server.open_files();
    let mut reader = Raw::connect(&server.address, &Credentials::of(&recorded("admin"))).await;
    let request = "GET /v1/log/error HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // HTTP reads no further while the first answer is under way.
    reader.send([request, request].concat()).await;
    assert_eq!(reader.answer().await.unwrap().status, 200);
    assert!(server.open_files() > before);
    drop(reader);
    let begun = Instant::now();
    while server.open_files() > before {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is kept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
