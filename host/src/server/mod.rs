//! `sealedge server`: from the options to a running server, and to its end.

mod dev;
mod http;
mod reload;
mod terms;
mod tls;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::Parts;
use crate::cli::server::ServerOptions;
use crate::guest::Machine;
use crate::guest::types::{Settings, Store};
use crate::memory;
use crate::operation::Operations;
use crate::pool::{self, Pool};
use crate::store::{FsStore, KeyStore};
use dev::Dev;
use http::Connection;
use reload::{Files, Reloader};
use terms::{Client, InForce, Terms};
use tls::ServerCertificate;

/// How long a client may take for the TLS handshake, and for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests in flight may go on after the signal to stop.
const GRACE: Duration = Duration::from_secs(20);

/// How often the runtime is woken: how long a call that runs away can hold up others.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// Why the server did not start, or can't be reloaded.
#[derive(Debug)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StartError {
    ReadConfiguration {
        file: String,
        reason: std::io::Error,
    },
    Configuration {
        file: String,
        problems: String,
    },
    NotLoopback(String),
    NoRandomness,
    Certificate(String),
    Tls(tls::TlsError),
    Store(crate::store::StoreError),
    Listen {
        address: String,
        reason: std::io::Error,
    },
    Guest(String),
    Io(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadConfiguration { file, reason } => {
                write!(f, "can't read the configuration {file}: {reason}")
            }
            Self::Configuration { file, problems } => {
                write!(f, "the configuration {file} can't be used:")?;
                problems
                    .lines()
                    .try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::NotLoopback(address) => write!(
                f,
                "--dev listens on this machine alone and not on {address}: leave --addr out, \
                 or write a configuration (--config)"
            ),
            Self::NoRandomness => f.write_str("the system gives no random bytes"),
            Self::Certificate(reason) => write!(f, "can't make a certificate: {reason}"),
            Self::Tls(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Listen { address, reason } => {
                write!(f, "can't listen on {address}: {reason}")?;
                if reason.kind() == std::io::ErrorKind::AddrInUse {
                    f.write_str(" (stop the other server or choose another address by --addr)")?;
                }
                Ok(())
            }
            Self::Guest(reason) => f.write_str(reason),
            Self::Io(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

/// Runs a server of these parts until it is told to stop.
pub fn run(options: &ServerOptions, parts: Parts) -> ExitCode {
    if let Some(warning) = memory::keep_from_swap() {
        say(&format!("warning: {warning}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime.map_err(StartError::Io).and_then(|runtime| {
        keep_awake(&runtime).map_err(StartError::Io)?;
        let ended = runtime.block_on(serve(options, parts));
        // Blocking work that hangs, such as a read of a store that is away, must not hold up the end.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Wakes the runtime now and then. A thread of tokio that waits for the network and gets one event
/// works on it at once, and while it does nobody waits for the network: the others sleep until they
/// have work. If that one event starts a call that runs away, all connections would stand still.
fn keep_awake(runtime: &Runtime) -> std::io::Result<()> {
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("heartbeat".into())
        .spawn(move || {
            loop {
                std::thread::sleep(HEARTBEAT);
                // Once the runtime has ended it drops this, as it should.
                handle.spawn(std::future::ready(()));
            }
        })?;
    Ok(())
}

async fn serve(options: &ServerOptions, parts: Parts) -> Result<(), StartError> {
    // First, for until it is asked for this signal ends the process: one that comes while the server
    // starts is heeded once it runs.
    let hangup = signal(SignalKind::hangup()).map_err(StartError::Io)?;
    // A file that may not grow is then an error of the write, and no end of the process.
    let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ)).map_err(StartError::Io)?;
    let dev = if options.dev {
        Some(Dev::new(options.addr.as_deref())?)
    } else {
        None
    };
    let (file, document) = match (&dev, &options.config) {
        (Some(dev), _) => ("of --dev".to_owned(), dev.document.clone()),
        (None, Some(file)) => (file.display().to_string(), read_configuration(file)?),
        (None, None) => {
            return Err(StartError::Guest(
                "give a configuration (--config) or --dev".to_owned(),
            ));
        }
    };
    let machine = Arc::new(Machine::new().map_err(StartError::Io)?);
    let make = (parts.service)(machine.clone())
        .map_err(|error| StartError::Guest(format!("{error:#}")))?;
    let settings =
        pool::configure(&make, &document).map_err(|problems| StartError::Configuration {
            file,
            problems: problems.to_string(),
        })?;
    machine.set_error_log(settings.error_log);
    for warning in &settings.warnings {
        say(&format!("warning: {warning}"));
    }

    let files = Files::of(&settings.tls);
    let server = Server::bind(options, &settings, dev.as_ref()).await?;
    let store = open_store(&settings.store, parts)?;
    let size = std::thread::available_parallelism().map_or(1, |count| count.get());
    let not_started = |error: pool::StartError| StartError::Guest(error.to_string());
    let operations = Operations::new(store);
    let pool = Pool::new(size, make, document, machine.clone(), operations).map_err(not_started)?;
    pool.prepare().await.map_err(not_started)?;
    match &dev {
        Some(dev) => println!("{}", dev.banner(server.address)),
        None => say(&summary(&settings, server.address)),
    }
    let reloader = Reloader::new(
        pool.clone(),
        machine.clone(),
        server.in_force.clone(),
        options.config.clone(),
        options.addr.is_some(),
        settings,
        files,
    );
    reloader.run(hangup).map_err(StartError::Io)?;
    let ended = server.run(&pool, &machine).await;
    machine.flush();
    ended
}

/// What an operator wants to see of a server that has started.
fn summary(settings: &Settings, address: SocketAddr) -> String {
    let store = match &settings.store {
        Store::Memory => "memory, gone when the server stops".to_owned(),
        Store::Files(path) => format!("files in {path}"),
    };
    let clients = match (
        settings.tls.verify_clients,
        settings.tls.certificate_optional,
    ) {
        (false, false) => "any certificate",
        (false, true) => "any certificate, or none",
        (true, false) => "certificates of an authority",
        (true, true) => "certificates of an authority, or none",
    };
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "sealedge is listening on https://{address}\n  \
         version    {version}\n  \
         key store  {store}\n  \
         clients    {clients}"
    )
}

/// Tells the operator something while the server starts. It goes on if standard error is gone.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

fn read_configuration(file: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(file).map_err(|reason| StartError::ReadConfiguration {
        file: file.display().to_string(),
        reason,
    })
}

fn open_store(store: &Store, parts: Parts) -> Result<Arc<dyn KeyStore>, StartError> {
    Ok(match store {
        Store::Memory => (parts.memory_store)(),
        Store::Files(path) => Arc::new(FsStore::open(Path::new(path)).map_err(StartError::Store)?),
    })
}

/// A server that listens.
struct Server {
    listener: TcpListener,
    address: SocketAddr,
    in_force: Arc<InForce>,
}

impl Server {
    async fn bind(
        options: &ServerOptions,
        settings: &Settings,
        dev: Option<&Dev>,
    ) -> Result<Self, StartError> {
        let certificate = match dev {
            Some(dev) => dev.certificate.clone(),
            None => ServerCertificate::read(&settings.tls).map_err(StartError::Tls)?,
        };
        if let Some(warning) = certificate.warning(jiff::Timestamp::now().as_second()) {
            say(&format!("warning: {warning}"));
        }
        let terms = Terms::new(settings, certificate).map_err(StartError::Tls)?;
        let address = options.addr.as_ref().unwrap_or(&settings.address);
        // `:7373` means every address, as Go has it.
        let bound = if address.starts_with(':') {
            format!("0.0.0.0{address}")
        } else {
            address.clone()
        };
        let failed = |reason| StartError::Listen {
            address: address.clone(),
            reason,
        };
        let listener = TcpListener::bind(&bound).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            in_force: Arc::new(InForce::new(terms)),
        })
    }

    /// Serves until a signal to stop comes, and then what is in flight.
    async fn run(self, pool: &Arc<Pool>, machine: &Machine) -> Result<(), StartError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Io)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Io)?;
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(tick(pool.clone()));
        let connections = GracefulShutdown::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let template = Template {
                            pool: pool.clone(),
                            ip: peer.ip().to_canonical().to_string(),
                            in_force: self.in_force.clone(),
                            stopping: stopping.clone(),
                        };
                        tokio::spawn(connect(stream, template, connections.watcher()));
                    }
                    // Out of file descriptors, most likely: those in use will come back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        drop(self.listener);
        let count = connections.count();
        let s = if count == 1 { "" } else { "s" };
        machine.say(&format!("stopping: finishing {count} connection{s}"));
        // Handshakes have nothing in flight.
        let _ = stop.send(true);
        tokio::select! {
            () = connections.shutdown() => return Ok(()),
            () = tokio::time::sleep(GRACE) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        machine.say("stopped with requests in flight");
        Ok(())
    }
}

