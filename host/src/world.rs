//! What the core needs of the world where it runs on the command line, without its component.

use std::rc::Rc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use sealedge_core::config::Config;
use sealedge_core::outgoing::{Destination, Fault, Request, Response};
use sealedge_core::platform;
use sealedge_core::time::Time;
use zeroize::Zeroizing;

use crate::guest::{types, wall_clock};
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
        let destinations = config.destinations().into_iter();
        let files = config.files().into_iter();
        let named = types::Outside {
            destinations: destinations.map(destination).collect(),
            files: files
                .map(|file| types::File {
                    path: file.path,
                    is_private: file.is_private,
                })
                .collect(),
        };
        Ok(Self {
            outside: Rc::new(Outside::new(&named)?),
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
        match self.outside.fetch(outgoing(request)).await {
            types::Outcome::Answer(answer) => Ok(Response {
                status: answer.status,
                headers: answer.headers,
                body: Zeroizing::new(answer.body),
            }),
            types::Outcome::Failed(failure) => Err(match failure {
                types::Failure::TimedOut => Fault::TimedOut,
                types::Failure::TooLarge => Fault::TooLarge,
                types::Failure::Unreachable(why) => Fault::Unreachable(why),
                _ => unexpected(),
            }),
            _ => Err(unexpected()),
        }
    }

    /// Blocks: nothing else goes on meanwhile.
    async fn file(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        match self.outside.read(path) {
            types::Outcome::Value(content) => Ok(Zeroizing::new(content)),
            types::Outcome::Failed(types::Failure::Failed(why)) => Err(why),
            _ => Err(unexpected().to_string()),
        }
    }

    /// Says nothing: there is no log, and what keeps a command from its end is in the error of that.
    fn error(&self, _: &str) {}
}

fn unexpected() -> Fault {
    Fault::Unreachable("the outcome is none of such an operation".to_owned())
}

fn destination(there: Destination) -> types::Destination {
    let files = there.certificate.map(|it| (it.certificate, it.key));
    let (certificate, key) = files.unzip();
    types::Destination {
        origin: there.origin,
        authorities: there.authorities,
        certificate,
        key,
    }
}

fn outgoing(mut request: Request) -> types::Outgoing {
    let timeout = u64::try_from(request.timeout.as_nanos());
    let headers = request.headers.into_iter();
    types::Outgoing {
        destination: u32::try_from(request.destination).unwrap_or(u32::MAX),
        method: request.method.to_owned(),
        path: request.path,
        headers: headers
            .map(|(name, mut value)| (name.to_owned(), std::mem::take(&mut *value)))
            .collect(),
        body: std::mem::take(&mut *request.body),
        limit: u32::try_from(request.limit).unwrap_or(u32::MAX),
        timeout: timeout.unwrap_or(u64::MAX),
    }
}
