//! The server that a proxy signs requests for, and the connection to it.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use sealedge_core::auth::signature::{Message, Signer};
use sealedge_core::identity::Identity;
use sealedge_core::time::Time;
use tokio::task::JoinError;

use crate::admission::Busy;
use crate::cli::endpoint::Endpoint;
use crate::guest::wall_clock;
use crate::outside::causes;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a request may take until its answer is there. A server takes 15 s at most, if its
/// configuration says nothing else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection without a request is kept: less than a server keeps it.
const IDLE: Duration = Duration::from_secs(60);

/// How often a server is asked whether it is still there, and how long it may take to say so. All
/// requests share one connection, so that it must be given up soon when packets vanish.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(5);

/// How long to wait before a server that refuses a connection is tried once more: it may be starting.
const PAUSE: Duration = Duration::from_millis(250);

/// A server elsewhere, for which requests are signed.
pub struct Upstream {
    server: Endpoint,
    /// As it is signed.
    authority: String,
    signer: RwLock<Arc<Signer>>,
    random: SystemRandom,
    /// For requests that are signed, which share a connection.
    signed: Connected,
    /// And for the others: what ends their connection ends no request of those whom the proxy lets in.
    unsigned: Connected,
}

type Connected = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A request to be sent on.
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its path and query, as they came.
    pub target: PathAndQuery,
    /// What is handed on of its headers.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Bytes,
    /// Whether it is signed.
    pub is_signed: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Fault {
    /// No request can be made of it.
    Request(hyper::http::Error),
    /// There is no randomness to sign with.
    NoRandomness,
    /// The server can't be reached, or the connection ended before the answer.
    Http(legacy::Error),
    /// The answer ended before its end.
    BrokenOff(String),
    /// The answer is longer than answers are.
    TooLong,
    /// There is no room for the answer.
    NoRoom(Busy),
    /// The answer says that something else follows, which nobody has asked for.
    Informational(StatusCode),
    /// The proxy has lost it.
    Lost(JoinError),
    /// The answer did not come in time.
    TimedOut,
}

impl Upstream {
    /// Nothing is asked of it yet.
    pub fn new(server: Endpoint, authority: String, signer: Signer, tls: ClientConfig) -> Self {
        Self {
            server,
            authority,
            signer: RwLock::new(Arc::new(signer)),
            random: SystemRandom::new(),
            signed: connected(tls.clone()),
            unsigned: connected(tls),
        }
    }

    /// Where it is.
    pub const fn server(&self) -> &Endpoint {
        &self.server
    }

    /// Who its requests are signed as.
    pub fn identity(&self) -> Identity {
        self.signer().identity()
    }

    fn signer(&self) -> Arc<Signer> {
        let signer = self.signer.read().unwrap_or_else(PoisonError::into_inner);
        signer.clone()
    }

    /// From now on its requests are signed by this.
    pub fn sign_by(&self, signer: Signer) {
        let mut own = self.signer.write().unwrap_or_else(PoisonError::into_inner);
        *own = Arc::new(signer);
    }

    /// Signs a request that is to be, sends it and waits for the head of its answer. If nothing can have been done, it is
    /// signed and sent once more.
    ///
    /// # Errors
    /// [`Fault`] says why there is none.
    pub async fn send(&self, asked: &Asked) -> Result<Response<Incoming>, Fault> {
        match self.attempt(asked).await {
            Err(Fault::Http(error)) if error.is_connect() => {
                // What is wrong with a certificate is so in a moment, too.
                if is_untrusted(&error) {
                    return Err(Fault::Http(error));
                }
                tokio::time::sleep(PAUSE).await;
                self.attempt(asked).await
            }
            Err(Fault::Http(error)) if was_not_begun(&error) => self.attempt(asked).await,
            answer => answer,
        }
    }

