//! What is outside of the service: time, chance, servers elsewhere, the log.

use std::rc::Rc;
use std::time::Duration;

use gloo_timers::future::TimeoutFuture;
use js_sys::{Array, Error, Uint8Array};
use sealedge_core::config::{Config, LogSettings};
use sealedge_core::log;
use sealedge_core::metrics::Counters;
use sealedge_core::outgoing::{Destination, Fault, Request, Response};
use sealedge_core::platform::{BodyError, World};
use sealedge_core::time::Time;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, Headers, RequestInit, RequestRedirect, WorkerGlobalScope};
use zeroize::Zeroizing;

use crate::stream;

/// The most bytes that the platform gives at once (Web Cryptography API, 10.1.1).
const RANDOM_AT_ONCE: usize = 65_536;

/// The longest time that a timer takes (HTML, 8.6: a signed number of milliseconds), 24 days.
const LONGEST_SLEEP: u32 = i32::MAX as u32;

/// What is outside of one service.
#[derive(Clone)]
pub struct Outside(Rc<Shared>);

struct Shared {
    log: LogSettings,
    destinations: Vec<Destination>,
    counters: Counters,
}

impl Outside {
    /// What this configuration knows of it.
    pub fn new(config: &Config) -> Self {
        Self(Rc::new(Shared {
            log: config.log,
            destinations: config.destinations(),
            counters: Counters::default(),
        }))
    }

    /// What the platform counts.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

/// Says something in the log, whatever the configuration wants of it: as JSON, which Workers Logs takes apart.
pub fn log_error(message: &str) {
    let record = log::error_record(message);
    web_sys::console::error_1(&line(&record));
}

/// A line for the console, which ends it itself.
pub fn line(record: &[u8]) -> JsValue {
    String::from_utf8_lossy(record).trim_end().into()
}

/// Where the platform has what it lends.
pub fn global() -> WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// The time of the last thing that was waited for: the platform lets it stand still in between.
pub fn now() -> Time {
    time(js_sys::Date::now())
}

/// A time in milliseconds since 1970.
pub fn time(millis: f64) -> Time {
    Time::from_nanos((millis as u64).saturating_mul(1_000_000))
}

impl World for Outside {
    fn now(&self) -> Time {
        now()
    }

    fn random(&self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(RANDOM_AT_ONCE) {
            let filled = global()
                .crypto()
                .and_then(|crypto| crypto.get_random_values_with_u8_array(part));
            if filled.is_err() {
                // Keys that were made of what is there would be known.
                std::process::abort();
            }
        }
    }

    async fn sleep(&self, duration: Duration) {
        let millis = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        TimeoutFuture::new(millis.min(LONGEST_SLEEP)).await;
    }

    async fn fetch(&self, request: Request) -> Result<Response, Fault> {
        let Some(destination) = self.0.destinations.get(request.destination) else {
            return Err(Fault::Unreachable("no such destination".to_owned()));
        };
        let url = [destination.origin.as_str(), &request.path].concat();
        let limit = request.limit;
        let response = sent(&url, request).await.map_err(fault)?;
        let body = match response.body() {
            Some(body) => stream::read(&body, limit).await,
            None => Ok(Vec::new()),
        };
        Ok(Response {
            status: response.status(),
            headers: headers(&response.headers()),
            body: Zeroizing::new(body.map_err(|why| match why {
                BodyError::TooLarge => Fault::TooLarge,
                BodyError::Broken => Fault::Unreachable("the answer broke off".to_owned()),
            })?),
        })
    }

    /// There are none, and the configuration can't name any.
    async fn file(&self, _: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        Err("is in a file, and this platform has none".to_owned())
    }

    fn log_error(&self, line: &str) {
        self.0.counters.error_event();
        if self.0.log.error {
            log_error(line);
        }
    }
}

async fn sent(url: &str, request: Request) -> Result<web_sys::Response, JsValue> {
    let headers = Headers::new()?;
    for (name, value) in &request.headers {
        headers.append(name, value)?;
    }
    let settings = RequestInit::new();
    settings.set_method(&request.method);
    settings.set_headers_headers(&headers);
    settings.set_redirect(RequestRedirect::Manual);
    let timeout = u32::try_from(request.timeout.as_millis()).unwrap_or(u32::MAX);
    settings.set_signal(Some(&AbortSignal::timeout_with_u32(timeout)));
    if !request.body.is_empty() {
        settings.set_body(&Uint8Array::from(request.body.as_slice()));
    }
    let response = global().fetch_with_str_and_init(url, &settings);
    JsFuture::from(response).await?.dyn_into()
}

fn fault(error: JsValue) -> Fault {
    match error.dyn_ref::<Error>() {
        Some(error) if error.name() == "TimeoutError" => Fault::TimedOut,
        Some(error) => Fault::Unreachable(error.message().into()),
        None => Fault::Unreachable("it can't be reached".to_owned()),
    }
}

/// Those whose value is ASCII.
fn headers(headers: &Headers) -> Vec<(String, String)> {
    let entries = headers.entries().into_iter().flatten();
    let entries = entries.map(|entry| {
        let entry = Array::from(&entry);
        Some((entry.get(0).as_string()?, entry.get(1).as_string()?))
    });
    entries
        .flatten()
        .filter(|(_, value)| value.is_ascii())
        .collect()
}
