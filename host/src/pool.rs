//! The instances of the service, and the calls that are parked in them.
//!
//! An instance is used by one thread at a time, for microseconds. What a call waits for is done
//! outside ([`crate::operation`]), and its outcome is handed in by whatever thread it ends on.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use sealedge_core::metrics::{self, Counters};
use tokio::sync::oneshot;
use zeroize::Zeroize;

use crate::admission::Admitted;
use crate::guest::types::{self, Finished, KeptKey, Outcome, Request, Settings, StoreOperation};
use crate::guest::{Instance, Machine, Trap};
use crate::operation::{Operations, PendingBody};
use slot::{Ended, Held, Slot, locked, requests};

mod slot;
#[cfg(test)]
mod tests;

/// Makes a new instance.
pub type Factory = Box<dyn Fn() -> Result<Box<dyn Instance>, Trap> + Send + Sync>;

/// All instances of the service.
pub struct Pool {
    slots: Vec<Mutex<Slot>>,
    make: Factory,
    document: Mutex<Arc<str>>,
    machine: Arc<Machine>,
    operations: Operations,
    next_call: AtomicU64,
    totals: Mutex<Vec<u64>>,
}

/// Where an operation's outcome goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Address {
    slot: usize,
    incarnation: u64,
    io: u64,
}

/// A call was lost with its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Why the service can't start.
#[derive(Debug)]
pub enum StartError {
    /// What is wrong with the configuration, a line each.
    Configuration(Vec<String>),
    /// The service died.
    Died(String),
    /// What the configuration wants to exist could not be created.
    Prepare(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(problems) => f.write_str(&problems.join("\n")),
            Self::Died(why) => f.write_str(why),
            Self::Prepare(why) => f.write_str(why),
        }
    }
}

/// Reads a configuration: what it wants of the host.
///
/// # Errors
/// [`StartError::Configuration`] lists all that is wrong with it.
pub fn configure(make: &Factory, document: &str) -> Result<Settings, StartError> {
    let died = |trap: Trap| StartError::Died(trap.to_string());
    let mut instance = make().map_err(died)?;
    instance
        .configure(document)
        .map_err(died)?
        .map_err(StartError::Configuration)
}

impl Pool {
    /// `size` instances under a configuration that [`configure`] has read without an error.
    ///
    /// # Errors
    /// An instance died while it was made.
    pub fn new(
        size: usize,
        make: Factory,
        document: String,
        machine: Arc<Machine>,
        operations: Operations,
    ) -> Result<Arc<Self>, StartError> {
        let pool = Arc::new(Self {
            slots: (0..size.max(1)).map(|_| Mutex::default()).collect(),
            make,
            document: Mutex::new(document.into()),
            machine,
            operations,
            next_call: AtomicU64::new(0),
            totals: Mutex::default(),
        });
        for slot in &pool.slots {
            // Now and not at the first request, which would have to wait for it.
            let made = pool
                .make()
                .map_err(|trap| StartError::Died(trap.to_string()))?;
            slot.lock().unwrap_or_else(PoisonError::into_inner).instance = Some(made);
        }
        Ok(pool)
    }

    /// Reads a configuration that may come: what it would want of the host.
    ///
    /// # Errors
    /// As [`configure`].
    pub fn read(&self, document: &str) -> Result<Settings, StartError> {
        configure(&self.make, document)
    }