/// Lets the instances wipe what has expired, once a second.
async fn tick(pool: Arc<Pool>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let pool = pool.clone();
        // A call that runs away holds its instance until its limit, and who waits for that instance
        // must not be the one who looks after connections.
        let _ = tokio::task::spawn_blocking(move || pool.tick()).await;
    }
}

/// What is known of a connection before its handshake.
struct Template {
    pool: Arc<Pool>,
    ip: String,
    in_force: Arc<InForce>,
    /// Becomes true when the server is told to stop.
    stopping: watch::Receiver<bool>,
}

/// Serves one connection.
async fn connect(stream: TcpStream, mut template: Template, watcher: Watcher) {
    // An answer is small and complete: waiting for more to send would only delay it.
    let _ = stream.set_nodelay(true);
    let terms = template.in_force.terms();
    let acceptor = TlsAcceptor::from(terms.tls.clone());
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)) => accepted,
        _ = template.stopping.wait_for(|stopping| *stopping) => return,
    };
    let Ok(Ok(stream)) = accepted else { return };
    let (_, session) = stream.get_ref();
    let chain: Vec<Vec<u8>> = session
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let Ok(client) = template.pool.authenticate(&chain, &template.ip) else {
        return;
    };
    let connection = Arc::new(Connection {
        pool: template.pool,
        client: Client::new(template.in_force, terms, chain, template.ip, client),
    });
    let served = connection.clone();
    let service = service_fn(move |request| http::serve(served.clone(), request));
    let client = &connection.client;
    let stop = async { drop(template.stopping.wait_for(|stopping| *stopping).await) };
    let stream = TokioIo::new(stream);
    // How a connection ends concerns only its client: each request was answered or was not there.
    if is_http2 {
        let server = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .serve_connection(stream, service);
        let _ = finish(server, client, stop).await;
    } else {
        let server = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(stream, service);
        let _ = finish(server, client, stop).await;
    }
    // Whoever waits for the server's end has waited for this.
    drop(watcher);
}

/// Serves a connection to its end. What is in flight is the last of it once `stop` is ready, or the
/// client would not be let in any more.
async fn finish<C: GracefulConnection>(
    connection: C,
    client: &Client,
    stop: impl Future<Output = ()>,
) -> C::Output {
    let (mut connection, mut stop) = (pin!(connection), pin!(stop));
    let mut is_last = false;
    poll_fn(|context| {
        let served = connection.as_mut().poll(context);
        if served.is_ready() || is_last {
            return served;
        }
        if client.is_refused() || stop.as_mut().poll(context).is_ready() {
            is_last = true;
            connection.as_mut().graceful_shutdown();
            return connection.as_mut().poll(context);
        }
        Poll::Pending
    })
    .await
}
