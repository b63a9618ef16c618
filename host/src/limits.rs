//! How long clients may take, and how much may be under way at a time.

use std::time::Duration;

/// The limits of a server. What a single request may take is in the core's route table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the TLS handshake, and then for the head of a request from its first byte; for the first
    /// request of a connection from the handshake.
    pub head: Duration,
    /// For a connection on which nothing is under way.
    pub idle: Duration,
    /// For a connection on which nothing is under way until it sleeps, if it can: what HTTP needs of memory
    /// is given back.
    pub quiet: Duration,
    /// For a client to read some more of its answer.
    pub send: Duration,
    /// For requests in flight after the signal to stop.
    pub grace: Duration,
    /// Connections at a time; fewer if the process may not have so many files open.
    pub connections: usize,
    /// Requests at a time, whether they are served or wait for something.
    pub requests: usize,
    /// Bytes that are held for these requests: of their bodies, and of answers until they are read.
    pub bytes: usize,
    /// Of both one client may have one of so many parts.
    pub client_part: usize,
    /// And all clients at one address together one of so many.
    pub address_part: usize,
    /// Operations of the key store at a time; the others wait.
    pub store: usize,
}

impl Default for Limits {
    /// Connections cost some 20 KiB each while they sleep, else up to 50 KiB, and parked requests 2 KiB and
    /// their bodies. All of these could be in one instance, which may have 256 MiB and needs a body more
    /// than once.
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            idle: Duration::from_secs(90),
            quiet: Duration::from_secs(5),
            send: Duration::from_secs(30),
            grace: Duration::from_secs(20),
            connections: 10_000,
            requests: 10_000,
            bytes: 64 << 20,
            client_part: 4,
            address_part: 2,
            store: 256,
        }
    }
}

/// File descriptors that are not for connections: standard streams, the runtime's, and those of the
/// key store's operations.
const OTHER_FILES: u64 = 64;

impl Limits {
    /// Lets the process have as many files open as it may, and no more connections than that.
    ///
    /// The soft limit is there for programs that use `select`, which this one does not.
    #[must_use]
    pub fn within_this_process(self) -> Self {
        // Where it is not known nothing can be derived from it, and `accept` fails in time.
        let Ok(files) = rlimit::increase_nofile_limit(u64::MAX) else {
            return self;
        };
        let store = u64::try_from(self.store).unwrap_or(u64::MAX);
        // Each connection has one, and at the bound one more is accepted before it is closed.
        let others = OTHER_FILES.saturating_add(store).min(files / 2);
        let left = usize::try_from(files - others).unwrap_or(usize::MAX);
        Self {
            connections: self.connections.min(left),
            ..self
        }
    }
}
