//! Signed requests (RFC 9421) in the place of client certificates.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealedge_core::auth::signature::Signer;
use sealedge_core::certificate::identity_of;
use sealedge_tests::client::{
    Answer, Client, Credentials, config as config_of, for_admin, handshake, recorded, signed,
};
use sealedge_tests::server::Server;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::local_proxy;

const SELF: &str = "/v1/identity/self/describe";

fn server(tls: &str, more: &str) -> Server {
    let config = for_admin("mem: {}").replace("audit: off", "audit: on") + more;
    Server::start(Path::new(crate::SEALEDGE), tls, &config)
}

async fn anybody(server: &Server) -> Client {
    Client::connect(&server.address, None).await.unwrap()
}

type Headers = Vec<(&'static str, String)>;

async fn send(client: &mut Client, path: &str, headers: &Headers, body: &str) -> Answer {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    client
        .send("PUT", path, &headers, body.to_owned())
        .await
        .unwrap()
}

fn admin() -> Signer {
    Signer::new(recorded("admin"))
}

fn refused(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.message().contains(why), "{answer:?}");
}

#[tokio::test]
async fn a_client_without_a_certificate_signs_its_requests() {
    let server = server("", "");
    let mut client = Client::signing(&server.address, recorded("admin"))
        .await
        .unwrap();
    let me = client.call("GET", SELF, Value::Null).await;
    assert_eq!(me.json()["admin"], true, "{me:?}");
    assert_eq!(me.json()["auth"], "signature");
    for path in [
        "/v1/key/create/k",
        "/v1/key/generate/k",
        "/v1/key/generate/k?a=b",
    ] {
        let answer = client.call("PUT", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    // A body of any length, and one that comes bit by bit is no other.
    let message = "A".repeat(600_000);
    let body = serde_json::json!({ "plaintext": message });
    let sealed = client.call("PUT", "/v1/key/encrypt/k", body).await;
    let opened = client.call("PUT", "/v1/key/decrypt/k", sealed.json()).await;
    assert_eq!(opened.json()["plaintext"], message);
    // Who it is not known to is no more than anybody with a certificate.
    let mut stranger = Client::signing(&server.address, recorded("stranger"))
        .await
        .unwrap();
    let answer = stranger
        .call("PUT", "/v1/key/generate/k", Value::Null)
        .await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let records = server.output();
    let mut records = records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(records.all(|record| record["request"]["auth"] == "signature"));
}

#[tokio::test]
async fn a_request_is_answered_once() {
    let server = server("", "");
    let (mut one, mut other) = (anybody(&server).await, anybody(&server).await);
    let headers = signed(&admin(), "PUT", "/v1/key/create/k", b"");
    let answer = send(&mut one, "/v1/key/create/k", &headers, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for client in [&mut one, &mut other] {
        for _ in 0..8 {
            let again = send(client, "/v1/key/create/k", &headers, "").await;
            refused(&again, "was received before");
        }
    }
    // At once, too, and whichever instance has it: one of a hundred is answered.
    for _ in 0..5 {
        let headers = signed(&admin(), "PUT", "/v1/key/generate/k", b"");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (mut client, headers) = (anybody(&server).await, headers.clone());
            tasks.spawn(async move { send(&mut client, "/v1/key/generate/k", &headers, "").await });
        }
        let answers = tasks.join_all().await;
        let answered = answers.iter().filter(|answer| answer.status == 200);
        assert_eq!(answered.count(), 1);
    }
}

#[tokio::test]
async fn what_was_not_signed_is_not_done() {
    let server = server("", "");
    let mut client = anybody(&server).await;
    let path = "/v1/key/create/k";
    let body = "{\"plaintext\":\"AAAA\"}";
    let other = "{\"plaintext\":\"BBBB\"}";
    let of = |path: &str, body: &str| signed(&admin(), "PUT", path, body.as_bytes());
    let unlike = "is not that of this request by this key";
    let wrong = send(&mut client, "/v1/key/create/j", &of(path, ""), "").await;
    refused(&wrong, unlike);
    let method = signed(&admin(), "POST", path, b"");
    refused(&send(&mut client, path, &method, "").await, unlike);
    let create = send(&mut client, path, &of(path, ""), "").await;
    assert_eq!(create.status, 200);
    let encrypt = "/v1/key/encrypt/k";
    refused(
        &send(&mut client, encrypt, &of(encrypt, body), other).await,
        "the body is not",
    );
    refused(
        &send(&mut client, encrypt, &of(encrypt, ""), other).await,
        "does not cover \"content-digest\"",
    );
    refused(
        &send(&mut client, encrypt, &of(encrypt, body), "").await,
        "the body is not",
    );
    // Another body's digest.
    let mut mixed = of(encrypt, body);
    let digest = of(encrypt, other)
        .into_iter()
        .find(|it| it.0 == "content-digest");
    mixed.retain(|it| it.0 != "content-digest");
    mixed.extend(digest);
    refused(&send(&mut client, encrypt, &mixed, other).await, unlike);
    // A large one is read later.
    let (large, unlike) = (
        body.replace("AAAA", &"A".repeat(400_000)),
        body.replace("AAAA", &"B".repeat(400_000)),
    );
    let mut late = anybody(&server).await;
    refused(
        &send(&mut late, encrypt, &of(encrypt, &large), &unlike).await,
        "the body is not",
    );
    let mut late = anybody(&server).await;
    refused(
        &send(&mut late, encrypt, &of(encrypt, ""), &large).await,
        "does not cover",
    );
    let mut late = anybody(&server).await;
    let answer = send(&mut late, encrypt, &of(encrypt, &large), &large).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn one_credential_is_enough() {
    let server = server("", "");
    let mut both = Client::admin(&server.address).await;
    let headers = signed(&admin(), "PUT", "/v1/key/create/k", b"");
    refused(
        &send(&mut both, "/v1/key/create/k", &headers, "").await,
        "more than one credential",
    );
    // A signature for somebody else is none.
    let mut others = headers.clone();
    others[0].1 = others[0].1.replace("tag=\"sealedge\"", "tag=\"other\"");
    let answer = send(&mut both, "/v1/key/create/k", &others, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut nobody = anybody(&server).await;
    refused(
        &send(&mut nobody, "/v1/key/create/k", &others, "").await,
        "no signature has",
    );
    // Headers that come twice.
    let mut twice = signed(&admin(), "PUT", "/v1/key/create/j", b"");
    twice.push(twice[0].clone());
    refused(
        &send(&mut nobody, "/v1/key/create/j", &twice, "").await,
        "more than once",
    );
}

#[tokio::test]
async fn who_has_nothing_to_show_is_told_how_to_sign() {
    let server = server("", "");
    let mut client = anybody(&server).await;
    let answer = client.begin("GET", SELF, &[], "".into()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    let accept = answer.headers()["accept-signature"].to_str().unwrap();
    assert!(accept.contains("\"@authority\"") && accept.ends_with("tag=\"sealedge\""));
    // Not where it would be of no use.
    let off = self::server("", "auth: {signatures: off}\n");
    assert!(
        Client::connect(&off.address, None)
            .await
            .unwrap()
            .begin("GET", SELF, &[], "".into())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_signature_is_for_this_server() {
    let other = server("", "auth: {authorities: [kms.example.com]}\n");
    let mut client = anybody(&other).await;
    let headers = signed(&admin(), "GET", SELF, b"");
    let borrowed: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    let answer = client.send("GET", SELF, &borrowed, "").await.unwrap();
    refused(&answer, "this server is not \"localhost\"");
    let ours = server(
        "",
        "auth: {authorities: [kms.example.com, LocalHost:443]}\n",
    );
    let mut client = Client::signing(&ours.address, recorded("admin"))
        .await
        .unwrap();
    assert_eq!(client.call("GET", SELF, Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_bearer_key_is_taken_where_that_is_on() {
    let key = recorded("admin").to_text();
    let header = format!("Bearer {}", &*key);
    let headers = [("authorization", header.as_str())];
    let off = server("", "");
    let answer = anybody(&off)
        .await
        .send("GET", SELF, &headers, "")
        .await
        .unwrap();
    refused(&answer, "a bearer key is not taken here");
    let on = server("", "auth: {bearer: on}\n");
    let answer = anybody(&on)
        .await
        .send("GET", SELF, &headers, "")
        .await
        .unwrap();
    assert_eq!(answer.json()["auth"], "bearer", "{answer:?}");
    for value in ["Bearer kes:v1:AAAA", "Bearer x"] {
        let (mut client, headers) = (anybody(&on).await, [("authorization", value)]);
        let answer = client.send("GET", SELF, &headers, "").await.unwrap();
        refused(&answer, "an API key");
    }
    let mut both = Client::connect(&on.address, Some(&Credentials::of(&recorded("admin"))))
        .await
        .unwrap();
    refused(
        &both.send("GET", SELF, &headers, "").await.unwrap(),
        "more than one credential",
    );
    let secret = &key[7..];
    for server in [&off, &on] {
        assert!(!(server.output() + &server.errors()).contains(secret));
    }
}

/// A server's TLS, ended before it by somebody who asks for no certificate: its address.
async fn front(server: &Server) -> String {
    let pem = |name: &str| std::fs::read(server.folder.path().join(name)).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem("server.cert")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&pem("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let behind = server.address.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let mut outside = acceptor.accept(stream).await.unwrap();
                let nobody = Arc::new(config_of(None, rustls::DEFAULT_VERSIONS));
                let mut inside = handshake(&behind, nobody).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    address
}

/// The command line as the admin: its exit code, and what it says.
async fn command_line(server: &Server, address: &str, arguments: &[&str]) -> (bool, String) {
    let output = tokio::process::Command::new(crate::SEALEDGE)
        .args(arguments)
        .env("SSL_CERT_FILE", server.folder.path().join("server.cert"))
        .env("KES_SERVER", address)
        .env("KES_API_KEY", recorded("admin").to_text().as_str())
        .env_remove("SEALEDGE_AUTH")
        .output()
        .await
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// The method and status of each request that a server has had, once there are so many.
fn requests(server: &Server, count: usize) -> Vec<(String, u64)> {
    let of = |line: &String| {
        let record: Value = serde_json::from_str(line).unwrap();
        let method = record["request"]["auth"].as_str().unwrap_or("none");
        let status = record["response"]["code"].as_u64().unwrap();
        (method.to_owned(), status)
    };
    server.lines(count).iter().map(of).collect()
}

#[tokio::test]
async fn the_command_line_signs_where_its_certificate_is_not_seen() {
    let server = server("", "");
    let front = front(&server).await;
    let (is_done, said) = command_line(&server, &front, &["key", "create", "a", "b", "c"]).await;
    assert!(is_done, "{said}");
    let signed = ("signature".to_owned(), 200);
    let mut expected = vec![("none".to_owned(), 400)];
    expected.extend([signed.clone(), signed.clone(), signed]);
    assert_eq!(
        requests(&server, 4),
        expected,
        "it is asked for a signature once"
    );
    // It is not asked where it can say who it is.
    let (is_done, said) = command_line(&server, &server.address, &["key", "dek", "a"]).await;
    assert!(is_done, "{said}");
    assert_eq!(requests(&server, 5)[4..], [("mtls".to_owned(), 200)]);
}

#[tokio::test]
async fn the_command_line_does_as_it_is_told() {
    let server = server("", "");
    let front = front(&server).await;
    let by = ["--auth", "mtls", "key", "create", "a"];
    let (is_done, said) = command_line(&server, &front, &by).await;
    assert!(!is_done, "{said}");
    assert!(said.contains("client certificate is required"), "{said}");
    assert!(said.contains("(--auth auto,"), "{said}");
    for address in [&front, &server.address] {
        let by = ["--auth", "signature", "key", "ls"];
        let (is_done, said) = command_line(&server, address, &by).await;
        assert!(is_done, "{said}");
    }
    let signed = ("signature".to_owned(), 200);
    let all = [("none".to_owned(), 400), signed.clone(), signed];
    assert_eq!(requests(&server, 3), all);
}

#[tokio::test]
async fn the_command_line_names_what_is_taken_where_signatures_are_not() {
    let by_signature = ["-k", "--auth", "signature", "key", "ls"];
    let off = server("", "auth: {signatures: off}\n");
    let (_, said) = command_line(&off, &off.address, &by_signature).await;
    assert!(said.contains("takes no signatures"), "{said}");
    assert!(said.contains("by --auth mtls"), "{said}");
    let server = server("", "");
    let proxy = local_proxy::proxy("admin", &server, &[]);
    let (_, said) = command_line(&server, &proxy.address, &by_signature).await;
    assert!(said.contains("client certificate is required"), "{said}");
    assert!(said.contains("(--auth mtls,"), "{said}");
    // Who is not let in by a proxy is told so by it, and nothing of the server's policies.
    let app = recorded("app").identity().to_string();
    let proxy = local_proxy::proxy("admin", &server, &["--allow", &app]);
    let (_, said) = command_line(&server, &proxy.address, &["-k", "key", "ls"]).await;
    let allow = format!("--allow {}\n", recorded("admin").identity());
    assert!(said.ends_with(&allow), "{said}");
}

#[tokio::test]
async fn the_command_line_signs_for_nobody_who_only_asks() {
    let server = server("", "");
    let front = front(&server).await;
    let (is_done, said) = command_line(&server, &front, &["-k", "key", "create", "a"]).await;
    assert!(!is_done && said.contains("leave -k out"), "{said}");
    let by = ["-k", "--auth", "signature", "key", "create", "a"];
    let (is_done, said) = command_line(&server, &front, &by).await;
    assert!(is_done, "{said}");
    let all = [("none".to_owned(), 400), ("signature".to_owned(), 200)];
    assert_eq!(requests(&server, 2), all);
}

#[tokio::test]
async fn the_command_line_signs_by_the_key_of_a_certificate() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        std::fs::write(file("client.key"), key.serialize_pem()).unwrap();
        std::fs::write(file("client.crt"), certificate.pem()).unwrap();
        let identity = identity_of(certificate.der()).unwrap();
        let config = format!(
            "admin: {{identity: {identity}}}\nlog: {{audit: on}}\nkeystore: {{mem: {{}}}}\n"
        );
        let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
        let front = front(&server).await;
        let output = tokio::process::Command::new(crate::SEALEDGE)
            .args(["key", "create", "a", "b"])
            .env("SSL_CERT_FILE", server.folder.path().join("server.cert"))
            .env("KES_SERVER", &front)
            .env("KES_CLIENT_KEY", file("client.key"))
            .env("KES_CLIENT_CERT", file("client.crt"))
            .env_remove("SEALEDGE_AUTH")
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}{}", server.output());
        let signed = ("signature".to_owned(), 200);
        let all = [("none".to_owned(), 400), signed.clone(), signed];
        assert_eq!(requests(&server, 3), all);
    }
}
