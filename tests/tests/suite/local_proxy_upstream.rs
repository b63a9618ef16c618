//! `sealedge proxy` in front of a server that says what it likes: when it sends a request again, and which
//! answers it passes on.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealedge_tests::client::{Answer, Client};
use sealedge_tests::frames::{DATA, GOAWAY, HEADERS, PREFACE, SETTINGS};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::local_proxy;

const RST_STREAM: u8 = 3;

/// What the server does with the first request; it answers all others with 200.
#[derive(Clone, Copy)]
enum First {
    /// It ends the connection, and says that it did not begin with the request.
    GoAway,
    /// It says that it did not begin with the request.
    Refuse,
    /// It ends the connection in the same way, but for the request, with which it has begun.
    GoAwayAfter,
    /// It gives the request up.
    Cancel,
    /// It closes without a word.
    Close,
    /// It answers with less than it announces, and says that there was no error.
    Shorten,
}

/// Such a server: its address, and the heads of all requests that it has got.
struct Fake {
    address: String,
    heads: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Fake {
    async fn start(folder: &Path, first: First) -> Self {
        let certificate = CertificateDer::from_pem_file(folder.join("server.cert")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream = acceptor.accept(stream).await.unwrap();
                // Without an error it was asked nothing more.
                let _ = talk(stream, first, &seen).await;
            }
        });
        Self { address, heads }
    }
}

async fn talk(
    mut stream: TlsStream<TcpStream>,
    first: First,
    heads: &Mutex<Vec<Vec<u8>>>,
) -> std::io::Result<()> {
    let mut preface = vec![0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    write(&mut stream, SETTINGS, 0, 0, &[]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [_, a, b, kind, _, id @ ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([a, b]))];
        stream.read_exact(&mut payload).await?;
        if kind != HEADERS {
            continue;
        }
        let count = {
            let mut heads = heads.lock().unwrap();
            heads.push(payload);
            heads.len()
        };
        let id = u32::from_be_bytes(id);
        match first {
            // `:status: 200`, END_STREAM and END_HEADERS.
            _ if count > 1 => write(&mut stream, HEADERS, 5, id, &[0x88]).await?,
            First::Refuse => write(&mut stream, RST_STREAM, 0, id, &[0, 0, 0, 7]).await?,
            First::Cancel => write(&mut stream, RST_STREAM, 0, id, &[0, 0, 0, 8]).await?,
            First::GoAway => return leave(stream, 0).await,
            First::GoAwayAfter => return leave(stream, id).await,
            First::Close => return Ok(()),
            First::Shorten => {
                // `:status: 200` and `content-length: 100`, END_HEADERS.
                let head = [&[0x88, 0x0f, 0x0d, 3][..], b"100"].concat();
                write(&mut stream, HEADERS, 4, id, &head).await?;
                write(&mut stream, DATA, 0, id, b"{\"plaintext\":\"AAAA").await?;
                write(&mut stream, RST_STREAM, 0, id, &[0, 0, 0, 0]).await?;
            }
        }
    }
}

/// Begins with no request after this one, and closes.
async fn leave(mut stream: TlsStream<TcpStream>, last: u32) -> std::io::Result<()> {
    let payload = [last.to_be_bytes(), [0; 4]].concat();
    write(&mut stream, GOAWAY, 0, 0, &payload).await?;
    stream.shutdown().await
}

async fn write(
    stream: &mut TlsStream<TcpStream>,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> std::io::Result<()> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags];
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// What the proxy answers to a request that this is done to, and what the server has got.
async fn asked(first: First) -> (Answer, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let fake = Fake::start(folder.path(), first).await;
    let trusted = folder.path().join("server.cert");
    let mut command = local_proxy::command_at("admin", &fake.address);
    command.env("SSL_CERT_FILE", trusted);
    let proxy: Server = local_proxy::run(command, &[]);
    let mut client = Client::admin(&proxy.address).await;
    let answer = client.call("PUT", "/v1/key/create/k", Value::Null).await;
    let heads = fake.heads.lock().unwrap().clone();
    (answer, heads)
}

#[tokio::test]
async fn what_was_not_begun_is_signed_anew_and_sent_again() {
    for first in [First::GoAway, First::Refuse] {
        let (answer, heads) = asked(first).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(heads.len(), 2);
        assert_ne!(heads[0], heads[1], "each has a nonce of its own");
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_not_asked_for_again() {
    for first in [First::GoAwayAfter, First::Cancel, First::Close] {
        let (answer, heads) = asked(first).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert!(answer.message().contains("did not answer"), "{answer:?}");
        assert_eq!(heads.len(), 1);
    }
}

#[tokio::test]
async fn an_answer_is_passed_on_whole_or_not_at_all() {
    let (answer, _) = asked(First::Shorten).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    let why = "its answer broke off: 18 bytes of 100";
    assert!(answer.message().contains(why), "{answer:?}");
}

/// What a client hears through a proxy with these limits when the server writes these bytes.
async fn heard(limits: &Value, written: String) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        // Whoever does not want all of it hangs up.
        let _ = stream.write_all(written.as_bytes()).await;
    });
    let mut command = local_proxy::command_of(crate::SEALEDGE_WITH_FAULTS, "admin", &url);
    command.env("TEST_LIMITS", limits.to_string());
    let proxy = local_proxy::run(command, &[]);
    let mut client = Client::admin(&proxy.address).await;
    client.call("GET", "/version", Value::Null).await
}

#[tokio::test]
async fn no_other_protocol_follows_an_answer() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let answer = heard(&json!({}), switch.to_owned()).await;
    assert_eq!(answer.status, 502);
    assert!(answer.message().contains("101"), "{answer:?}");
}

#[tokio::test]
async fn an_answer_needs_room() {
    let length = 1_000_000;
    let body = "a".repeat(length);
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    let in_pieces = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
    for written in [whole, in_pieces] {
        let narrow = json!({"bytes": 900_000, "client_part": 1});
        let answer = heard(&narrow, written.clone()).await;
        assert_eq!(answer.status, 503);
        let why = "there is no room for its answer";
        assert!(answer.message().contains(why), "{answer:?}");
        let answer = heard(&json!({}), written).await;
        assert_eq!((answer.status, answer.body.len()), (200, length));
    }
}
