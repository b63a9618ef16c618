//! A load by a client of our own that costs less than any server here, and never sleeps.
//!
//! Else the server pays for waking the client's core, and the slower server more often: with bombardier
//! 0.03 times a request natively, 0.45 times as a component.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::client::TlsStream;

use crate::client::Client;
use crate::report::Round;
use crate::server::Server;
use crate::work::Load;

/// How it talks: one request at a time on each connection.
#[derive(Clone, Copy)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without bodies of requests.
    Http2,
}

type Stream = TlsStream<TcpStream>;

/// Drives and measures a server.
pub async fn drive(server: &Server, client: &Client, protocol: Protocol, load: Load) -> Round {
    let answered = Rc::new(Cell::new(0_u32));
    let mut tasks = JoinSet::new();
    for _ in 0..load.connections {
        let answered = answered.clone();
        match protocol {
            Protocol::Http1 => {
                let stream = client.stream(&server.address, b"http/1.1").await;
                tasks.spawn_local(ask_by_http1(stream, request(&load), answered));
            }
            Protocol::Http2 => {
                let stream = client.stream(&server.address, b"h2").await;
                tasks.spawn_local(ask_by_http2(stream, load.path.clone(), answered));
            }
        }
    }
    let awake = stay_awake();
    answered.set(0);
    let (cpu, begin) = (server.cpu(), Instant::now());
    tokio::time::sleep(load.time).await;
    let (count, cpu, time) = (answered.get(), server.cpu() - cpu, begin.elapsed());
    let resident = server.resident();
    assert!(count > 0, "{} answered nothing", server.name);
    awake.abort();
    tasks.shutdown().await;
    Round::new(count, time.as_secs_f64(), cpu, resident)
}

/// Keeps this process awake until it is aborted.
pub fn stay_awake() -> AbortHandle {
    let awake = tokio::task::spawn_local(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    awake.abort_handle()
}

/// The request by HTTP/1.1.
fn request(load: &Load) -> Vec<u8> {
    let (path, body, length) = (&load.path, &load.body, load.body.len());
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

async fn ask_by_http1(mut stream: Stream, request: Vec<u8>, answered: Rc<Cell<u32>>) {
    let mut answer = Vec::with_capacity(4096);
    loop {
        stream.write_all(&request).await.unwrap();
        stream.flush().await.unwrap();
        answer.clear();
        while !is_whole_answer(&answer) {
            let length = stream.read_buf(&mut answer).await.unwrap();
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

async fn ask_by_http2(stream: Stream, path: String, answered: Rc<Cell<u32>>) {
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let mut connections = JoinSet::new();
    connections.spawn_local(async { connection.await.unwrap() });
    let request = http::Request::post(format!("https://localhost{path}"))
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
