//! Where a proxy listens, and who is let in.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use ring::digest;
use sealedge_core::certificate::identity_of;
use sealedge_core::identity::Identity;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::forward::{self, Connection, Guest, Proxy};
use super::socket::{self, SocketFile};
use super::{ProxyError, tls};
use crate::admission::Accounts;
use crate::cli::error::Error;
use crate::cli::files;
use crate::cli::proxy::{Allowed, Listen, ProxyOptions};
use crate::limits::Limits;
use crate::pem;
use crate::server::tls::ServerCertificate;

/// Who is let in by certificate.
pub enum Guests {
    /// Whoever has one.
    All,
    /// These.
    These(Vec<Identity>),
}

impl Guests {
    /// Those that are allowed; without any, a client with the proxy's own identity.
    pub fn new(allowed: &[Allowed], own: Identity) -> Self {
        let mut these = Vec::new();
        for allowed in allowed {
            match allowed {
                Allowed::Any => return Self::All,
                Allowed::Identity(identity) => these.push(*identity),
            }
        }
        if these.is_empty() {
            these.push(own);
        }
        Self::These(these)
    }

    fn judge(&self, certificate: Option<&[u8]>) -> Guest {
        let Some(certificate) = certificate else {
            return Guest::Nobody;
        };
        match (identity_of(certificate), self) {
            (None, _) => Guest::Unreadable,
            (Some(identity), Self::These(these)) if !these.contains(&identity) => {
                Guest::Stranger(identity)
            }
            (Some(_), _) => Guest::Welcome,
        }
    }
}

impl fmt::Display for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("any certificate"),
            Self::These(these) => {
                let these: Vec<_> = these.iter().map(Identity::to_string).collect();
                f.write_str(&these.join(", "))
            }
        }
    }
}

/// A certificate that was made for this run.
#[derive(Serialize)]
pub struct Made {
    /// Its fingerprint, as openssl and browsers show it.
    pub sha256: String,
    /// Where it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Where clients come in.
pub enum Door {
    /// By mTLS.
    Tcp {
        /// Where.
        listener: TcpListener,
        /// The same.
        address: SocketAddr,
        /// Its certificate.
        acceptor: TlsAcceptor,
        /// Who may.
        guests: Arc<Guests>,
    },
    /// On a socket.
    Unix {
        /// Where.
        listener: UnixListener,
        /// The same.
        path: String,
        /// Is removed at the end.
        _file: SocketFile,
    },
}

/// A client that has come, and has shown nothing yet.
pub enum Visitor {
    /// Over the network.
    Tcp(TcpStream, SocketAddr, TlsAcceptor, Arc<Guests>),
    /// By a socket.
    Unix(UnixStream),
}

impl Door {
    /// Listens as the options say; the certificate that was made for that, if one was.
    ///
    /// # Errors
    /// The options don't go together, a file can't be used, or the address.
    pub async fn open(
        options: &ProxyOptions,
        guests: Guests,
    ) -> Result<(Self, Option<Made>), Error> {
        match &options.listen {
            Listen::Tcp(address) => Self::tcp(options, *address, guests).await,
            Listen::Unix(path) => Ok((Self::unix(options, path)?, None)),
        }
    }

    fn unix(options: &ProxyOptions, path: &Path) -> Result<Self, ProxyError> {
        if !options.allow.is_empty() {
            return Err(ProxyError::AllowOnSocket);
        }
        if options.tls_key.is_some() || options.cert_out.is_some() {
            return Err(ProxyError::CertificateOnSocket);
        }
        let failed = |reason| ProxyError::Listen {
            address: path.display().to_string(),
            reason,
        };
        let (listener, file) = socket::listen(path).map_err(failed)?;
        Ok(Self::Unix {
            listener: UnixListener::from_std(listener).map_err(failed)?,
            path: path.display().to_string(),
            _file: file,
        })
    }

