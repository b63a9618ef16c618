//! What the core needs of the world where it runs on the command line, without its component.

use std::rc::Rc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use sealedge_core::config::Config;
use sealedge_core::outgoing::{Fault, Request, Response};
use sealedge_core::platform;
use sealedge_core::time::Time;
use zeroize::Zeroizing;

use crate::guest::wall_clock;
use crate::outside::{Outside, OutsideError};

/// This machine, and what a configuration names outside of it. A runtime of tokio must be around it.
#[derive(Clone)]
pub struct World {
    outside: Rc<Outside>,
}

impl World {
    /// The world of this configuration.
    ///
    /// # Errors
    /// A file of TLS can't be used.
    pub fn new(config: &Config) -> Result<Self, OutsideError> {
        let outside = Outside::new(&config.destinations(), config.files())?;
        Ok(Self {
            outside: Rc::new(outside),
        })
    }
}

impl platform::World for World {
    fn now(&self) -> Time {
        Time::from_nanos(wall_clock())
    }

    fn random(&self, buffer: &mut [u8]) {
        if SystemRandom::new().fill(buffer).is_err() {
            // Keys that were made of what is there would be known.
            eprintln!("error: the operating system gives no random bytes");
            std::process::exit(1);
        }
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    async fn fetch(&self, request: Request) -> Result<Response, Fault> {
        self.outside.fetch(request).await
    }

    /// Blocks: nothing else goes on meanwhile.
    async fn file(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        self.outside.read(path)
    }

    /// Says nothing: there is no log, and what keeps a command from its end is in the error of that.
    fn log_error(&self, _: &str) {}
}
