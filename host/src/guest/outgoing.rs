//! What the guest asks of the outside, in the words of the core, and what comes of it in those of `wit/`.

use std::time::Duration;

use sealedge_core::config::File;
use sealedge_core::outgoing::{ClientCertificate, Destination, Fault, Request, Response};
use zeroize::Zeroizing;

use super::types::{self, Answer, Failure, Outcome};
use crate::outside::{Outside, OutsideError};

/// The outside that a configuration names.
///
/// # Errors
/// A file of TLS can't be used.
pub fn outside(named: types::Outside) -> Result<Outside, OutsideError> {
    let destinations = named.destinations.into_iter().map(|there| Destination {
        origin: there.origin,
        authorities: there.authorities,
        certificate: there
            .certificate
            .zip(there.key)
            .map(|(certificate, key)| ClientCertificate { certificate, key }),
    });
    let files = named.files.into_iter().map(|file| File {
        path: file.path,
        is_private: file.is_private,
    });
    let destinations: Vec<_> = destinations.collect();
    Outside::new(&destinations, files.collect())
}

/// A request.
pub fn request(asked: types::Outgoing) -> Request {
    let headers = asked.headers.into_iter();
    Request {
        destination: asked.destination as usize,
        method: asked.method.into(),
        path: asked.path,
        headers: headers
            .map(|(name, value)| (name.into(), Zeroizing::new(value)))
            .collect(),
        body: asked.body.into(),
        limit: asked.limit as usize,
        timeout: Duration::from_nanos(asked.timeout),
    }
}

/// What came of a request.
pub fn fetched(answer: Result<Response, Fault>) -> Outcome {
    match answer {
        Ok(mut response) => Outcome::Answer(Answer {
            status: response.status,
            headers: response.headers,
            body: std::mem::take(&mut *response.body),
        }),
        Err(Fault::Unreachable(why)) => Outcome::Failed(Failure::Unreachable(why)),
        Err(Fault::TimedOut) => Outcome::Failed(Failure::TimedOut),
        Err(Fault::TooLarge) => Outcome::Failed(Failure::TooLarge),
    }
}

/// What came of reading a file.
pub fn read(content: Result<Zeroizing<Vec<u8>>, String>) -> Outcome {
    match content {
        Ok(mut content) => Outcome::Value(std::mem::take(&mut *content)),
        Err(why) => Outcome::Failed(Failure::Failed(why)),
    }
}
