//! Spin as the service's platform.

use std::time::Duration;

use sealedge_core::audit::Record;
use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::certificate::authorities::Authorities;
use sealedge_core::config::Config;
use sealedge_core::copies;
use sealedge_core::crypto::RustCrypto;
use sealedge_core::identity::Identity;
use sealedge_core::name::Name;
use sealedge_core::outgoing::{Fault, Request, Response};
use sealedge_core::platform::{Platform, System, World};
use sealedge_core::time::Time;
use zeroize::Zeroizing;

use super::binding::SpinStore;
use super::body::RequestBody;
use super::outside::{self, Outside};
use super::store::Keys;
use crate::copies::Copies;
use crate::nonces;

/// What the platform lends to the service of one instance.
pub struct Spin {
    outside: Outside,
    keys: Keys,
    store: SpinStore,
    copies: Copies<SpinStore, fn() -> Time>,
    /// Who issues the certificates of clients, if they must have such.
    authorities: Option<Authorities>,
    started: Time,
}

impl Spin {
    /// The platform as this configuration uses it.
    ///
    /// # Errors
    /// The authorities can't be read.
    pub fn new(config: &Config, store: SpinStore) -> Result<Self, String> {
        let outside = Outside::new(config);
        let authorities = config.tls.ca.as_deref().map(Authorities::from_pem);
        Ok(Self {
            keys: Keys::new(&config.keystore, store, &outside),
            store,
            copies: Copies::new(store, outside::now),
            authorities: authorities.transpose().map_err(|why| why.to_string())?,
            started: outside::now(),
            outside,
        })
    }
}

impl World for Spin {
    fn now(&self) -> Time {
        self.outside.now()
    }

    fn random(&self, buffer: &mut [u8]) {
        self.outside.random(buffer);
    }

    async fn sleep(&self, duration: Duration) {
        self.outside.sleep(duration).await;
    }

    async fn fetch(&self, request: Request) -> Result<Response, Fault> {
        self.outside.fetch(request).await
    }

    async fn file(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        self.outside.file(path).await
    }

    fn log_error(&self, line: &str) {
        self.outside.log_error(line);
    }
}

impl Platform for Spin {
    const HANDSHAKES: bool = false;
    const LOG_STREAMS: bool = false;
    const MEMORY: bool = false;

    type Store = Keys;
    type Crypto = RustCrypto;
    type Body = RequestBody;

    fn store(&self) -> &Keys {
        &self.keys
    }

    fn crypto(&self) -> &RustCrypto {
        &RustCrypto
    }

    /// The only cache is that of this request.
    async fn invalidate(&self, _: &Name) {}

    fn copies(&self) -> Option<&impl copies::Copies> {
        Some(&self.copies)
    }

    async fn remember(
        &self,
        identity: Identity,
        nonce: Nonce,
        lives: Lifetime,
    ) -> Result<(), Replay> {
        match nonces::remember(&self.store, &identity, nonce, lives, self.now()) {
            Ok(taken) => taken,
            Err(why) => {
                self.error(&format!(
                    "a signed request is refused, for it can't be remembered: {why}"
                ));
                Err(Replay::Away)
            }
        }
    }

    fn trusts(&self, certificates: &[Vec<u8>]) -> bool {
        let authorities = self.authorities.as_ref();
        authorities.is_some_and(|it| it.have_issued(certificates, self.now()))
    }

    /// Nobody asks where nothing is counted.
    async fn totals(&self, figures: Vec<u64>) -> Vec<u64> {
        figures
    }

    fn system(&self) -> System {
        System {
            commit: option_env!("SEALEDGE_COMMIT")
                .unwrap_or("unknown")
                .to_owned(),
            os: "spin".to_owned(),
            arch: "wasm32".to_owned(),
            started: self.started,
            cpus: 1,
            usable_cpus: 1,
            threads: 1,
            heap: core::arch::wasm32::memory_size(0) as u64 * 65_536,
            stack: 0,
        }
    }

    fn audit(&self, record: &Record<'_>) {
        outside::write(&record.to_json());
    }
}