    async fn attempt(&self, asked: &Asked) -> Result<Response<Incoming>, Fault> {
        let request = self.request(asked)?;
        let client = match asked.is_signed {
            true => &self.signed,
            false => &self.unsigned,
        };
        client.request(request).await.map_err(Fault::Http)
    }

    fn request(&self, asked: &Asked) -> Result<Request<Full<Bytes>>, Fault> {
        let uri = Uri::builder()
            .scheme(self.server.scheme())
            .authority(&*self.authority)
            .path_and_query(asked.target.clone())
            .build()
            .map_err(Fault::Request)?;
        let mut request = Request::builder().method(&asked.method).uri(uri);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&asked.headers);
        }
        if asked.is_signed {
            for (name, value) in self.signature(asked)? {
                request = request.header(name, value);
            }
        }
        let body = Full::new(asked.body.clone());
        request.body(body).map_err(Fault::Request)
    }

    fn signature(&self, asked: &Asked) -> Result<Vec<(&'static str, String)>, Fault> {
        let message = Message {
            method: asked.method.as_str(),
            authority: &self.authority,
            path: asked.target.path(),
            query: asked.target.query(),
        };
        let mut nonce = [0; 16];
        self.random
            .fill(&mut nonce)
            .map_err(|_| Fault::NoRandomness)?;
        let now = Time::from_nanos(wall_clock());
        Ok(self.signer().headers(&message, &asked.body, nonce, now))
    }
}

/// What speaks to a server, and keeps the connection.
fn connected(tls: ClientConfig) -> Connected {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_keepalive(Some(IDLE));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(connector);
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .http2_keep_alive_while_idle(true)
        .build(connector)
}

/// Whether a server has told us that it did not begin with a request: it was never sent, the connection
/// ends before it (RFC 9113, 6.8), or it was refused (8.7).
fn was_not_begun(error: &legacy::Error) -> bool {
    sources(error).any(|cause| {
        let was_not_sent = cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled);
        let was_refused = cause.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_remote()
                && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        });
        was_not_sent || was_refused
    })
}

/// Whether the server's certificate is at fault.
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|mut cause| {
        // Errors of I/O hide what they are made of: their source is that one's.
        while let Some(inner) = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            cause = inner;
        }
        matches!(
            cause.downcast_ref(),
            Some(rustls::Error::InvalidCertificate(_))
        )
    })
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

impl Fault {
    /// The status that says so.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::NoRandomness | Self::Lost(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Http(_) | Self::BrokenOff(_) | Self::TooLong | Self::Informational(_) => {
                StatusCode::BAD_GATEWAY
            }
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether the server is at fault, or the way to it.
    pub const fn is_away(&self) -> bool {
        !matches!(
            self,
            Self::Request(_) | Self::NoRandomness | Self::NoRoom(_) | Self::Lost(_)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(reason) => write!(f, "the request can't be sent on: {reason}"),
            Self::NoRandomness => f.write_str("the system gives no random bytes"),
            Self::Http(error) => {
                let what = match error.is_connect() {
                    true => "can't be reached",
                    false => "did not answer",
                };
                // The outermost error says no more than this.
                let why = error.source().map_or_else(|| causes(error), causes);
                write!(f, "{what}: {why}")?;
                if is_untrusted(error) {
                    f.write_str(
                        " (name its certificate or its authority's in SSL_CERT_FILE of the proxy)",
                    )?;
                }
                Ok(())
            }
            Self::BrokenOff(why) => write!(f, "its answer broke off: {why}"),
            Self::TooLong => f.write_str("its answer is too long"),
            Self::NoRoom(busy) => write!(f, "there is no room for its answer: {busy}"),
            Self::Informational(status) => {
                write!(f, "its answer is {status}, which nobody has asked for")
            }
            Self::Lost(error) => write!(f, "its answer is lost: {error}"),
            Self::TimedOut => write!(f, "no answer within {} s", PATIENCE.as_secs()),
        }
    }
}

impl Error for Fault {}
