//! HTTP/1.1 on a connection. While nothing happens it is asleep: without hyper, whose buffers are more
//! than half of what a connection costs. Clients keep connections by the thousand for the next request.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sealedge_core::metrics::Refusal;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::activity::{Overdue, Watched};
use super::connection::{cut_off, watch};
use super::http::{self, Connection};

/// How long a client that still sends is listened to after the end.
const LINGER: Duration = Duration::from_secs(2);

/// The longest head of a request, in bytes.
pub const LONGEST_HEAD: usize = 128 << 10;

/// Speaks HTTP/1.1 until the connection ends. An error says what the client did wrong.
pub async fn talk(
    mut stream: TokioIo<Watched>,
    connection: Arc<Connection>,
    stopping: watch::Receiver<bool>,
) -> Result<(), Refusal> {
    loop {
        let served = connection.clone();
        let service = service_fn(move |request| http::serve(served.clone(), request));
        let mut server = http1::Builder::new()
            // For hyper a kept-alive connection would be one whose head is late.
            .header_read_timeout(None)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(stream, service);
        let refused = || connection.client.is_refused();
        let activity = &connection.activity;
        let ended = watch(Pin::new(&mut server), activity, refused, stopping.clone()).await;
        let parts = server.into_parts();
        stream = parts.io;
        match ended {
            Err(Overdue::Quiet) => {
                stream.inner_mut().put_back(parts.read_buf);
                sleep(stream.inner(), &connection, stopping.clone()).await;
            }
            Err(overdue) => return cut_off(overdue),
            Ok(ended) => {
                linger(stream.into_inner().into_inner().into_inner().0).await;
                return match ended {
                    Err(error) if error.is_parse() => Err(Refusal::Head),
                    _ => Ok(()),
                };
            }
        }
    }
}

/// Waits until the client sends something, or the connection is to end.
async fn sleep(stream: &Watched, connection: &Connection, mut stopping: watch::Receiver<bool>) {
    if stream.has_unread() {
        return;
    }
    // hyper has read all that was there, so these are bytes of the next record. What they are, an end
    // or an error too, is for hyper to find out.
    let (socket, _) = stream.get_ref().get_ref();
    tokio::select! {
        _ = socket.readable() => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
        _ = connection.activity.overdue_asleep() => {}
    }
}
/// Listens for a while to a client that still sends a body which nobody wants. Closed with unread bytes,
/// the connection would be reset, and the client might lose its answer.
async fn linger(mut stream: TcpStream) {
    // Not in the future, which would have room for it all the time.
    let mut unread = vec![0; 8192];
    let rest = async {
        while stream
            .read(&mut unread)
            .await
            .is_ok_and(|length| length > 0)
        {}
    };
    let _ = timeout(LINGER, rest).await;
}