    async fn tcp(
        options: &ProxyOptions,
        address: SocketAddr,
        guests: Guests,
    ) -> Result<(Self, Option<Made>), Error> {
        if matches!(guests, Guests::All) && !address.ip().is_loopback() {
            return Err(ProxyError::AnyFromElsewhere(address.to_string()).into());
        }
        let failed = |reason| ProxyError::Listen {
            address: address.to_string(),
            reason,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (certificate, named, made) = match (&options.tls_key, &options.tls_cert) {
            (Some(key), Some(file)) => (tls::read(key, file)?, (&**key, &**file), None),
            _ => {
                let certificate =
                    ServerCertificate::of_this_machine().map_err(ProxyError::Certificate)?;
                let made = made(&certificate, options.cert_out.as_deref())?;
                (certificate, (Path::new(""), Path::new("")), Some(made))
            }
        };
        let door = Self::Tcp {
            listener,
            address,
            acceptor: Arc::new(tls::server_side(certificate, named)?).into(),
            guests: Arc::new(guests),
        };
        Ok((door, made))
    }

    /// Who may come in, for people.
    pub fn clients(&self) -> String {
        match self {
            Self::Tcp { guests, .. } => guests.to_string(),
            Self::Unix { .. } => "this user".to_owned(),
        }
    }

    /// Waits for a client.
    ///
    /// # Errors
    /// The system gives none.
    pub async fn accept(&self) -> std::io::Result<Visitor> {
        match self {
            Self::Tcp {
                listener,
                acceptor,
                guests,
                ..
            } => {
                let (stream, peer) = listener.accept().await?;
                Ok(Visitor::Tcp(stream, peer, acceptor.clone(), guests.clone()))
            }
            Self::Unix { listener, .. } => Ok(Visitor::Unix(listener.accept().await?.0)),
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => write!(f, "https://{address}"),
            Self::Unix { path, .. } => write!(f, "unix:{path}"),
        }
    }
}

/// What is told of a certificate, which is written where clients find it.
fn made(certificate: &ServerCertificate, file: Option<&Path>) -> Result<Made, Error> {
    let der = certificate
        .chain
        .first()
        .map(|it| &**it)
        .unwrap_or_default();
    if let Some(file) = file {
        files::write(file, pem::certificate(der).as_bytes(), true)?;
    }
    let hash = digest::digest(&digest::SHA256, der);
    let pairs: Vec<_> = hash.as_ref().iter().map(|it| format!("{it:02X}")).collect();
    Ok(Made {
        sha256: pairs.join(":"),
        file: file.map(|file| file.display().to_string()),
    })
}

impl Visitor {
    /// From where it comes.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Tcp(_, peer, ..) => peer.ip().to_canonical(),
            Self::Unix(_) => Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Serves it to its end.
    pub async fn serve(self, proxy: Arc<Proxy>, accounts: Arc<Accounts>, limits: Limits) {
        let mut stopping = proxy.stopping.clone();
        let connection = |client| {
            Arc::new(Connection {
                proxy,
                client,
                accounts,
            })
        };
        match self {
            Self::Unix(stream) => {
                talk(stream, false, connection(Guest::Welcome), limits, stopping).await
            }
            Self::Tcp(stream, _, acceptor, guests) => {
                let _ = stream.set_nodelay(true);
                let accepted = tokio::select! {
                    accepted = timeout(limits.head, acceptor.accept(stream)) => accepted,
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                };
                // A client that fails here hears why by TLS.
                let Ok(Ok(stream)) = accepted else { return };
                let (_, session) = stream.get_ref();
                let shown = session.peer_certificates().and_then(|chain| chain.first());
                let client = guests.judge(shown.map(|own| &**own));
                let is_http2 = session.alpn_protocol() == Some(b"h2");
                talk(stream, is_http2, connection(client), limits, stopping).await;
            }
        }
    }
}

/// Speaks HTTP with a client.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_http2: bool,
    connection: Arc<Connection>,
    limits: Limits,
    stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| forward::serve(connection.clone(), request));
    let stream = TokioIo::new(stream);
    if is_http2 {
        let mut server = http2::Builder::new(TokioExecutor::new());
        server
            .timer(TokioTimer::new())
            // A client that is gone without a word.
            .keep_alive_interval(limits.idle)
            .keep_alive_timeout(limits.head);
        finish(server.serve_connection(stream, service), stopping).await;
    } else {
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            // From the end of a request to the head of the next.
            .header_read_timeout(limits.idle);
        finish(server.serve_connection(stream, service), stopping).await;
    }
}

/// Drives a connection to its end. When the proxy is told to stop, what is under way goes on.
async fn finish<C: GracefulConnection>(server: C, mut stopping: watch::Receiver<bool>) {
    let mut server = pin!(server);
    tokio::select! {
        _ = server.as_mut() => return,
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    server.as_mut().graceful_shutdown();
    let _ = server.await;
}