    /// Puts a configuration that was [read](Pool::read) in force, in all instances at once: after any
    /// request is judged by it, none is by the one before. Calls that are parked end under theirs.
    /// `meanwhile` is done at that moment, while no instance works.
    ///
    /// # Errors
    /// An instance could not read it. Then the configuration before is in force, in all of them.
    pub fn reconfigure(
        self: &Arc<Self>,
        document: &str,
        meanwhile: impl FnOnce(),
    ) -> Result<(), StartError> {
        // One after the other, for it takes its time: the others serve meanwhile.
        for (index, slot) in self.slots.iter().enumerate() {
            let propose = |instance: &mut dyn Instance| instance.configure(document);
            self.enter(index, locked(slot), propose)
                .map(|(read, _slot)| read)
                .map_err(|Lost| StartError::Died("the service died of it".to_owned()))?
                .map_err(StartError::Configuration)?;
        }
        let slots: Vec<_> = self.slots.iter().map(locked).collect();
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = document.into();
        meanwhile();
        for (index, slot) in slots.into_iter().enumerate() {
            if slot.instance.is_some() {
                // One that dies of it is made anew, under this configuration.
                let _ = self.enter(index, slot, |instance| {
                    if !instance.adopt()? {
                        // It took the place of one that has died since.
                        let _ = instance.configure(document)?;
                        instance.adopt()?;
                    }
                    Ok(())
                });
            }
        }
        Ok(())
    }

    /// Does something while no instance works: between two requests.
    pub fn pause(&self, work: impl FnOnce()) {
        let _slots: Vec<_> = self.slots.iter().map(locked).collect();
        work();
    }

    /// What is done beside the instances.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Prepares all instances, at a time: each has its own copy of what it needs, such as the identity
    /// of the node.
    ///
    /// # Errors
    /// [`StartError`] says what is not as the configuration wants it.
    pub async fn prepare(self: &Arc<Self>) -> Result<Option<String>, StartError> {
        let died = |Lost| StartError::Died("the service died while it started".to_owned());
        let slots = self.slots.iter().map(locked).enumerate();
        let prepare = |slot| self.call(slot, |instance, call| instance.prepare(call));
        let mut warning = None;
        for end in slots.map(prepare).collect::<Vec<_>>() {
            warning = match end.map_err(died)?.await {
                Ok((Finished::Prepared(result), _)) => result.map_err(StartError::Prepare)?,
                _ => return Err(died(Lost)),
            };
        }
        Ok(warning)
    }

    /// The fingerprint of this node, once its identity is there.
    pub fn node(self: &Arc<Self>) -> Option<String> {
        let slot = locked(self.slots.first()?);
        self.enter(0, slot, |instance| instance.node()).ok()?.0
    }

    /// Does something in the key store elsewhere: always by the same instance, which is logged in there.
    ///
    /// # Errors
    /// The instance died before it was done.
    pub async fn store(self: &Arc<Self>, what: &StoreOperation) -> Result<Outcome, Lost> {
        let first = self.slots.first().map(|slot| (0, locked(slot)));
        let at = first.unwrap_or_else(|| self.pick());
        let end = self.call(at, |instance, call| instance.in_store(call, what))?;
        match end.await {
            Ok((Finished::Stored(outcome), _)) => Ok(outcome),
            _ => Err(Lost),
        }
    }

