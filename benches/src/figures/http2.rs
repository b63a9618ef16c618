//! A load by HTTP/2 that costs less than the server: one stream at a time on each of many connections.
//!
//! Bombardier costs more than the native server here. That then sleeps in between, pays for it, and
//! makes the slower sealedge look better than it is.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, stay_awake};
use crate::report::Round;
use crate::server::{KEY, Server};

/// Drives and measures a server with `generate` on so many connections.
pub async fn run(server: &Server, client: &Client, connections: usize, time: Duration) -> Round {
    let answered = Rc::new(Cell::new(0_u32));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let stream = client.connect_http2(&server.address).await;
        tasks.spawn_local(ask_again(stream, answered.clone()));
    }
    let awake = stay_awake();
    let (cpu, begin) = (server.cpu(), Instant::now());
    answered.set(0);
    tokio::time::sleep(time).await;
    let (cpu, time) = (server.cpu() - cpu, begin.elapsed());
    let resident = server.resident();
    let count = answered.get();
    assert!(count > 0, "{} answered nothing", server.name);
    awake.abort();
    tasks.shutdown().await;
    Round::new(count, time.as_secs_f64(), cpu, resident)
}

async fn ask_again(stream: TlsStream<TcpStream>, answered: Rc<Cell<u32>>) {
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let mut connections = JoinSet::new();
    connections.spawn_local(async { connection.await.unwrap() });
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
