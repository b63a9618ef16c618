//! The place of one instance, and what is parked in it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::Instance;
use crate::admission::Admitted;
use crate::guest::types::{Finished, Request};
use crate::operation::{PendingBody, UnderWay};

/// The place of one instance. One that dies is replaced by a fresh one.
#[derive(Default)]
pub struct Slot {
    pub instance: Option<Box<dyn Instance>>,
    /// Counts the instances that were here, so that outcomes for a dead one are recognised.
    pub incarnation: u64,
    pub calls: HashMap<u64, Parked>,
    pub bodies: HashMap<u64, PendingBody>,
    /// Operations that are given up when nobody waits for them any more.
    pub under_way: HashMap<u64, UnderWay>,
}

impl Slot {
    /// Waits for the end of a call, which the instance has not answered at once.
    pub fn park(&mut self, call: u64, of: Option<Held>) -> oneshot::Receiver<Ended> {
        let (end, ended) = oneshot::channel();
        self.calls.insert(call, Parked { end, of });
        ended
    }

    /// Ends a call that is parked.
    pub fn end(&mut self, call: u64, finished: Finished) {
        self.bodies.remove(&call);
        if let Some(Parked { end, of }) = self.calls.remove(&call) {
            // A client that is gone does not wait any more.
            let _ = end.send((finished, of.map(|held| held.admitted)));
        }
    }
}

/// A call that waits in an instance.
pub struct Parked {
    end: oneshot::Sender<Ended>,
    /// Its request; none if the host itself has called.
    of: Option<Held>,
}

/// A request that an instance holds, even if its client is gone.
pub struct Held {
    pub request: Request,
    pub admitted: Admitted,
}

/// The end of a call, and what let its request in.
pub type Ended = (Finished, Option<Admitted>);

/// The requests of these calls.
pub fn requests(calls: &HashMap<u64, Parked>) -> Vec<&Request> {
    let held = calls.values().filter_map(|call| call.of.as_ref());
    held.map(|held| &held.request).collect()
}

pub fn locked(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
