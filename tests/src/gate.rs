//! A gate before an HTTP server: it lets requests through, and holds one where a test wants it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The gate.
pub struct Gate {
    /// `127.0.0.1:PORT`.
    pub address: String,
    trap: Arc<Mutex<Option<Trap>>>,
}

/// What is to be held.
struct Trap {
    /// A part of the line of the request, such as `DELETE /v1/`.
    part: String,
    /// How many such requests go before it.
    before: usize,
    is_lost: bool,
    held: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

/// A request that is to be held.
pub struct Held {
    held: oneshot::Receiver<()>,
    go_on: oneshot::Sender<()>,
}

impl Held {
    /// Waits until it is there.
    pub async fn is_there(&mut self) {
        let _ = (&mut self.held).await;
    }

    /// Lets it go on.
    pub fn go_on(self) {
        let _ = self.go_on.send(());
    }
}

impl Gate {
    /// A gate to the server at this address.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn new(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let trap = Arc::<Mutex<Option<Trap>>>::default();
        let (server, trapping) = (server.to_owned(), trap.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, trap) = (server.clone(), trapping.clone());
                let pass = service_fn(move |request| pass(server.clone(), trap.clone(), request));
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), pass));
            }
        });
        Self { address, trap }
    }

    /// Holds the request with this part in its line that comes after so many others. `is_lost`: it has been
    /// done then, and its answer never comes.
    ///
    /// # Panics
    /// If another test has panicked.
    pub fn hold(&self, part: &str, before: usize, is_lost: bool) -> Held {
        let ((held, is_held), (go, go_on)) = (oneshot::channel(), oneshot::channel());
        *self.trap.lock().unwrap() = Some(Trap {
            part: part.into(),
            before,
            is_lost,
            held,
            go_on,
        });
        Held {
            held: is_held,
            go_on: go,
        }
    }
}

/// The trap, if the request with this line is in it.
fn caught(trap: &Mutex<Option<Trap>>, line: &str) -> Option<Trap> {
    let mut trap = trap.lock().unwrap();
    let waiting = trap.as_mut().filter(|it| line.contains(&it.part))?;
    if waiting.before == 0 {
        return trap.take();
    }
    waiting.before -= 1;
    None
}

async fn pass(
    server: String,
    trap: Arc<Mutex<Option<Trap>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Fault> {
    let line = format!("{} {}", request.method(), request.uri());
    let Some(trap) = caught(&trap, &line) else {
        return forward(&server, request).await;
    };
    if trap.is_lost {
        forward(&server, request).await?;
        let _ = trap.held.send(());
        let _ = trap.go_on.await;
        return Err("the answer is lost".into());
    }
    let _ = trap.held.send(());
    let _ = trap.go_on.await;
    forward(&server, request).await
}

async fn forward(server: &str, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Fault> {
    let (mut head, body) = request.into_parts();
    head.headers.insert(HOST, server.parse()?);
    let body = Full::new(body.collect().await?.to_bytes());
    let stream = TokioIo::new(TcpStream::connect(server).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(Request::from_parts(head, body)).await?;
    let (head, body) = answer.into_parts();
    let body = Full::new(body.collect().await?.to_bytes());
    Ok(Response::from_parts(head, body))
}
