//! The service of this isolate: made at its first request, and kept as long as the isolate lives.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::time::Duration;

use js_sys::Array;
use sealedge_core::platform::World;
use sealedge_core::service::Service;
use sealedge_core::time::Time;
use wasm_bindgen::JsValue;

use crate::configuration;
use crate::figures::{Figures, GATHERING};
use crate::outside::{Outside, log_error, now};
use crate::platform::Workers;

/// How often what has expired is wiped, while requests come.
const SWEEP: Duration = Duration::from_secs(1);

thread_local! {
    static ISOLATE: OnceCell<Rc<Isolate>> = const { OnceCell::new() };
}

/// What an isolate keeps from one request to the next. Nothing in it is bound to a request, as what the
/// platform does for one would be.
pub struct Isolate {
    /// The service.
    pub service: Rc<Service<Workers>>,
    /// The names of the headers that it wants to see, as JavaScript has them.
    pub headers: Array,
    swept: Cell<Time>,
    is_prepared: Cell<bool>,
    /// What it has counted.
    pub figures: Rc<Figures>,
    outside: Outside,
}

impl Isolate {
    /// Has the service wipe what has expired, if that was a while ago: nothing runs between requests.
    pub fn sweep(&self) {
        let now = now();
        if now.since(self.swept.get()) >= SWEEP {
            self.swept.set(now);
            self.service.tick();
        }
    }

    /// Whether, now that a request is answered, there is something to [`Isolate::attend`] to.
    pub fn is_to_attend(&self) -> bool {
        !self.is_prepared.get() || self.figures.is_to_wait()
    }

    /// What no client waits for: has the node's identity ready and the configured keys created, which the first
    /// request may not have needed; and then tells what was counted, after a while in which more is.
    pub async fn attend(&self) {
        if !self.is_prepared.replace(true) {
            // The answer is sent while this waits.
            self.outside.sleep(Duration::ZERO).await;
            match self.service.prepare().await {
                Ok(warning) => warning.iter().for_each(|it| warn(it)),
                Err(why) => log_error(&why),
            }
            if !self.figures.is_to_wait() {
                return;
            }
        }
        self.outside.sleep(GATHERING).await;
        self.figures.tell(self.service.take_counters()).await;
    }
}

/// The isolate's service, as the variable with the configuration wants it, or else the one that the Worker
/// was built with. Whatever keeps it from being made is looked at anew by the next request.
///
/// # Errors
/// What the operator should know, a line each.
pub fn of(env: &JsValue) -> Result<Rc<Isolate>, Vec<String>> {
    if let Some(isolate) = there() {
        return Ok(isolate);
    }
    let (config, warnings) = configuration::read(env)?;
    let platform = Workers::new(env, &config).map_err(|why| vec![why])?;
    let (figures, outside) = (platform.figures(), platform.outside());
    let service = Rc::new(Service::new(config, platform));
    for warning in warnings {
        warn(&warning);
    }
    service.begin_unprepared();
    let names = service.credential_headers().into_iter();
    let isolate = Rc::new(Isolate {
        headers: names.map(JsValue::from).collect(),
        service,
        swept: Cell::new(now()),
        is_prepared: Cell::new(false),
        figures,
        outside,
    });
    // Nothing was waited for since there was none.
    Ok(ISOLATE.with(|kept| kept.get_or_init(|| isolate).clone()))
}

fn warn(warning: &str) {
    log_error(&format!("warning: {warning}"));
}

/// The isolate's service, if it is made.
pub fn there() -> Option<Rc<Isolate>> {
    ISOLATE.with(|kept| kept.get().cloned())
}
