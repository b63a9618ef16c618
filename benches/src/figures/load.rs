//! The client: many connections that each send the next request when the last is answered.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use sealedge_tests::client::{Credentials, config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::report::Round;
use crate::server::{self, KEY, Server};

/// How long a server is driven before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// What the server is asked to do again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// A new DEK of a cached key.
    Generate,
    /// The same by HTTP/2, with one stream at a time on each connection.
    GenerateHttp2,
    /// A DEK from its ciphertext.
    Decrypt,
    /// The ciphertext of 700,000 bytes.
    Encrypt,
    /// A new connection with a client certificate (TLS 1.3, no resumption), and one DEK by it.
    Connect,
}

impl Work {
    /// Every work.
    pub const ALL: [Self; 5] = [
        Self::Generate,
        Self::GenerateHttp2,
        Self::Decrypt,
        Self::Encrypt,
        Self::Connect,
    ];

    /// How many connections do it: bodies under way may have 64 MiB together.
    fn connections(self, wanted: usize) -> usize {
        if self == Self::Encrypt {
            wanted.min(16)
        } else {
            wanted
        }
    }

    /// The request by HTTP/1.1.
    pub fn request(self, ciphertext: &str) -> Vec<u8> {
        let (api, body) = match self {
            Self::Generate | Self::GenerateHttp2 | Self::Connect => ("generate", String::new()),
            Self::Decrypt => ("decrypt", format!(r#"{{"ciphertext":"{ciphertext}"}}"#)),
            Self::Encrypt => {
                let plaintext = "AAAA".repeat(700_000 / 3);
                ("encrypt", format!(r#"{{"plaintext":"{plaintext}"}}"#))
            }
        };
        let length = body.len();
        format!(
            "POST /v1/key/{api}/{KEY} HTTP/1.1\r\nhost: localhost\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generate => "generate",
            Self::GenerateHttp2 => "generate, HTTP/2",
            Self::Decrypt => "decrypt",
            Self::Encrypt => "encrypt 700 kB",
            Self::Connect => "new connections",
        })
    }
}

/// What a server is driven with.
pub struct Load {
    /// What it is asked to do.
    pub work: Work,
    /// How many requests are under way at any time, each on a connection of its own.
    pub connections: usize,
    /// How long it is measured.
    pub time: Duration,
}

impl Load {
    /// Drives and measures a server.
    pub fn run(&self, server: &Server) -> Round {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, self.measure(server))
    }

    async fn measure(&self, server: &Server) -> Round {
        let answered = Rc::new(Cell::new(0_u32));
        // The client never sleeps: else the server pays for waking its core, and the slower server
        // more often.
        spawn_local(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let address: Rc<str> = server.address().into();
        let ciphertext = ciphertext(&address).await;
        let request: Rc<[u8]> = self.work.request(&ciphertext).into();
        for _ in 0..self.work.connections(self.connections) {
            let (address, request) = (address.clone(), request.clone());
            let answered = answered.clone();
            // They end with the runtime.
            match self.work {
                Work::GenerateHttp2 => {
                    let stream = connect(&address, b"h2").await;
                    spawn_local(ask_by_http2(stream, answered))
                }
                Work::Connect => spawn_local(connect_again(address, request, answered)),
                _ => {
                    let stream = connect(&address, b"http/1.1").await;
                    spawn_local(ask_by_http1(stream, request, answered))
                }
            };
        }
        tokio::time::sleep(WARM_UP).await;
        let (count, cpu, begin) = (answered.get(), server.cpu(), Instant::now());
        tokio::time::sleep(self.time).await;
        let count = answered.get() - count;
        let (cpu, time) = (server.cpu() - cpu, begin.elapsed());
        assert!(count > 0, "{} answered nothing", server.name);
        Round {
            requests_per_second: f64::from(count) / time.as_secs_f64(),
            cpu_microseconds: cpu.as_secs_f64() * 1e6 / f64::from(count),
            busy: cpu.as_secs_f64() / time.as_secs_f64(),
            resident_mebibytes: server.resident(),
        }
    }
}

/// A connection.
pub type Stream = TlsStream<TcpStream>;

/// A connection whose protocol is named as ALPN has it.
pub async fn connect(address: &str, protocol: &[u8]) -> Stream {
    let credentials = Credentials::of(&server::client());
    let mut config = config(Some(&credentials), &[&rustls::version::TLS13]);
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

/// A DEK's ciphertext, in base64.
async fn ciphertext(address: &str) -> String {
    let mut stream = connect(address, b"http/1.1").await;
    let mut answer = Vec::new();
    ask(&mut stream, &Work::Generate.request(""), &mut answer).await;
    let start = answer.iter().position(|byte| *byte == b'{').unwrap();
    let json: serde_json::Value = serde_json::from_slice(&answer[start..]).unwrap();
    json["ciphertext"].as_str().unwrap().to_owned()
}

async fn ask_by_http1(mut stream: Stream, request: Rc<[u8]>, answered: Rc<Cell<u32>>) {
    let mut answer = Vec::with_capacity(4096);
    loop {
        ask(&mut stream, &request, &mut answer).await;
        answered.set(answered.get() + 1);
    }
}

async fn connect_again(address: Rc<str>, request: Rc<[u8]>, answered: Rc<Cell<u32>>) {
    let mut answer = Vec::with_capacity(4096);
    loop {
        let mut stream = connect(&address, b"http/1.1").await;
        ask(&mut stream, &request, &mut answer).await;
        answered.set(answered.get() + 1);
    }
}

/// Sends a request and waits for its answer.
pub async fn ask(stream: &mut Stream, request: &[u8], answer: &mut Vec<u8>) {
    stream.write_all(request).await.unwrap();
    stream.flush().await.unwrap();
    answer.clear();
    while !is_whole_answer(answer) {
        let length = stream.read_buf(answer).await.unwrap();
        assert!(length > 0, "the server has closed a connection");
    }
}

/// Whether all of an answer is there, which must be a success.
fn is_whole_answer(bytes: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).unwrap() else {
        return false;
    };
    assert_eq!(response.code, Some(200));
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .unwrap();
    let length: usize = std::str::from_utf8(length.value).unwrap().parse().unwrap();
    assert!(length > 0, "an answer without a key");
    bytes.len() >= head + length
}

async fn ask_by_http2(stream: Stream, answered: Rc<Cell<u32>>) {
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    spawn_local(async { connection.await.unwrap() });
    let request = http::Request::post(format!("https://localhost/v1/key/generate/{KEY}"))
        .version(http::Version::HTTP_2)
        .body(())
        .unwrap();
    loop {
        sender = sender.ready().await.unwrap();
        let (response, _) = sender.send_request(request.clone(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            length += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert!(length > 0, "an answer without a key");
        answered.set(answered.get() + 1);
    }
}