    /// Begins a call of the host's own in the instance of a slot: its end.
    fn call(
        self: &Arc<Self>,
        (index, slot): (usize, MutexGuard<'_, Slot>),
        work: impl FnOnce(&mut dyn Instance, u64) -> Result<Option<Finished>, Trap>,
    ) -> Result<oneshot::Receiver<Ended>, Lost> {
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (finished, mut slot) = self.enter(index, slot, |instance| work(instance, call))?;
        let end = slot.park(call, None);
        if let Some(finished) = finished {
            slot.end(call, finished);
        }
        Ok(end)
    }

    /// What the certificates of a connection say about its client: opaque to the host.
    ///
    /// # Errors
    /// The instance died.
    pub fn authenticate(self: &Arc<Self>, chain: &[Vec<u8>], ip: &str) -> Result<Vec<u8>, Lost> {
        let (index, slot) = self.pick();
        self.enter(index, slot, |instance| {
            instance.authenticate(chain, ip, true)
        })
        .map(|(answer, _)| answer)
    }

    /// Serves a request. `complete` adds who sends it, when its turn has come: until the instance has it
    /// nothing can be [reconfigured](Pool::reconfigure). Gives back what lets the request in, in case it
    /// goes on.
    ///
    /// # Errors
    /// The instance died before it answered.
    pub async fn serve(
        self: &Arc<Self>,
        mut request: Request,
        body: Option<PendingBody>,
        admitted: Admitted,
        complete: impl FnOnce(&mut Request, &mut dyn Instance) -> Result<(), Trap>,
    ) -> Result<Ended, Lost> {
        request.audited = self.machine.is_audit_read();
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let begin = |instance: &mut dyn Instance| {
            complete(&mut request, instance)?;
            let begun = instance.start(call, &request);
            // It may hold a key or a plaintext, and the instance has it now.
            if let types::Body::Whole(body) = &mut request.body {
                body.zeroize();
            }
            request.body = types::Body::None;
            begun
        };
        let end = {
            let (index, mut slot) = self.pick();
            if let Some(body) = body {
                slot.bodies.insert(call, body);
            }
            let Ok((finished, mut slot)) = self.enter(index, slot, begin) else {
                self.record(self.pick(), &[&request]);
                return Err(Lost);
            };
            if let Some(finished) = finished {
                slot.bodies.remove(&call);
                return Ok((finished, Some(admitted)));
            }
            slot.park(call, Some(Held { request, admitted }))
        };
        end.await.map_err(|_| Lost)
    }

    /// Records requests that were lost.
    fn record(self: &Arc<Self>, (index, slot): (usize, MutexGuard<'_, Slot>), lost: &[&Request]) {
        if lost.is_empty() {
            return;
        }
        // If this one dies as well, standard error has said of both what there is to say.
        let _ = self.enter(index, slot, |instance| {
            lost.iter().try_for_each(|request| instance.lost(request))
        });
    }

    /// Gives up the calls that are parked, and records their requests as lost, for the server ends. What
    /// one of them has asked of the key store may be done all the same.
    pub fn give_up(self: &Arc<Self>) {
        for (index, slot) in self.slots.iter().enumerate() {
            let mut slot = locked(slot);
            let calls = std::mem::take(&mut slot.calls);
            self.record((index, slot), &requests(&calls));
        }
    }

    /// Hands an operation's outcome to the instance that began it, if that one still lives.
    pub fn resume(self: &Arc<Self>, to: Address, outcome: &Outcome) {
        let Some(slot) = self.slots.get(to.slot) else {
            return;
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.incarnation != to.incarnation {
            return;
        }
        slot.under_way.remove(&to.io);
        let entered = self.enter(to.slot, slot, |instance| instance.resume(to.io, outcome));
        if let Ok((Some((call, finished)), mut slot)) = entered {
            slot.end(call, finished);
        }
    }

    /// The body of a call, if it is there.
    pub fn take_body(&self, of: Address, call: u64) -> Option<PendingBody> {
        let mut slot = self
            .slots
            .get(of.slot)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        slot.bodies.remove(&call)
    }

    /// A key that some instance has in its cache, and may be served while the key store is away: of
    /// several the one that was read last.
    pub fn kept(self: &Arc<Self>, name: &str) -> Option<KeptKey> {
        let mut found: Option<KeptKey> = None;
        self.in_all(|instance| {
            if let Some(mut key) = instance.kept(name)? {
                if found.as_ref().is_none_or(|it| it.read_at < key.read_at) {
                    std::mem::swap(found.get_or_insert_with(|| key.clone()), &mut key);
                }
                key.value.zeroize();
            }
            Ok(())
        });
        found
    }

    /// Makes every instance forget a key.
    pub fn forget(self: &Arc<Self>, name: &str) {
        self.operations.detach(name);
        self.in_all(|instance| instance.forget(name));
    }

    /// Lets every instance wipe what has expired, and takes what it has counted: what it counts until
    /// the next time is lost if it dies.
    pub fn tick(self: &Arc<Self>) {
        self.in_all(|instance| instance.tick());
        self.totals(&[]);
    }

    /// Adds the figures of all instances to the sums, and gives these. `more` is what one of them has
    /// handed out already.
    pub fn totals(self: &Arc<Self>, more: &[u64]) -> Vec<u64> {
        let mut figures = self.machine.count(Counters::take);
        self.in_all(|instance| {
            metrics::add(&mut figures, &instance.take_counters()?);
            Ok(())
        });
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        // Its gauges are among those of all, which come after them and in their place.
        metrics::accumulate(&mut totals, more);
        metrics::accumulate(&mut totals, &figures);
        totals.clone()
    }

    /// Runs something in every instance that lives: one that is yet to come knows nothing.
    fn in_all(self: &Arc<Self>, mut work: impl FnMut(&mut dyn Instance) -> Result<(), Trap>) {
        for (index, slot) in self.slots.iter().enumerate() {
            let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if slot.instance.is_some() {
                // An instance that dies of it has forgotten and counted as well.
                let _ = self.enter(index, slot, &mut work);
            }
        }
    }

    /// A free instance, and of several the one that this thread used last: its memory is near.
    fn pick(&self) -> (usize, MutexGuard<'_, Slot>) {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static FIRST: usize = THREADS.fetch_add(1, Ordering::Relaxed);
        }
        let count = self.slots.len();
        let first = FIRST.with(|first| *first) % count;
        for (index, slot) in self
            .slots
            .iter()
            .enumerate()
            .cycle()
            .skip(first)
            .take(count)
        {
            match slot.try_lock() {
                Ok(slot) => return (index, slot),
                Err(TryLockError::Poisoned(poisoned)) => return (index, poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        let slot = self.slots.get(first).or(self.slots.first());
        // There is at least one slot: `new` sees to it.
        slot.map_or_else(
            || std::process::abort(),
            |slot| (first, slot.lock().unwrap_or_else(PoisonError::into_inner)),
        )
    }

    /// Runs a call in the instance of a slot, and sees to what it began or what it broke.
    fn enter<'a, T>(
        self: &Arc<Self>,
        index: usize,
        mut slot: MutexGuard<'a, Slot>,
        work: impl FnOnce(&mut dyn Instance) -> Result<T, Trap>,
    ) -> Result<(T, MutexGuard<'a, Slot>), Lost> {
        let made = match slot.instance.take() {
            Some(instance) => Ok(instance),
            None => self.make(),
        };
        let done = made.and_then(|mut instance| Ok((work(&mut *instance)?, instance)));
        match done {
            Ok((answer, mut instance)) => {
                let (begun, cancelled) = (instance.begun(), instance.cancelled());
                slot.instance = Some(instance);
                let incarnation = slot.incarnation;
                let address = |io| Address {
                    slot: index,
                    incarnation,
                    io,
                };
                for (io, operation) in begun {
                    if let Some(operation) = self.operations.perform(self, address(io), operation) {
                        slot.under_way.insert(io, operation);
                    }
                }
                for io in cancelled {
                    if let Some(operation) = slot.under_way.remove(&io) {
                        self.operations.give_up(address(io), operation);
                    }
                }
                Ok((answer, slot))
            }
            Err(trap) => {
                let incarnation = slot.incarnation.wrapping_add(1);
                let died = slot.incarnation;
                for (io, operation) in slot.under_way.drain() {
                    let address = Address {
                        slot: index,
                        incarnation: died,
                        io,
                    };
                    self.operations.give_up(address, operation);
                }
                // Whoever waits for one of these learns that it is lost when they are dropped.
                let calls = std::mem::take(&mut slot.calls);
                *slot = Slot {
                    incarnation,
                    ..Slot::default()
                };
                let lost = calls.len();
                self.machine
                    .error(&format!("{trap}; {lost} other requests were lost with it"));
                self.record((index, slot), &requests(&calls));
                Err(Lost)
            }
        }
    }

    fn make(&self) -> Result<Box<dyn Instance>, Trap> {
        let mut instance = (self.make)()?;
        let document = self
            .document
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // It was read without an error before.
        let _ = instance.configure(&document)?;
        Ok(instance)
    }
}
