//! What proves who sends a request, where that is not plain to see.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealedge_core::auth::signature::Signer;
use sealedge_tests::client::{Client, Credentials, for_admin, recorded, signed};
use sealedge_tests::raw::Raw;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

const SELF: &str = "/v1/identity/self/describe";

fn server(tls: &str, more: &str) -> Server {
    let config = for_admin("mem: {}") + more;
    Server::start(Path::new(crate::SEALEDGE), tls, &config)
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

async fn until(moment: Duration) {
    tokio::time::sleep(moment.saturating_sub(now())).await;
}

/// A signed request, byte by byte: its head and its body.
fn written(signer: &Signer, path: &str, body: &str) -> (String, String) {
    let mut head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in signed(signer, "PUT", path, body.as_bytes()) {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n", body.to_owned())
}

/// A request is judged when its head comes. One that was answered, and whose body then comes in the second
/// after its last one, would else be forgotten by then and answered again.
#[tokio::test]
async fn a_body_that_comes_late_makes_no_request_new() {
    let server = server("", "auth: {window: 2s}\n");
    let signer = Signer::new(recorded("admin"));
    let mut admin = Client::admin(&server.address).await;
    let created = admin.call("PUT", "/v1/key/create/k", Value::Null).await;
    assert_eq!(created.status, 200, "{created:?}");
    let body = json!({"plaintext": "AAAA"}).to_string();
    let (head, body) = written(&signer, "/v1/key/encrypt/k", &body);
    let last = Duration::from_secs(now().as_secs() + 2);
    let mut first = Raw::anonymous(&server.address).await;
    first.send(format!("{head}{body}")).await;
    assert_eq!(first.answer().await.unwrap().status, 200);
    let mut again = Vec::new();
    for _ in 0..8 {
        again.push(Raw::anonymous(&server.address).await);
    }
    until(last + Duration::from_millis(700)).await;
    for raw in &mut again {
        raw.send(&head).await;
    }
    until(last + Duration::from_millis(1100)).await;
    for raw in &mut again {
        raw.send(&body).await;
        let answer = raw.answer().await.unwrap();
        assert_eq!(answer.status, 400, "{answer:?}");
        let message = answer.message();
        assert!(
            ["too old by now", "'created' is", "before"]
                .iter()
                .any(|why| message.contains(why)),
            "{message}"
        );
    }
}

/// Whoever has seen a request can't use its nonce up, and who has no rights takes no room.
#[tokio::test]
async fn a_nonce_is_taken_by_who_has_signed_it_and_has_rights() {
    let server = server("", "");
    let mut client = Client::connect(&server.address, None).await.unwrap();
    let path = "/v1/key/create/k";
    let genuine = signed(&Signer::new(recorded("admin")), "PUT", path, b"");
    let forged = signed(&Signer::new(recorded("stranger")), "PUT", path, b"");
    let mut send = async |method: &str, path: &str, headers: &[(&str, String)]| {
        let headers: Vec<_> = headers.iter().map(|it| (it.0, &*it.1)).collect();
        client.send(method, path, &headers, "").await.unwrap()
    };
    let mut mixed = genuine.clone();
    for header in mixed.iter_mut().filter(|header| header.0 == "signature") {
        let other = forged.iter().find(|it| it.0 == "signature").unwrap();
        header.1.clone_from(&other.1);
    }
    let answer = send("PUT", path, &mixed).await;
    assert!(
        answer.message().contains("is not that of this request"),
        "{answer:?}"
    );
    assert_eq!(send("PUT", path, &genuine).await.status, 200);
    assert_eq!(send("PUT", path, &genuine).await.status, 400);
    // Nothing of a stranger's is remembered: each time it gets the same.
    let asked = signed(&Signer::new(recorded("stranger")), "GET", SELF, b"");
    for _ in 0..2 {
        let answer = send("GET", SELF, &asked).await;
        assert_eq!(
            (answer.status, &*answer.message()),
            (404, "identity does not exist")
        );
    }
}

#[tokio::test]
async fn a_request_for_two_servers_is_for_none() {
    let server = server("", "");
    let (head, _) = written(&Signer::new(recorded("admin")), "/v1/key/create/k", "");
    for (other, status) in [
        ("x-host: other", 200),
        ("host: other", 400),
        ("host: localhost", 400),
    ] {
        let mut raw = Raw::anonymous(&server.address).await;
        let twice = head.replacen("\r\n\r\n", &format!("\r\n{other}\r\n\r\n"), 1);
        raw.send(twice).await;
        assert_eq!(raw.answer().await.unwrap().status, status, "{other}");
    }
}

/// Tokens and signatures of other services, which TLS proxies and libraries add.
#[tokio::test]
async fn what_is_meant_for_others_is_no_second_credential() {
    let server = server("", "");
    let others = [
        ("authorization", "Bearer eyJhbGciOiJub25lIn0.e30."),
        ("authorization", "Basic YTpi"),
        ("signature", "keyId=\"a\",signature=\"YQ==\""),
    ];
    for other in others {
        let mut admin = Client::admin(&server.address).await;
        let answer = admin.send("GET", SELF, &[other], "").await.unwrap();
        assert_eq!(answer.json()["auth"], "mtls", "{answer:?}");
        let mut nobody = Client::connect(&server.address, None).await.unwrap();
        let answer = nobody.send("GET", SELF, &[other], "").await.unwrap();
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    // A key of ours is meant for us.
    let key = format!("Bearer {}", recorded("admin").to_text().as_str());
    let mut admin = Client::admin(&server.address).await;
    let answer = admin
        .send("GET", SELF, &[("authorization", &key)], "")
        .await;
    let message = answer.unwrap().message();
    let expected = "more than one credential, a client certificate and a bearer key: send one";
    assert!(message.starts_with(expected), "{message}");
}

/// A header in which all is compared with all would take the time of thousands of others.
#[tokio::test]
async fn a_header_with_too_much_in_it_is_not_read() {
    let server = server("", "");
    let many = |each: fn(usize) -> String| (0..400).map(each).collect::<String>();
    for input in [
        format!("a=(){}", many(|at| format!(";p{at}"))),
        format!("a=({})", many(|at| format!(" \"c{at}\""))),
        format!("a=1{}", many(|at| format!(", m{at}"))),
    ] {
        let mut nobody = Client::connect(&server.address, None).await.unwrap();
        let headers = [("signature-input", &*input), ("signature", "a=:YQ==:")];
        let answer = nobody.send("GET", SELF, &headers, "").await.unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.message().contains("more than 16"), "{answer:?}");
    }
}

/// Proxies that show a secret and no certificate: the handshake has to let them in, whatever else is taken.
#[tokio::test]
async fn a_proxy_with_a_secret_needs_no_certificate() {
    let secret = "0123456789abcdef0123456789abcdef";
    let tls = format!("  proxy: {{addresses: [127.0.0.1], secret: {secret}}}\n");
    let server = server(&tls, "auth: {signatures: off}\n");
    let mut proxy = Client::connect(&server.address, None).await.unwrap();
    let admin = Credentials::of(&recorded("admin")).escaped();
    let cert = ("x-tls-client-cert", admin.as_str());
    for (headers, expected) in [
        (vec![cert, ("x-proxy-secret", secret)], None),
        (
            vec![cert],
            Some("the secret is missing: send it in 'x-proxy-secret'"),
        ),
        (
            vec![cert, ("x-proxy-secret", "x")],
            Some("is not tls.proxy.secret"),
        ),
    ] {
        let answer = proxy.send("GET", SELF, &headers, "").await.unwrap();
        match expected {
            None => assert_eq!(answer.json()["auth"], "forwarded", "{answer:?}"),
            Some(why) => assert!(answer.message().contains(why), "{answer:?}"),
        }
    }
}
