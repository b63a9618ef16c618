//! Reads of keys that are under way: one for a key, however many wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::pool::Address;

/// All reads under way.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<String, Arc<Flight>>>);

/// One read, and who waits for it. Changed only under the lock of all flights.
#[derive(Default)]
pub struct Flight(Mutex<Vec<Address>>);

impl Flights {
    /// Waits for the read of a key; gives the flight if there was none, to be flown by the caller.
    pub fn join(&self, name: &str, address: Address) -> Option<Arc<Flight>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(name) {
            flight
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(address);
            return None;
        }
        let flight = Arc::new(Flight(Mutex::new(vec![address])));
        flights.insert(name.to_owned(), flight.clone());
        Some(flight)
    }

    /// Does not wait for the read of a key any more.
    pub fn leave(&self, name: &str, address: Address) {
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(name) {
            let mut waiting = flight.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|other| *other != address);
        }
    }

    /// Whether nobody waits for a read any more, which then ends before it has begun.
    pub fn is_abandoned(&self, name: &str, flight: &Arc<Flight>) -> bool {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = flight.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.is_empty() {
            return false;
        }
        remove(&mut flights, name, flight);
        true
    }

    /// Ends a flight; who has waited for it.
    pub fn land(&self, name: &str, flight: &Arc<Flight>) -> Vec<Address> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remove(&mut flights, name, flight);
        std::mem::take(&mut *flight.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps later reads of a key from joining its flight.
    pub fn detach(&self, name: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

/// Removes a flight, if no other one has taken its place.
fn remove(flights: &mut HashMap<String, Arc<Flight>>, name: &str, flight: &Arc<Flight>) {
    if flights
        .get(name)
        .is_some_and(|current| Arc::ptr_eq(current, flight))
    {
        flights.remove(name);
    }
}
