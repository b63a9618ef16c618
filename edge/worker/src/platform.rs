//! Workers as the service's platform.

use std::rc::Rc;
use std::time::Duration;

use sealedge_core::audit::Record;
use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::auth::public_key::PublicKey;
use sealedge_core::certificate::authorities::Authorities;
use sealedge_core::config::Config;
use sealedge_core::copies::Copies;
use sealedge_core::crypto::RustCrypto;
use sealedge_core::identity::Identity;
use sealedge_core::name::Name;
use sealedge_core::outgoing::{Fault, Request, Response};
use sealedge_core::platform::{Platform, System, World};
use sealedge_core::time::Time;
use wasm_bindgen::JsValue;
use zeroize::Zeroizing;

use crate::figures::Figures;
use crate::isolate;
use crate::objects::nonces::Seen;
use crate::outside::{self, Outside};
use crate::store::Keys;
use crate::stream::RequestBody;
use crate::verification;

/// What the platform lends to the service of one isolate.
pub struct Workers {
    outside: Outside,
    keys: Keys,
    seen: Seen,
    /// Who issues the certificates of clients, if they must have such.
    authorities: Option<Authorities>,
    started: Time,
    figures: Rc<Figures>,
}

impl Workers {
    /// The platform as this configuration uses it.
    ///
    /// # Errors
    /// Something is not bound to the Worker.
    pub fn new(env: &JsValue, config: &Config) -> Result<Self, String> {
        let outside = Outside::new(config);
        let authorities = config.tls.ca.as_deref().map(Authorities::from_pem);
        Ok(Self {
            keys: Keys::new(env, &config.keystore, &outside)?,
            seen: Seen::new(env)?,
            authorities: authorities.transpose().map_err(|why| why.to_string())?,
            started: outside.now(),
            figures: Rc::new(Figures::new(env, outside.clone())),
            outside,
        })
    }

    /// What this isolate has counted.
    pub fn figures(&self) -> Rc<Figures> {
        self.figures.clone()
    }

    /// What is outside of it.
    pub fn outside(&self) -> Outside {
        self.outside.clone()
    }
}

impl World for Workers {
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

impl Platform for Workers {
    const HANDSHAKES: bool = false;
    const LOG_STREAMS: bool = false;

    type Store = Keys;
    type Crypto = RustCrypto;
    type Body = RequestBody;

    fn store(&self) -> &Keys {
        &self.keys
    }

    fn crypto(&self) -> &RustCrypto {
        &RustCrypto
    }

    /// By WebCrypto, whose code is native.
    async fn verifies(&self, key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        verification::verifies(key, message, signature).await
    }

    /// Only this isolate can be told: others may serve the key until it expires in their caches.
    async fn invalidate(&self, name: &Name) {
        if let Some(isolate) = isolate::there() {
            isolate.service.forget(name);
        }
    }

    fn copies(&self) -> Option<&impl Copies> {
        self.keys.copies()
    }

    async fn remember(
        &self,
        identity: Identity,
        nonce: Nonce,
        lives: Lifetime,
    ) -> Result<(), Replay> {
        match self.seen.remember(identity, nonce, lives).await {
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

    /// Those of all isolates, but for what the others have counted in the last seconds; the gauges are of this
    /// one.
    async fn totals(&self, figures: Vec<u64>) -> Vec<u64> {
        self.figures.tell(figures).await
    }

    fn system(&self) -> System {
        System {
            commit: option_env!("SEALEDGE_COMMIT")
                .unwrap_or("unknown")
                .to_owned(),
            os: "workers".to_owned(),
            arch: "wasm32".to_owned(),
            started: self.started,
            cpus: 1,
            usable_cpus: 1,
            threads: 1,
            heap: memory(),
            stack: 0,
        }
    }

    fn audit(&self, record: &Record<'_>) {
        web_sys::console::log_1(&outside::line(&record.to_json()));
    }
}

/// Bytes of the instance's memory, its stack among them.
fn memory() -> u64 {
    #[cfg(target_family = "wasm")]
    return core::arch::wasm32::memory_size(0) as u64 * 65_536;
    #[cfg(not(target_family = "wasm"))]
    return 0;
}
