//! What the server refuses before the service knows of it: counted, and of TLS said in the error log.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sealedge_core::metrics::Refusal;

use crate::guest::Machine;

/// How often the error log has a line about handshakes at the most: anybody can make them fail.
const PAUSE: Duration = Duration::from_secs(10);

/// Hears what is refused.
pub struct Refusals {
    machine: Arc<Machine>,
    told: Mutex<Told>,
}

/// What the error log knows of handshakes that failed.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
    /// Failures since then.
    untold: u64,
}

impl Refusals {
    /// Nothing is refused yet.
    pub fn new(machine: Arc<Machine>) -> Arc<Self> {
        Arc::new(Self {
            machine,
            told: Mutex::default(),
        })
    }

    /// Counts a connection that was refused or cut off.
    pub fn count(&self, why: Refusal) {
        self.machine.count(|counters| counters.refused(why));
    }

    /// Counts a request that the host has answered, and not the service.
    pub fn request(&self, status: u16, duration: Duration) {
        self.machine.count(|counters| {
            counters.begin();
            counters.end(None, status, duration);
        });
    }

    /// A handshake with the client at this address has failed.
    pub fn handshake(&self, ip: IpAddr, error: &io::Error) {
        // A client that is gone, as whoever probes the port, was not refused.
        let Some(reason) = error.get_ref().filter(|inner| inner.is::<rustls::Error>()) else {
            return;
        };
        self.count(Refusal::Handshake);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|last| last.elapsed() < PAUSE) {
            told.untold += 1;
            return;
        }
        let others = match std::mem::take(&mut told.untold) {
            0 => String::new(),
            count => format!(" ({count} more have failed since the last such line)"),
        };
        told.last = Some(Instant::now());
        self.machine.error(&format!(
            "the TLS handshake with {ip} failed: {reason}{others}"
        ));
    }
}
