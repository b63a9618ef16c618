//! Requests that no well-meaning client sends: each is refused with a message that says what is
//! wrong, and leaves nothing behind.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealedge_tests::client::{Answer, Client, Credentials, recorded};
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

/// The longest body, in bytes.
const MIB: usize = 1 << 20;

/// A server with one key, `good`.
async fn server() -> (Server, Client) {
    server_with("").await
}

/// The same with more lines of configuration.
async fn server_with(more: &str) -> (Server, Client) {
    let config = format!(
        "admin: {{identity: {}}}
keys: [{{name: good}}]
keystore: {{fs: {{path: \"{{folder}}/keys\"}}}}
{more}
",
        recorded("admin").identity(),
    );
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
    let client = Client::connect(&server.address, Some(&admin()))
        .await
        .unwrap();
    (server, client)
}

fn admin() -> Credentials {
    Credentials::of(&recorded("admin"))
}

/// The store has `good` and nothing else, and nothing is beside it.
async fn assert_untouched(server: &Server, client: &mut Client) {
    let list = client.call("GET", "/v1/key/list/", Value::Null).await;
    assert_eq!(list.json()["names"], json!(["good"]));
    let names = |folder: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&server.keys()), ["good"]);
    let around = ["config.yml", "keys", "server.cert", "server.key"];
    assert_eq!(names(server.folder.path()), around);
    assert!(!server.errors().contains(" error: "), "{}", server.errors());
}

fn assert_invalid(answer: &Answer) {
    let got = (answer.status, answer.message());
    assert_eq!(got, (400, "invalid request body".to_owned()));
}

/// What is wrong with an answer, by its line of the table.
fn wrong(case: &Value, method: &str, answer: &Answer) -> Option<String> {
    let right = answer.status == case["status"]
        && match case["message"].as_str() {
            Some(message) => {
                answer.content_type.as_deref() == Some("application/json")
                    && serde_json::from_slice::<Value>(&answer.body)
                        .is_ok_and(|body| body == json!({"message": message}))
            }
            None if method == "HEAD" => answer.body.is_empty(),
            None if answer.status == 404 => answer.body == b"404 page not found\n",
            None => answer.status == 200,
        };
    (!right).then(|| {
        let body = String::from_utf8_lossy(&answer.body);
        format!("{method} {case}: {} {body}", answer.status)
    })
}

#[tokio::test]
async fn bad_input_is_refused_as_the_table_says() {
    let (server, mut one) = server().await;
    let mut two = Client::connect_http2(&server.address, Some(&admin()))
        .await
        .unwrap();
    let mut faults = Vec::new();
    let table = include_str!("../../bad-input.jsonl");
    assert!(table.lines().count() > 400);
    for line in table.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let path = case["path"].as_str().unwrap();
        let method = case["method"].as_str().unwrap();
        let body = case["body"].as_str().unwrap_or_default().to_owned();
        let refused = case["status"] == 405;
        let also = (method == "PUT" && !refused).then_some("POST");
        for method in [Some(method), also].into_iter().flatten() {
            let answer = one.send(method, path, &[], body.clone()).await.unwrap();
            faults.extend(wrong(&case, method, &answer));
        }
        let answer = two.send(method, path, &[], body).await.unwrap();
        faults.extend(wrong(&case, method, &answer).map(|fault| format!("by HTTP/2: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_untouched(&server, &mut one).await;
}

/// A body for `encrypt` of exactly this length.
fn body_of(length: usize) -> Vec<u8> {
    let mut body = format!(
        "{{\"plaintext\":\"{}\"}}",
        STANDARD.encode(vec![1; length / 2])
    );
    assert!(body.len() <= length);
    body.extend(std::iter::repeat_n(' ', length - body.len()));
    body.into_bytes()
}

const ENCRYPT: &str = "/v1/key/encrypt/good";

/// The body in chunks (RFC 9112, 7.1).
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for chunk in body.chunks(50_000) {
        chunks.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    chunks
}

fn head(path: &str, framing: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n")
}

#[tokio::test]
async fn bodies_may_be_as_long_as_their_route_says() {
    let (server, mut one) = server().await;
    let mut two = Client::connect_http2(&server.address, Some(&admin()))
        .await
        .unwrap();
    for client in [&mut one, &mut two] {
        for length in [16 * 1024, 16 * 1024 + 1, 100_000, MIB] {
            let answer = client
                .send("PUT", ENCRYPT, &[], body_of(length))
                .await
                .unwrap();
            assert_eq!(answer.status, 200, "{length}");
        }
    }
    let answer = two
        .send("PUT", ENCRYPT, &[], body_of(MIB + 1))
        .await
        .unwrap();
    assert_invalid(&answer);
    // By HTTP/1.1 with a length and in chunks; the server may close what it has refused.
    for (length, status) in [(MIB, 200), (MIB + 1, 400), (3 * MIB, 400)] {
        let body = body_of(length);
        let lengths = format!("content-length: {length}");
        for (framing, bytes) in [
            (lengths.as_str(), body.clone()),
            ("transfer-encoding: chunked", chunked(&body)),
        ] {
            let mut raw = Raw::connect(&server.address, &admin()).await;
            raw.send(head(ENCRYPT, framing)).await;
            raw.send(bytes).await;
            let answer = raw.answer().await.expect("an answer");
            assert_eq!(answer.status, status, "{framing} {length}");
            if status != 200 {
                assert_invalid(&answer);
            }
        }
    }
    // A route without a body reads none, however long it is, and then the connection ends.
    let answer = one
        .send("PUT", "/v1/key/create/good", &[], body_of(100_000))
        .await
        .unwrap();
    assert_eq!(answer.message(), "key already exists");
    assert_eq!(answer.connection.as_deref(), Some("close"));
    assert_untouched(&server, &mut Client::admin(&server.address).await).await;
}

#[tokio::test]
async fn an_answer_to_a_body_that_nobody_reads_arrives() {
    let (server, mut client) = server().await;
    let body = vec![b' '; 3 * MIB];
    let framing = format!("content-length: {}", body.len());
    for _ in 0..10 {
        let mut raw = Raw::connect(&server.address, &admin()).await;
        raw.send(head("/v1/key/create/good", &framing)).await;
        // The answer is there, and the server would like to close. If it did, the body would be answered
        // by a reset, which can overtake the answer on its way through a network.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(raw.send(&body).await, "the body was answered by a reset");
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(answer.message(), "key already exists");
    }
    assert_untouched(&server, &mut client).await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_does_nothing() {
    let (server, mut client) = server().await;
    let key = STANDARD.encode([7; 32]);
    // It would be a whole body, if the client had not promised more.
    let body = format!("{{\"key\":\"{key}\",\"cipher\":\"AES256\"}}");
    for framing in [
        format!("content-length: {}", body.len() + 1),
        "content-length: 100000".to_owned(),
        "transfer-encoding: chunked".to_owned(),
    ] {
        let mut raw = Raw::connect(&server.address, &admin()).await;
        raw.send(head("/v1/key/import/new", &framing)).await;
        if framing.contains("chunked") {
            raw.send(format!("{:x}\r\n{body}\r\n", body.len())).await;
        } else {
            raw.send(&body).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        raw.end().await;
        if let Some(answer) = raw.answer().await {
            assert_eq!(answer.status, 400, "{framing}: {answer:?}");
        }
    }
    assert_untouched(&server, &mut client).await;
}

#[tokio::test]
async fn slow_bodies_are_waited_for_and_hold_up_nobody() {
    let (server, mut client) = server().await;
    let mut slow = Vec::new();
    // Below and above what is read before the service is asked, and of no known length.
    for length in [1000, 40_000] {
        let body = body_of(length);
        let framed = [
            (format!("content-length: {length}"), body.clone()),
            ("transfer-encoding: chunked".to_owned(), chunked(&body)),
        ];
        for (framing, bytes) in framed {
            let mut raw = Raw::connect(&server.address, &admin()).await;
            raw.send(head(ENCRYPT, &framing)).await;
            let (first, second) = bytes.split_at(bytes.len() / 2);
            raw.send(first).await;
            slow.push((raw, second.to_vec()));
        }
    }
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(1300) {
        let asked = std::time::Instant::now();
        let answer = client
            .call("PUT", "/v1/key/generate/good", Value::Null)
            .await;
        assert_eq!(answer.status, 200);
        assert!(asked.elapsed() < Duration::from_millis(900));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (mut raw, rest) in slow {
        raw.send(rest).await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
    }
    assert_untouched(&server, &mut client).await;
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_not_waited_for_after_the_answer() {
    let (server, _) = server_with("api: {/v1/key/encrypt: {timeout: 300ms}}").await;
    let mut raw = Raw::connect(&server.address, &admin()).await;
    raw.send(head(ENCRYPT, "content-length: 900000")).await;
    raw.send("{").await;
    assert_eq!(raw.answer().await.unwrap().status, 504);
    // The server closes: the connection is of no use to anybody before the body's end.
    assert_eq!(raw.answer().await, None);
}

#[tokio::test]
async fn bodies_that_are_no_text_and_paths_without_end_are_refused() {
    let (server, mut client) = server().await;
    let nested = |open: &str, close: &str| open.repeat(100_000) + &close.repeat(100_000);
    let bodies: [Vec<u8>; 5] = [
        b"{\"plaintext\":\"\xff\"}".to_vec(),
        b"\0\0\0\0".to_vec(),
        vec![0xff; 5000],
        format!("{{\"plaintext\":{}}}", nested("[", "]")).into_bytes(),
        nested("{\"a\":", "}").into_bytes(),
    ];
    for body in bodies {
        let answer = client.send("PUT", ENCRYPT, &[], body).await.unwrap();
        assert_invalid(&answer);
    }
    for length in [1000, 10_000, 60_000] {
        let name = "a".repeat(length);
        let path = format!("/v1/key/create/{name}");
        let answer = client.send("PUT", &path, &[], "").await.unwrap();
        let message =
            format!("key name '{name}' is empty, too long or contains invalid characters");
        assert_eq!((answer.status, answer.message()), (400, message));
    }
    // What is no HTTP never reaches the service.
    for request in [
        head("no-path", "x: y"),
        head("/v1/key/create/a b", "x: y"),
        head(&format!("/{}", "a".repeat(100_000)), "x: y"),
        head("/v1/key/create/new", "content-length: x"),
        head(
            "/v1/key/create/new",
            "content-length: 1\r\ncontent-length: 2",
        ),
        head("/v1/key/create/new", "no colon"),
        "CONNECT /v1/key/create/new HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
        "PUT /v1/key/create/new\r\n\r\n".to_owned(),
        "\r\n\r\n\0".to_owned(),
    ] {
        let mut raw = Raw::connect(&server.address, &admin()).await;
        raw.send(&request).await;
        raw.end().await;
        if let Some(answer) = raw.answer().await {
            assert!(
                (400..500).contains(&answer.status),
                "{request:.60}: {answer:?}"
            );
        }
    }
    assert_untouched(&server, &mut client).await;
}

/// KES takes fields in any case; one that was passed over in silence would seal nothing, or without
/// its context.
#[tokio::test]
async fn fields_with_a_capital_are_the_same_fields() {
    let (_server, mut client) = server().await;
    let body = json!({"Plaintext": STANDARD.encode("text"), "Context": STANDARD.encode("there")});
    let sealed = client
        .call("PUT", "/v1/key/encrypt/good", body)
        .await
        .json();
    let mut open = json!({"ciphertext": sealed["ciphertext"]});
    let path = "/v1/key/decrypt/good";
    assert_eq!(client.call("PUT", path, open.clone()).await.status, 400);
    open["context"] = STANDARD.encode("there").into();
    let opened = client.call("PUT", path, open).await.json();
    assert_eq!(opened["plaintext"], STANDARD.encode("text"));
    let twice = json!({"plaintext": "", "Plaintext": ""});
    let answer = client.call("PUT", "/v1/key/encrypt/good", twice).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_long_method_is_not_said_again_whole() {
    let (_server, mut client) = server().await;
    let method = "M".repeat(10_000);
    let answer = client.call(&method, "/v1/status", Value::Null).await;
    assert_eq!(answer.status, 405);
    assert!(answer.json()["message"].as_str().unwrap().len() < 100);
}
