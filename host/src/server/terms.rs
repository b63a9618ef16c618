//! What of the configuration the host itself goes by, and who a connection's client is under it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use hyper::header::{HOST, HeaderName};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use sealedge_core::auth::Packed;
use tokio::sync::Notify;

use super::tls::{self, ServerCertificate, TlsError};
use crate::guest::types::{Request, Settings};
use crate::guest::{Instance, Machine, Trap};

/// The terms on which clients are let in. They never change: others take their place.
pub struct Terms {
    /// Counts them: a client who came in under others is judged anew.
    generation: u64,
    /// For handshakes. With each terms come sessions of their own, so none is resumed under others.
    pub tls: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
    credential_headers: Vec<HeaderName>,
    /// What clients are shown in a handshake (DER).
    shown: Vec<u8>,
}

impl Terms {
    /// The terms of a configuration, with the files that it names as they are now.
    ///
    /// # Errors
    /// [`TlsError`] names the field at fault.
    pub fn new(settings: &Settings, certificate: ServerCertificate) -> Result<Self, TlsError> {
        let clients = tls::client_verifier(&settings.tls)?;
        let shown = certificate.chain.first().map(|own| own.to_vec());
        let tls = tls::server_config(&settings.tls, certificate, clients.clone())?;
        Ok(Self {
            generation: 0,
            tls: Arc::new(tls),
            clients,
            // The core has checked that it is a header's name.
            credential_headers: settings
                .credential_headers
                .iter()
                .filter_map(|name| HeaderName::try_from(name).ok())
                .collect(),
            shown: shown.unwrap_or_default(),
        })
    }

    /// Whether a handshake with these certificates would be let in now.
    fn admit(&self, chain: &[Vec<u8>]) -> bool {
        tls::admits(&*self.clients, chain)
    }

    /// What of a request may prove who sends it, beside the connection.
    fn presented(&self, head: &Parts) -> Option<Vec<u8>> {
        let mut packed = Packed::default();
        for name in &self.credential_headers {
            for value in head.headers.get_all(name) {
                packed.header(name.as_str(), value.as_bytes());
            }
        }
        if packed.is_empty() {
            return None;
        }
        // With two lines it would be for one server here, and for another one elsewhere.
        let host = || {
            let mut lines = head.headers.get_all(HOST).into_iter();
            let host = lines.next()?.to_str().ok();
            host.filter(|_| lines.next().is_none())
        };
        let authority = head.uri.authority().map(Authority::as_str).or_else(host);
        packed.authority(authority.unwrap_or_default());
        if let Some(query) = head.uri.query() {
            packed.query(query);
        }
        packed.shown(&self.shown);
        Some(packed.into_bytes())
    }
}

/// The terms in force.
pub struct InForce {
    /// Theirs; beside them, so that a request need only compare two numbers.
    generation: AtomicU64,
    replaced: Notify,
    terms: RwLock<Arc<Terms>>,
    machine: Arc<Machine>,
}

impl InForce {
    /// The first terms.
    pub fn new(terms: Terms, machine: Arc<Machine>) -> Self {
        machine.set_clients(terms.clients.clone());
        Self {
            generation: AtomicU64::new(terms.generation),
            replaced: Notify::new(),
            terms: RwLock::new(Arc::new(terms)),
            machine,
        }
    }

    /// The terms for a new connection.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts others in force: to be done while no instance works (see [`crate::pool::Pool::pause`]).
    pub fn replace(&self, terms: Terms) {
        let mut current = self.terms.write().unwrap_or_else(PoisonError::into_inner);
        let generation = current.generation.wrapping_add(1);
        self.machine.set_clients(terms.clients.clone());
        *current = Arc::new(Terms {
            generation,
            ..terms
        });
        self.generation.store(generation, Ordering::Release);
        self.replaced.notify_waiters();
    }

    /// The number of the terms in force.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits until other terms than those of this number are in force.
    pub async fn succeeded(&self, generation: u64) {
        loop {
            let replaced = self.replaced.notified();
            if self.generation() != generation {
                return;
            }
            replaced.await;
        }
    }
}

/// The client of one connection.
pub struct Client {
    in_force: Arc<InForce>,
    /// Its certificates in DER, in the order of the handshake.
    chain: Vec<Vec<u8>>,
    /// Its address, without the port.
    ip: String,
    judged: Mutex<Judged>,
    is_refused: AtomicBool,
}

/// What was made of the certificates, under which terms.
struct Judged {
    terms: Arc<Terms>,
    client: Vec<u8>,
}

impl Client {
    /// A client whose handshake under `terms` succeeded, and what the service said of it.
    pub fn new(
        in_force: Arc<InForce>,
        terms: Arc<Terms>,
        chain: Vec<Vec<u8>>,
        ip: String,
        client: Vec<u8>,
    ) -> Self {
        Self {
            in_force,
            chain,
            ip,
            judged: Mutex::new(Judged { terms, client }),
            is_refused: AtomicBool::new(false),
        }
    }

    /// Adds to a request who sends it, under the terms in force: while an instance works they stay.
    ///
    /// # Errors
    /// The instance died.
    pub fn identify(
        &self,
        request: &mut Request,
        head: &Parts,
        instance: &mut dyn Instance,
    ) -> Result<(), Trap> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if judged.terms.generation != self.in_force.generation() {
            *judged = self.judge(instance)?;
        }
        request.client.clone_from(&judged.client);
        request.presented = judged.terms.presented(head);
        Ok(())
    }

    fn judge(&self, instance: &mut dyn Instance) -> Result<Judged, Trap> {
        let terms = self.in_force.terms();
        let is_admitted = terms.admit(&self.chain);
        let client = instance.authenticate(&self.chain, &self.ip, is_admitted)?;
        Ok(Judged { terms, client })
    }

    /// The terms by which it is judged.
    pub fn in_force(&self) -> &Arc<InForce> {
        &self.in_force
    }

    /// To be called when the client was refused: if it were by a handshake too, its connection is of
    /// no use any more, and it must come with another certificate by another one.
    pub fn was_refused(&self) {
        if !self.in_force.terms().admit(&self.chain) {
            self.is_refused.store(true, Ordering::Relaxed);
        }
    }

    /// Whether its connection is to be closed.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }
}
