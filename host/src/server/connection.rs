//! Connections: how many there may be, and each from its handshake to its end.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use sealedge_core::client;
use sealedge_core::metrics::Refusal;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::activity::{Activity, Overdue, Stream, Watched};
use super::http::{self, Connection};
use super::http1;
use super::refusals::Refusals;
use super::terms::{Client, InForce, Terms};
use crate::admission::Admission;
use crate::guest::Machine;
use crate::limits::Limits;
use crate::pool::Pool;

/// How much a client may send by HTTP/2 before it is read, in bytes: of a request, and of all requests
/// of a connection.
const WINDOWS: (u32, u32) = (128 << 10, 512 << 10);

/// All connections, of which there may be so many at a time.
pub struct Connections {
    places: Arc<Semaphore>,
    limit: u32,
}

impl Connections {
    /// None yet.
    pub fn new(limit: usize) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Self {
            places: Arc::new(Semaphore::new(limit as usize)),
            limit,
        }
    }

    /// A place for one more, until it is dropped.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        (self.limit as usize).saturating_sub(self.places.available_permits())
    }

    /// Waits until all have ended.
    pub async fn end(&self) {
        // It is never closed, which would be an error.
        let _ = self.places.acquire_many(self.limit).await;
    }
}

/// What is known of a connection before its handshake.
pub struct Template {
    /// The service.
    pub pool: Arc<Pool>,
    /// Whose logs are read.
    pub machine: Arc<Machine>,
    /// Lets requests in.
    pub admission: Arc<Admission>,
    /// Hears what is refused.
    pub refusals: Arc<Refusals>,
    /// How long the client may take.
    pub limits: Limits,
    /// The client's address, without its port.
    pub ip: IpAddr,
    /// The terms on which it is let in.
    pub in_force: Arc<InForce>,
    /// Becomes true when the server is told to stop.
    pub stopping: watch::Receiver<bool>,
}

/// Serves one connection.
pub async fn serve(stream: TcpStream, mut template: Template) {
    // An answer is small and complete: waiting for more to send would only delay it.
    let _ = stream.set_nodelay(true);
    let terms = template.in_force.terms();
    let acceptor = TlsAcceptor::from(terms.tls.clone());
    let accepted = tokio::select! {
        accepted = timeout(template.limits.head, acceptor.accept(stream)) => accepted,
        // Handshakes have nothing in flight.
        _ = template.stopping.wait_for(|stopping| *stopping) => return,
    };
    let refusals = template.refusals.clone();
    match accepted {
        Ok(Ok(stream)) => {
            if let Err(refusal) = talk(Box::new(stream), template, terms).await {
                refusals.count(refusal);
            }
        }
        Ok(Err(error)) => refusals.handshake(template.ip, &error),
        Err(_elapsed) => refusals.count(Refusal::HandshakeTimeout),
    }
}

/// Speaks HTTP with a client that has shown who it is. An error says what the client did wrong: how a
/// connection ends otherwise concerns only the client, for each request was answered or was not there.
async fn talk(stream: Stream, template: Template, terms: Arc<Terms>) -> Result<(), Refusal> {
    let (_, session) = stream.get_ref();
    let chain: Vec<Vec<u8>> = session
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let ip = template.ip.to_string();
    let Ok(client) = template.pool.authenticate(&chain, &ip) else {
        return Ok(());
    };
    let account = client::Client::from_bytes(client.clone()).account();
    let activity = Activity::new(template.limits, !is_http2);
    let connection = Arc::new(Connection {
        pool: template.pool,
        machine: template.machine,
        stopping: template.stopping.clone(),
        refusals: template.refusals,
        accounts: template.admission.accounts(&account, template.ip),
        activity: activity.clone(),
        client: Client::new(template.in_force, terms, chain, ip, client),
    });
    let stream = TokioIo::new(Watched::new(stream, activity));
    let stopping = template.stopping;
    if is_http2 {
        let served = connection.clone();
        let service = service_fn(move |request| http::serve(served.clone(), request));
        let server = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .serve_connection(stream, service);
        let refused = || connection.client.is_refused();
        match watch(pin!(server), &connection.activity, refused, stopping).await {
            Err(overdue) => cut_off(overdue),
            Ok(Err(error)) if !is_gone(&error) => Err(Refusal::Http2),
            Ok(_) => Ok(()),
        }
    } else {
        http1::talk(stream, connection, stopping).await
    }
}

/// Drives a connection to its end, unless it is overdue before. One whose client is not to ask anything
/// more ends when nothing is under way.
pub async fn watch<C: GracefulConnection>(
    mut server: Pin<&mut C>,
    activity: &Activity,
    is_refused: impl Fn() -> bool,
    mut stopping: watch::Receiver<bool>,
) -> Result<C::Output, Overdue> {
    let mut stop = pin!(stopping.wait_for(|stopping| *stopping));
    // Something has happened on the connection whenever this is polled: nobody need wake it.
    let refused = || {
        poll_fn(|_| match is_refused() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
    };
    let mut closing = false;
    loop {
        let overdue = tokio::select! {
            biased;
            ended = server.as_mut() => return Ok(ended),
            _ = stop.as_mut(), if !closing => Overdue::Idle,
            () = refused(), if !closing => Overdue::Idle,
            overdue = activity.overdue() => overdue,
        };
        if overdue != Overdue::Idle {
            return Err(overdue);
        }
        // What is under way goes on; by HTTP/2 the client is told (GOAWAY).
        closing = true;
        activity.close();
        server.as_mut().graceful_shutdown();
    }
}

/// What a connection that was cut off counts as.
pub fn cut_off(overdue: Overdue) -> Result<(), Refusal> {
    match overdue {
        Overdue::Head => Err(Refusal::HeadTimeout),
        Overdue::Unread => Err(Refusal::Unread),
        Overdue::Idle | Overdue::Quiet | Overdue::End => Ok(()),
    }
}

/// Whether a connection ended because the client or the network is gone.
fn is_gone(error: &hyper::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<io::Error>())
}
