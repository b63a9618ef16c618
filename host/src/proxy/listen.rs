//! Where a proxy listens, and who is let in.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ring::digest;
use sealedge_core::certificate::identity_of;
use sealedge_core::identity::Identity;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::forward::{self, Connection, Guest, Proxy};
use super::socket::{self, SocketFile};
use super::{ProxyError, tls};
use crate::admission::Admission;
use crate::cli::error::Error;
use crate::cli::files;
use crate::cli::proxy::{Allowed, Listen, ProxyOptions};
use crate::limits::Limits;
use crate::pem;
use crate::server::activity::{Activity, Socket, Stream, Watched};
use crate::server::connection::watch as drive;
use crate::server::http1::LONGEST_HEAD;
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
            (Some(identity), _) => Guest::Welcome(Some(identity)),
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

/// A certificate and its key, as TLS uses them.
pub type Acceptor = Arc<watch::Sender<TlsAcceptor>>;

/// Where clients come in.
pub enum Door {
    /// By mTLS.
    Tcp {
        /// Where.
        listener: TcpListener,
        /// The same.
        address: SocketAddr,
        /// Its certificate, which may become another.
        acceptor: Acceptor,
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
        let (acceptor, made) = match tls::of_files(options)? {
            Some(acceptor) => (acceptor, None),
            None => {
                let certificate =
                    ServerCertificate::of_this_machine().map_err(ProxyError::Certificate)?;
                let made = made(&certificate, options.cert_out.as_deref())?;
                let acceptor = tls::server_side(certificate, (Path::new(""), Path::new("")))?;
                (acceptor, Some(made))
            }
        };
        let door = Self::Tcp {
            listener,
            address,
            acceptor: Arc::new(watch::Sender::new(acceptor)),
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

    /// Its certificate, if it has one.
    pub fn acceptor(&self) -> Option<Acceptor> {
        match self {
            Self::Tcp { acceptor, .. } => Some(acceptor.clone()),
            Self::Unix { .. } => None,
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
                let acceptor = acceptor.borrow().clone();
                Ok(Visitor::Tcp(stream, peer, acceptor, guests.clone()))
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
    /// Serves it to its end.
    pub async fn serve(self, proxy: Arc<Proxy>, admission: Arc<Admission>, limits: Limits) {
        let mut stopping = proxy.stopping.clone();
        match self {
            Self::Unix(stream) => {
                let client = Guest::Welcome(None);
                let accounts = admission.accounts(client.account(), Ipv4Addr::LOCALHOST.into());
                let activity = Activity::new(limits, true);
                let connection = Connection {
                    proxy,
                    client,
                    accounts,
                    activity,
                };
                http1(stream, connection, stopping).await;
            }
            Self::Tcp(stream, peer, acceptor, guests) => {
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
                // Some are kept for those who are let in.
                let place = match client {
                    Guest::Nobody => proxy.of_nobody.place().map(Some),
                    _ => Some(None),
                };
                let Some(_place) = place else { return };
                let accounts = admission.accounts(client.account(), peer.ip().to_canonical());
                let connection = Connection {
                    proxy,
                    client,
                    accounts,
                    activity: Activity::new(limits, !is_http2),
                };
                if is_http2 {
                    http2(Box::new(stream), connection, limits, stopping).await;
                } else {
                    http1(Box::new(stream), connection, stopping).await;
                }
            }
        }
    }
}

/// Speaks HTTP/1.1 with a client, until the connection ends or is overdue.
async fn http1<S: Socket + Send + 'static>(
    stream: S,
    connection: Connection,
    stopping: watch::Receiver<bool>,
) {
    let activity = connection.activity.clone();
    let stream = TokioIo::new(Watched::new(stream, activity.clone()));
    let connection = Arc::new(connection);
    let service = service_fn(move |request| forward::serve(connection.clone(), request));
    let server = http1::Builder::new()
        // For hyper a kept-alive connection would be one whose head is late.
        .header_read_timeout(None)
        // More than is handed on: there are words to refuse it with.
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(stream, service);
    let _ = drive(pin!(server), &activity, || false, stopping).await;
}

/// The same by HTTP/2.
async fn http2(
    stream: Stream,
    connection: Connection,
    limits: Limits,
    stopping: watch::Receiver<bool>,
) {
    let activity = connection.activity.clone();
    let stream = TokioIo::new(Watched::new(stream, activity.clone()));
    let connection = Arc::new(connection);
    let service = service_fn(move |request| forward::serve(connection.clone(), request));
    let server = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // A client that is gone without a word.
        .keep_alive_interval(limits.idle)
        .keep_alive_timeout(limits.head)
        .serve_connection(stream, service);
    let _ = drive(pin!(server), &activity, || false, stopping).await;
}
