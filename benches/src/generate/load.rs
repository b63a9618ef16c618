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

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with one stream at a time on each connection.
    Http2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// What a server is driven with.
pub struct Load {
    /// How it is spoken to.
    pub protocol: Protocol,
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
        for _ in 0..self.connections {
            let stream = connect(server.address(), self.protocol).await;
            let answered = answered.clone();
            // They end with the runtime.
            match self.protocol {
                Protocol::Http1 => spawn_local(ask_by_http1(stream, answered)),
                Protocol::Http2 => spawn_local(ask_by_http2(stream, answered)),
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

type Stream = TlsStream<TcpStream>;

async fn connect(address: &str, protocol: Protocol) -> Stream {
    let credentials = Credentials::of(&server::client());
    let mut config = config(Some(&credentials), &[&rustls::version::TLS13]);
    config.alpn_protocols = vec![match protocol {
        Protocol::Http1 => b"http/1.1".to_vec(),
        Protocol::Http2 => b"h2".to_vec(),
    }];
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

async fn ask_by_http1(mut stream: Stream, answered: Rc<Cell<u32>>) {
    let request = format!(
        "POST /v1/key/generate/{KEY} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
    );
    let mut buffer = Vec::with_capacity(4096);
    loop {
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        buffer.clear();
        while !is_whole_answer(&buffer) {
            let length = stream.read_buf(&mut buffer).await.unwrap();
            assert!(length > 0, "the server has closed a connection");
        }
        answered.set(answered.get() + 1);
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
