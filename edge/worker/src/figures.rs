//! What this isolate has counted, the platform's counters among it, and its way to what all have.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use sealedge_core::metrics;
use sealedge_core::platform::World;
use sealedge_core::time::Time;
use wasm_bindgen::JsValue;

use crate::binding;
use crate::objects::figures::{BINDING, Sums};
use crate::outside::{Outside, now};

/// How long an isolate gathers before it tells: the object would else have as much to do as all isolates have.
pub const GATHERING: Duration = Duration::from_secs(10);

/// What was counted and not yet told.
pub struct Figures {
    /// None if it is not bound: then the figures are those of this isolate alone.
    object: Option<Sums>,
    outside: Outside,
    untold: RefCell<Vec<u64>>,
    /// When somebody has begun to wait until it is to be told.
    awaited: Cell<Option<Time>>,
}

impl Figures {
    /// Nothing is counted.
    pub fn new(env: &JsValue, outside: Outside) -> Self {
        Self {
            outside,
            object: binding::objects(env, BINDING).ok().map(Sums::new),
            untold: RefCell::default(),
            awaited: Cell::default(),
        }
    }

    /// Whether it is the caller who is to wait [`GATHERING`] and then have it told. Whoever should have may have
    /// been stopped.
    pub fn is_to_wait(&self) -> bool {
        let now = now();
        let is_awaited = |since: Time| since <= now && now.since(since) <= GATHERING * 2;
        if self.object.is_none() || self.awaited.get().is_some_and(is_awaited) {
            return false;
        }
        self.awaited.set(Some(now));
        true
    }

    /// Adds what the service has counted, and the platform, to what all isolates have, and gives the sums: those of
    /// this isolate if there are no others, or they are not to be had, which the log says.
    pub async fn tell(&self, mut figures: Vec<u64>) -> Vec<u64> {
        self.awaited.set(None);
        metrics::add(&mut figures, &self.outside.counters().take());
        let mut told = self.untold.take();
        metrics::accumulate(&mut told, &figures);
        if let Some(object) = &self.object {
            match added(object, &told).await {
                Ok(sums) => return sums,
                Err(why) => self.outside.error(&format!(
                    "the figures are those of one isolate alone, and added up later: {why}"
                )),
            }
        }
        // Others have counted meanwhile.
        metrics::add(&mut self.untold.borrow_mut(), &told);
        told
    }
}

/// How long the sums are waited for, in milliseconds: whoever reads the figures has those of one isolate then.
const PATIENCE: u32 = 2_000;

async fn added(object: &Sums, told: &[u64]) -> Result<Vec<u64>, String> {
    let adding = pin!(object.add(BUILD, told));
    match select(adding, pin!(TimeoutFuture::new(PATIENCE))).await {
        Either::Left((sums, _)) => sums.map_err(|why| why.to_string()),
        Either::Right(_) => Err("a Durable Object does not answer".to_owned()),
    }
}

/// What tells this build's figures from those of others.
const BUILD: &str = match option_env!("SEALEDGE_COMMIT") {
    Some(commit) => commit,
    None => env!("CARGO_PKG_VERSION"),
};
