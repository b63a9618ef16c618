//! Where Spin comes in: one instance, one request.

use std::rc::Rc;
use std::time::Duration;

use sealedge_core::service::Service;
use sealedge_core::time::Time;
use spin_sdk::http::{IncomingRequest, ResponseOutparam};
use spin_sdk::http_component;

use super::binding::SpinStore;
use super::outside::{self, Outside};
use super::platform::Spin;
use super::{configuration, request};
use crate::copies::Copies;
use crate::keyvalue::{KeyValue, Trouble, number};
use crate::{nonces, places};

/// How often what is too old is taken out of the store, while requests come.
const SWEEP: Duration = Duration::from_secs(60);

/// How many requests, about, share the look whether it is time.
const ONE_OF: u64 = 16;

/// Serves a request.
#[http_component]
async fn handle(asked: IncomingRequest, answer: ResponseOutparam) {
    let arrived = outside::now();
    match Instance::new() {
        Ok(instance) => {
            let response =
                request::answer(&instance.service, &instance.outside, asked, arrived).await;
            // Not afterwards: when the client has its answer, Spin ends this instance.
            instance.attend(arrived);
            request::respond(response, answer).await;
        }
        Err(faults) => {
            for fault in faults {
                outside::log_error(&fault);
            }
            request::respond(request::not_configured(), answer).await;
        }
    }
}

struct Instance {
    service: Rc<Service<Spin>>,
    outside: Outside,
    store: SpinStore,
    warnings: Vec<String>,
    /// How long signed requests are remembered.
    window: Duration,
}

impl Instance {
    /// The service as the configuration wants it.
    ///
    /// # Errors
    /// What the operator should know, a line each.
    fn new() -> Result<Self, Vec<String>> {
        let (config, warnings) = configuration::read()?;
        let store = SpinStore::new(&config.keystore);
        let window = config.auth.window;
        let platform = Spin::new(&config, store).map_err(|why| vec![why])?;
        let outside = Outside::new(&config);
        let service = Rc::new(Service::new(config, platform));
        service.begin_unprepared();
        Ok(Self {
            service,
            outside,
            store,
            warnings,
            window,
        })
    }

    /// What nobody has asked for. What goes wrong with it is tried again by another one.
    fn attend(&self, now: Time) {
        if let Err(trouble) = self.warn().and_then(|()| self.sweep(now)) {
            outside::log_error(&format!(
                "the key-value store can't be tidied up: {trouble}"
            ));
        }
    }

    /// Says what is odd about the configuration, once for all instances.
    fn warn(&self) -> Result<(), Trouble> {
        if self.warnings.is_empty() {
            return Ok(());
        }
        let all = self.warnings.join("\n");
        if self.store.get(places::SAID)?.as_deref() == Some(all.as_bytes()) {
            return Ok(());
        }
        self.store.set(places::SAID, all.as_bytes())?;
        for warning in &self.warnings {
            outside::log_error(&format!("warning: {warning}"));
        }
        Ok(())
    }

    /// Takes out of the store what is too old, if that was a while ago.
    fn sweep(&self, now: Time) -> Result<(), Trouble> {
        // Most need not even look.
        if !(now.as_nanos() / 1_000).is_multiple_of(ONE_OF) {
            return Ok(());
        }
        let swept = self.store.get(places::SWEPT)?;
        let swept = swept.and_then(|it| number(&it)?.try_into().ok());
        let swept = Time::from_nanos(swept.unwrap_or_default());
        if swept <= now && now.since(swept) < SWEEP {
            return Ok(());
        }
        let time = now.as_nanos().to_string();
        self.store.set(places::SWEPT, time.as_bytes())?;
        let keys = self.store.keys()?;
        if !nonces::sweep(&self.store, &keys, self.window, now)? {
            // The next one goes on: else more would come than go.
            self.store.delete(places::SWEPT)?;
        }
        let copies = Copies::new(self.store, outside::now);
        let begin = usize::try_from(now.as_nanos() / 1_000).unwrap_or_default();
        copies.sweep(&keys, begin, self.service.copies_last())
    }
}
