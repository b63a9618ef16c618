//! `sealedge server`: from the options to a running server, and to its end.

pub mod activity;
pub mod connection;
mod dev;
mod http;
pub mod http1;
mod log_stream;
mod refusals;
mod reload;
mod summary;
mod terms;
pub mod tls;

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sealedge_core::conceal::conceal;
use sealedge_core::metrics::Refusal;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::Parts;
use crate::admission::Admission;
use crate::cli::server::ServerOptions;
use crate::guest::types::{Settings, Store};
use crate::guest::{Machine, outgoing};
use crate::limits::Limits;
use crate::memory;
use crate::operation::{Keeper, Operations};
use crate::outside::OutsideError;
use crate::pool::{self, Pool};
use crate::store::FsStore;
use connection::{Connections, Template};
use dev::Dev;
use refusals::Refusals;
use reload::{Files, Reloader, Served};
use terms::{InForce, Terms};
use tls::ServerCertificate;

/// Threads for blocking work that is not the key store's: it must go on while the store hangs.
const OTHER_THREADS: usize = 64;

/// How often the runtime is woken: how long a call that runs away can hold up others.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// When a client is asked whether it is still there, which has sent nothing for so long: a log's reader
/// that lost its power says nothing. Its connection has ended two minutes later.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(6);

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
    Outside(OutsideError),
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
            Self::Outside(error) => error.fmt(f),
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
pub fn run(options: &ServerOptions, parts: Parts) -> Result<(), StartError> {
    if let Some(warning) = memory::keep_from_swap() {
        say(&format!("warning: {warning}"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(parts.limits.store + OTHER_THREADS)
        .build()
        .map_err(StartError::Io)?;
    keep_awake(&runtime).map_err(StartError::Io)?;
    let ended = runtime.block_on(serve(options, parts));
    // Blocking work that hangs, such as a read of a store that is away, must not hold up the end.
    runtime.shutdown_background();
    ended
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
    machine.set_logs(&settings);
    for warning in &settings.warnings {
        say(&format!("warning: {warning}"));
    }

    let files = Files::of(&settings.tls);
    let server = Server::bind(options, &settings, dev.as_ref(), machine.clone()).await?;
    let (keeper, keys) = open_store(&settings.store, parts)?;
    let outside = outgoing::outside(settings.outside.clone()).map_err(StartError::Outside)?;
    let size = std::thread::available_parallelism().map_or(1, |count| count.get());
    let not_started = |error: pool::StartError| StartError::Guest(error.to_string());
    let limits = parts.limits.within_this_process();
    let operations = Operations::new(keeper, outside, machine.clone(), limits.store);
    let pool = Pool::new(size, make, document, machine.clone(), operations).map_err(not_started)?;
    // Before it says that it listens: whoever has read that may tell it to stop. And no later than this,
    // which may wait for a server elsewhere.
    let mut end = End::new().map_err(StartError::Io)?;
    let prepared = tokio::select! {
        prepared = pool.prepare() => prepared.map_err(not_started)?,
        () = end.wanted() => {
            say("stopped before it has started");
            return Ok(());
        }
    };
    if let Some(warning) = prepared {
        say(&format!("warning: {warning}"));
    }
    match &dev {
        Some(dev) => println!("{}", dev.banner(server.address)),
        None => say(&summary::of(
            &settings,
            &keys,
            pool.node().as_deref(),
            server.address,
        )),
    }
    summary::check(&settings, &pool, &machine, &Handle::current());
    let served = Served {
        pool: pool.clone(),
        machine: machine.clone(),
        in_force: server.in_force.clone(),
    };
    let reloader = Reloader::new(options, served, settings, files);
    reloader.run(hangup).map_err(StartError::Io)?;
    server.run(&pool, &machine, limits, end).await;
    machine.flush();
    Ok(())
}

/// Tells the operator something while the server starts. It goes on if standard error is gone.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "{}", conceal(message));
}

/// A configuration's text.
///
/// # Errors
/// The file can't be read.
pub fn read_configuration(file: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(file).map_err(|reason| StartError::ReadConfiguration {
        file: file.display().to_string(),
        reason,
    })
}

/// Who keeps the keys, and where they are, for the operator.
fn open_store(store: &Store, parts: Parts) -> Result<(Keeper, String), StartError> {
    Ok(match store {
        Store::Memory => {
            let keys = "memory, gone when the server stops".to_owned();
            (Keeper::Here((parts.memory_store)()), keys)
        }
        Store::Files(path) => {
            let was_there = Path::new(path).exists();
            let store = FsStore::open(Path::new(path)).map_err(StartError::Store)?;
            let count = counted(store.count().map_err(StartError::Store)?, "key");
            let made = if was_there {
                ""
            } else {
                ", which was not there and is made"
            };
            let keys = format!("files in {path}{made}: {count}");
            (Keeper::Here(Arc::new(store)), keys)
        }
        Store::Remote(there) => (Keeper::Elsewhere, there.clone()),
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
        machine: Arc<Machine>,
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
        // Connections have it from the listener.
        SockRef::from(&listener)
            .set_tcp_keepalive(&KEEPALIVE)
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            in_force: Arc::new(InForce::new(terms, machine)),
        })
    }

    /// Serves until a signal to stop comes, and then what is in flight.
    async fn run(self, pool: &Arc<Pool>, machine: &Arc<Machine>, limits: Limits, mut end: End) {
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(tick(pool.clone(), machine.clone()));
        let feeding = machine.clone();
        tokio::spawn(async move { feeding.feed_readers().await });
        let admission = Arc::new(Admission::new(&limits));
        let refusals = Refusals::new(machine.clone());
        let connections = Connections::new(limits.connections);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        // Closed at once: its client may try another server, which it would not if
                        // it had to wait until it is accepted.
                        let Some(place) = connections.place() else {
                            refusals.count(Refusal::TooMany);
                            continue;
                        };
                        let template = Template {
                            pool: pool.clone(),
                            machine: machine.clone(),
                            admission: admission.clone(),
                            refusals: refusals.clone(),
                            limits,
                            ip: peer.ip().to_canonical(),
                            in_force: self.in_force.clone(),
                            stopping: stopping.clone(),
                        };
                        tokio::spawn(async move {
                            connection::serve(stream, template).await;
                            drop(place);
                        });
                    }
                    // Out of file descriptors, most likely: those in use will come back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                () = end.wanted() => break,
            }
        }
        drop(self.listener);
        let count = connections.count();
        machine.say(&format!(
            "stopping: finishing {} (a second signal cuts off what is in flight)",
            counted(count, "connection")
        ));
        let _ = stop.send(true);
        tokio::select! {
            () = connections.end() => return,
            () = tokio::time::sleep(limits.grace) => {}
            () = end.wanted() => {}
        }
        let cut = counted(admission.requests(), "request");
        let open = counted(connections.count(), "connection");
        machine.say(&format!("stopped: cut off {cut} in flight on {open}"));
        // At the most as long as a call of an instance.
        pool.give_up();
    }
}

/// The signals to stop.
pub struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    /// From now on they do not end the process by themselves.
    ///
    /// # Errors
    /// The system gives none.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub async fn wanted(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// `1 request`, `2 requests`.
pub fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// Lets the instances wipe what has expired, once a second.
async fn tick(pool: Arc<Pool>, machine: Arc<Machine>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let (pool, machine) = (pool.clone(), machine.clone());
        // A call that runs away holds its instance until its limit, and who waits for that instance
        // must not be the one who looks after connections.
        let _ = tokio::task::spawn_blocking(move || {
            machine.tick();
            pool.tick();
        })
        .await;
    }
}
