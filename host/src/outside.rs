//! Requests to servers elsewhere, and files, on behalf of the service: only those that the configuration
//! names.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use sealedge_core::config::File;
use sealedge_core::outgoing::{self, ClientCertificate, Destination, Fault, Response};
use zeroize::Zeroizing;

use crate::{file, pem};

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(60);

/// How many are kept: each that was lost without a word costs the request that tries it its time.
const MOST_IDLE: usize = 8;

/// What the service may reach.
#[derive(Default)]
pub struct Outside {
    servers: Vec<Server>,
    files: Vec<File>,
}

/// A server elsewhere, and the connections to it.
struct Server {
    origin: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A server elsewhere can't be spoken to as the configuration wants it.
#[derive(Debug)]
pub struct OutsideError {
    /// The server.
    origin: String,
    /// Which file is at fault, and why.
    reason: String,
}

impl fmt::Display for OutsideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key store {}: {}", self.origin, self.reason)
    }
}

impl Error for OutsideError {}

impl Outside {
    /// What the configuration names.
    ///
    /// # Errors
    /// A file of TLS can't be used.
    pub fn new(destinations: &[Destination], files: Vec<File>) -> Result<Self, OutsideError> {
        let servers = destinations.iter().map(Server::new);
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
            files,
        })
    }

    /// Sends a request, once, and waits for all of its answer.
    ///
    /// # Errors
    /// There is none.
    pub async fn fetch(&self, request: outgoing::Request) -> Result<Response, Fault> {
        let server = self.servers.get(request.destination);
        let server = server.ok_or_else(|| unreachable("there is no such server"))?;
        let (limit, timeout) = (request.limit, request.timeout);
        let answer = async { received(server.send(request).await?, limit).await };
        tokio::time::timeout(timeout, answer)
            .await
            .unwrap_or(Err(Fault::TimedOut))
    }

    /// Reads a file, which blocks.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn read(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        let named = self.files.iter().find(|known| known.path == path);
        let content = match named {
            Some(file) if file.is_private => file::read_private(Path::new(path)),
            Some(_) => file::read(Path::new(path)),
            None => return Err("the configuration does not name it".to_owned()),
        };
        content.map_err(|reason| reason.to_string())
    }
}

impl Server {
    fn new(destination: &Destination) -> Result<Self, OutsideError> {
        let origin = destination.origin.clone();
        let tls = tls(destination).map_err(|reason| OutsideError {
            origin: origin.clone(),
            reason,
        })?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            // By HTTP/2 all requests would wait on one connection, which nobody gives up when packets vanish.
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .build(connector);
        Ok(Self { origin, client })
    }

    async fn send(&self, asked: outgoing::Request) -> Result<hyper::Response<Incoming>, Fault> {
        let agent = HeaderValue::from_static(concat!("sealedge/", env!("CARGO_PKG_VERSION")));
        let mut request = Request::builder()
            .method(&*asked.method)
            .uri(format!("{}{}", self.origin, asked.path))
            .header(USER_AGENT, agent);
        for (name, value) in asked.headers {
            let mut value = HeaderValue::from_str(&value).map_err(unreachable)?;
            value.set_sensitive(true);
            request = request.header(&*name, value);
        }
        let body = Full::new(Bytes::from_owner(asked.body));
        let request = request.body(body).map_err(unreachable)?;
        let sent = self.client.request(request).await;
        sent.map_err(|reason| {
            let plain = if speaks_no_tls(&reason) {
                "; it does not speak TLS: is its URL one of http?"
            } else {
                ""
            };
            unreachable(causes(&reason) + plain)
        })
    }
}

/// The client's side of TLS.
fn tls(destination: &Destination) -> Result<ClientConfig, String> {
    let roots = match &destination.authorities {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            pem::add_authorities(&mut roots, Path::new(path))?;
            roots
        }
        None if destination.origin.starts_with("https:") => pem::system_authorities(),
        None => RootCertStore::empty(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .map_err(|reason| reason.to_string())?
        .with_root_certificates(roots);
    let Some(ClientCertificate { certificate, key }) = &destination.certificate else {
        return Ok(config.with_no_client_auth());
    };
    let in_file = |path: &str, reason: &dyn fmt::Display| format!("{path}: {reason}");
    let chain = pem::certificates(Path::new(certificate))
        .map_err(|reason| in_file(certificate, &reason))?;
    let private = pem::private_key(Path::new(key), None).map_err(|reason| in_file(key, &reason))?;
    config
        .with_client_auth_cert(chain, private)
        .map_err(|reason| in_file(key, &reason))
}

async fn received(response: hyper::Response<Incoming>, limit: usize) -> Result<Response, Fault> {
    let (head, body) = response.into_parts();
    let headers = head.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let headers = headers.collect();
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(Response {
            status: head.status.as_u16(),
            headers,
            body: body.to_bytes().to_vec().into(),
        }),
        Err(error) if error.is::<LengthLimitError>() => Err(Fault::TooLarge),
        Err(error) => {
            let why = format!("the answer broke off: {}", causes(&*error));
            Err(unreachable(why))
        }
    }
}

fn unreachable(why: impl fmt::Display) -> Fault {
    Fault::Unreachable(why.to_string())
}

/// Whether TLS failed since what came was none at all.
fn speaks_no_tls(error: &(dyn Error + 'static)) -> bool {
    if let Some(reason) = error.downcast_ref::<rustls::Error>() {
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        return *reason == plain;
    }
    // An error of I/O names as its source what is behind the one that it is made of.
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match inner {
        Some(inner) => speaks_no_tls(inner),
        None => error.source().is_some_and(speaks_no_tls),
    }
}

/// What the libraries say, from the outermost to the cause: each names only its own part.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut said = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        said.push(cause.to_string());
        next = cause.source();
    }
    // Some say their cause as well.
    said.dedup_by(|cause, whole| whole.ends_with(cause.as_str()));
    said.join(": ")
}
