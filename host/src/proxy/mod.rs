//! `sealedge proxy`: lets applications that speak to a KES server use one that wants signed requests.

mod answer;
mod error;
mod forward;
mod listen;
mod reload;
mod socket;
mod tls;
mod upstream;

pub use error::ProxyError;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use sealedge_core::auth::signature::Signer;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admission::Admission;
use crate::cli::credential::Credential;
use crate::cli::endpoint;
use crate::cli::error::Error;
use crate::cli::output::{note, notice};
use crate::cli::proxy::ProxyOptions;
use crate::cli::{Auth, Common};
use crate::limits::Limits;
use crate::memory;
use crate::server::connection::Connections;
use crate::server::{End, counted};
use forward::Proxy;
use listen::{Door, Guests};
use reload::Reloader;
use upstream::Upstream;

/// How many connections there may be, of which none sleeps, and what clients may hold together, who are all
/// at one address.
fn limits(limits: Limits) -> Limits {
    Limits {
        connections: limits.connections.min(1_000),
        address_part: 1,
        quiet: limits.idle,
        ..limits
    }
}

/// Runs a proxy until it is told to stop.
///
/// # Errors
/// [`Error`] says what keeps it from running.
pub fn run(options: &ProxyOptions, common: Common, most: Limits) -> Result<(), Error> {
    if common.auth == Auth::Mtls {
        return Err(Error::Proxy(ProxyError::Mtls));
    }
    if let Some(warning) = memory::keep_from_swap() {
        note(&format!("warning: {warning}"), common);
    }
    let upstream = upstream(options, common)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ProxyError::Io)?;
    let ended = runtime.block_on(serve(options, common, upstream, limits(most)));
    runtime.shutdown_background();
    ended
}

/// The server as the options say, and the key to sign with as the environment says.
fn upstream(options: &ProxyOptions, common: Common) -> Result<Upstream, Error> {
    let not_one = |reason| Error::Proxy(ProxyError::Upstream(reason));
    let server = endpoint::upstream(&options.upstream).map_err(not_one)?;
    let Some(authority) = server.authority() else {
        return Err(not_one(endpoint::NotAnEndpoint {
            text: options.upstream.clone(),
            problem: endpoint::EndpointProblem::Syntax,
        }));
    };
    let signer = signer(credential()?)?;
    let tls = tls::client_side(common.insecure)?;
    Ok(Upstream::new(server, authority, signer, tls))
}

fn credential() -> Result<Credential, Error> {
    Credential::from_environment(|name| std::env::var(name).ok())
}

/// What signs by a credential.
fn signer(credential: Credential) -> Result<Signer, Error> {
    let certificate = credential.load()?;
    let signer = credential.into_signer(&certificate);
    signer.ok_or(Error::CannotSign)
}

async fn serve(
    options: &ProxyOptions,
    common: Common,
    upstream: Upstream,
    limits: Limits,
) -> Result<(), Error> {
    // Until it is asked for this signal ends the process.
    let hangup = signal(SignalKind::hangup()).map_err(ProxyError::Io)?;
    let guests = Guests::new(&options.allow, upstream.identity());
    let (door, made) = Door::open(options, guests).await?;
    // Before it says that it listens: whoever has read that may tell it to stop.
    let mut end = End::new().map_err(ProxyError::Io)?;
    let banner = Banner {
        message: format!("sealedge is listening on {door}"),
        address: door.to_string(),
        upstream: upstream.server().to_string(),
        identity: upstream.identity().to_string(),
        clients: door.clients(),
        certificate: made,
    };
    notice(&banner, Banner::text, common);
    let (stop, stopping) = watch::channel(false);
    let connections = limits.within_this_process().connections;
    let proxy = Arc::new(Proxy {
        upstream,
        stopping,
        common,
        is_away: AtomicBool::new(false),
        of_nobody: Connections::new(connections / 2),
    });
    let reloader = Reloader {
        options: options.clone(),
        proxy: proxy.clone(),
        acceptor: door.acceptor(),
    };
    tokio::spawn(reloader.run(hangup));
    let admission = Arc::new(Admission::new(&limits));
    let connections = Connections::new(connections);
    loop {
        tokio::select! {
            accepted = door.accept() => match accepted {
                Ok(visitor) => {
                    // Closed at once, as the server does.
                    let Some(place) = connections.place() else { continue };
                    let (proxy, admission) = (proxy.clone(), admission.clone());
                    tokio::spawn(async move {
                        visitor.serve(proxy, admission, limits).await;
                        drop(place);
                    });
                }
                // Out of file descriptors, most likely: those in use will come back.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            () = end.wanted() => break,
        }
    }
    drop(door);
    let count = counted(connections.count(), "connection");
    note(
        &format!("stopping: finishing {count} (a second signal cuts off what is in flight)"),
        common,
    );
    let _ = stop.send(true);
    tokio::select! {
        () = connections.end() => return Ok(()),
        () = tokio::time::sleep(limits.grace) => {}
        () = end.wanted() => {}
    }
    let cut = counted(admission.requests(), "request");
    note(&format!("stopped: cut off {cut} in flight"), common);
    Ok(())
}

/// What the operator wants to see of a proxy that has started.
#[derive(Serialize)]
struct Banner {
    message: String,
    address: String,
    upstream: String,
    identity: String,
    clients: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<listen::Made>,
}

impl Banner {
    fn text(&self) -> String {
        let certificate = self.certificate.as_ref().map_or_else(String::new, |made| {
            let written = made.file.as_ref().map_or_else(
                || "name a file by --cert-out for clients to trust it".to_owned(),
                |file| format!("written to {file}"),
            );
            format!(
                "  certificate  made for this run, {written}\n  sha-256      {}\n",
                made.sha256
            )
        });
        format!(
            "{}\n  \
             upstream     {}\n  \
             signs as     {}\n  \
             clients      {}\n{certificate}",
            self.message, self.upstream, self.identity, self.clients
        )
    }
}
