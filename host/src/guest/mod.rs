//! The guest: the component that is the key service, and one instance of it.

mod budget;
pub mod crypto;
mod engine;
mod errors;
mod feed;
mod imports;
mod log;
mod machine;
#[cfg(feature = "native")]
pub mod native;
pub mod outgoing;

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

pub use bindings::sealedge::edge::types;
pub use feed::Reader;
pub use machine::{Machine, wall_clock};

use crate::pool::Factory;
use budget::{Budget, thread_time};
use imports::Imports;
use types::{Finished, KeptKey, Operation, Outcome, Request, Settings, StoreOperation};

#[expect(missing_docs, reason = "generated from wit/, which has the comments")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "edge",
        additional_derives: [PartialEq],
    });
}

/// How often the clock by which calls are limited moves on.
const EPOCH: Duration = Duration::from_millis(50);

/// After how many epochs it is looked at what a call has taken.
const LOOK: u64 = 10;

/// How much of a processor's time a call may take: far more than any request, and little enough to go on.
const CALL_LIMIT: Duration = Duration::from_secs(1);

/// The same for reading a configuration, of which there may be megabytes.
const CONFIGURE_LIMIT: Duration = Duration::from_mins(2);

/// A compiled guest.
#[derive(Clone, Copy)]
pub struct Image {
    /// The component.
    component: &'static [u8],
    /// Its code for any machine of this architecture.
    code: &'static [u8],
}

/// The guest that every server runs.
pub const GUEST: Image = Image {
    component: include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm")),
    code: include_bytes!(concat!(env!("OUT_DIR"), "/guest.cwasm")),
};

/// A guest that can be made to fail, for tests of the host.
#[cfg(feature = "faults")]
pub const GUEST_WITH_FAULTS: Image = Image {
    component: include_bytes!(concat!(env!("OUT_DIR"), "/guest-with-faults.wasm")),
    code: include_bytes!(concat!(env!("OUT_DIR"), "/guest-with-faults.cwasm")),
};

/// One instance of the service. Its calls never wait, and one is made at a time.
///
/// After an error the instance is dead, and all that is parked in it.
pub trait Instance: Send {
    /// See `configure` in `wit/`.
    fn configure(&mut self, document: &str) -> Result<Result<Settings, Vec<String>>, Trap>;
    /// See `prepare` in `wit/`.
    fn prepare(&mut self, call: u64) -> Result<Option<Finished>, Trap>;
    /// See `in-store` in `wit/`.
    fn in_store(&mut self, call: u64, what: &StoreOperation) -> Result<Option<Finished>, Trap>;
    /// See `adopt` in `wit/`.
    fn adopt(&mut self) -> Result<bool, Trap>;
    /// See `node` in `wit/`.
    fn node(&mut self) -> Result<Option<String>, Trap>;
    /// See `authenticate` in `wit/`.
    fn authenticate(&mut self, chain: &[Vec<u8>], ip: &str, trusted: bool)
    -> Result<Vec<u8>, Trap>;
    /// See `start` in `wit/`.
    fn start(&mut self, call: u64, request: &Request) -> Result<Option<Finished>, Trap>;
    /// See `lost` in `wit/`.
    fn lost(&mut self, request: &Request) -> Result<(), Trap>;
    /// See `resume` in `wit/`.
    fn resume(&mut self, io: u64, outcome: &Outcome) -> Result<Option<(u64, Finished)>, Trap>;
    /// See `kept` in `wit/`.
    fn kept(&mut self, name: &str) -> Result<Option<KeptKey>, Trap>;
    /// See `forget` in `wit/`.
    fn forget(&mut self, name: &str) -> Result<(), Trap>;
    /// See `tick` in `wit/`.
    fn tick(&mut self) -> Result<(), Trap>;
    /// See `take-counters` in `wit/`.
    fn take_counters(&mut self) -> Result<Vec<u64>, Trap>;
    /// The operations that the last call has begun, by their numbers.
    fn begun(&mut self) -> Vec<(u64, Operation)>;
    /// The operations that nobody waits for since the last call.
    fn cancelled(&mut self) -> Vec<u64>;
}

/// An instance died: it trapped, or took longer than a call may.
#[derive(Debug)]
pub struct Trap(String);

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guest died: {}", self.0)
    }
}

impl std::error::Error for Trap {}

impl From<wasmtime::Error> for Trap {
    fn from(error: wasmtime::Error) -> Self {
        // The first line is the cause; what follows is the guest's stack.
        Self(error.root_cause().to_string())
    }
}

/// Loads a guest: what makes its instances.
///
/// # Errors
/// As [`Program::load`].
pub fn load(image: Image, machine: Arc<Machine>) -> wasmtime::Result<Factory> {
    let program = Program::load(image, machine)?;
    Ok(Box::new(move || Ok(Box::new(program.instantiate()?))))
}

/// A loaded guest, of which instances are made.
struct Program {
    engine: Engine,
    linked: bindings::EdgePre<Imports>,
    machine: Arc<Machine>,
}

impl Program {
    /// Loads the code that was compiled with this program. If this machine refuses it, the guest is
    /// compiled now, which is said on standard error.
    ///
    /// # Errors
    /// The guest does not fit this program: a fault of the build.
    fn load(image: Image, machine: Arc<Machine>) -> wasmtime::Result<Self> {
        let engine = Engine::new(&engine::settings())?;
        let component = load_code(&engine, image)?;
        let mut linker = Linker::new(&engine);
        imports::add_to(&mut linker)?;
        let linked = bindings::EdgePre::new(linker.instantiate_pre(&component)?)?;
        let clock = engine.weak();
        std::thread::Builder::new()
            .name("epochs".into())
            .spawn(move || {
                while let Some(engine) = clock.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(EPOCH);
                }
            })?;
        Ok(Self {
            engine,
            linked,
            machine,
        })
    }

    /// A new instance.
    ///
    /// # Errors
    /// There is no memory for it.
    fn instantiate(&self) -> wasmtime::Result<Guest> {
        let mut store = Store::new(&self.engine, Imports::new(self.machine.clone()));
        // Memory that can't grow makes the guest trap.
        store.limiter(|imports| &mut imports.limits);
        store.epoch_deadline_callback(|mut guest| {
            guest.data_mut().budget.look(thread_time())?;
            Ok(UpdateDeadline::Continue(LOOK))
        });
        store.data_mut().budget = Budget::new(CALL_LIMIT);
        store.set_epoch_deadline(LOOK);
        let edge = self.linked.instantiate(&mut store)?;
        Ok(Guest { store, edge })
    }
}

#[expect(
    unsafe_code,
    reason = "wasmtime can't check that bytes are code that it has compiled"
)]
fn load_code(engine: &Engine, image: Image) -> wasmtime::Result<Component> {
    // SAFETY: the build script made these bytes with the same wasmtime, and they are a part of this
    // program's read-only data.
    match unsafe { Component::deserialize(engine, image.code) } {
        Ok(component) => Ok(component),
        Err(reason) => {
            // Not worth an end if standard error is gone.
            let _ = writeln!(
                std::io::stderr(),
                "compiling the service, since this machine refuses the code at hand: {reason}"
            );
            Component::from_binary(engine, image.component)
        }
    }
}

/// An instance in wasmtime.
struct Guest {
    store: Store<Imports>,
    edge: bindings::Edge,
}

impl Guest {
    fn limited(
        &mut self,
        limit: Duration,
    ) -> (
        &mut Store<Imports>,
        &bindings::exports::sealedge::edge::service::Guest,
    ) {
        self.store.data_mut().budget = Budget::new(limit);
        self.store.set_epoch_deadline(LOOK);
        (&mut self.store, self.edge.sealedge_edge_service())
    }
}

impl Instance for Guest {
    fn configure(&mut self, document: &str) -> Result<Result<Settings, Vec<String>>, Trap> {
        let (store, service) = self.limited(CONFIGURE_LIMIT);
        Ok(service.call_configure(store, document)?)
    }

    fn prepare(&mut self, call: u64) -> Result<Option<Finished>, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_prepare(store, call)?)
    }

    fn in_store(&mut self, call: u64, what: &StoreOperation) -> Result<Option<Finished>, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_in_store(store, call, what)?)
    }

    fn adopt(&mut self) -> Result<bool, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_adopt(store)?)
    }

    fn node(&mut self) -> Result<Option<String>, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_node(store)?)
    }

    fn authenticate(
        &mut self,
        chain: &[Vec<u8>],
        ip: &str,
        trusted: bool,
    ) -> Result<Vec<u8>, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_authenticate(store, chain, ip, trusted)?)
    }

    fn start(&mut self, call: u64, request: &Request) -> Result<Option<Finished>, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_start(store, call, request)?)
    }

    fn lost(&mut self, request: &Request) -> Result<(), Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_lost(store, request)?)
    }

    fn resume(&mut self, io: u64, outcome: &Outcome) -> Result<Option<(u64, Finished)>, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_resume(store, io, outcome)?)
    }

    fn kept(&mut self, name: &str) -> Result<Option<KeptKey>, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_kept(store, name)?)
    }

    fn forget(&mut self, name: &str) -> Result<(), Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_forget(store, name)?)
    }

    fn tick(&mut self) -> Result<(), Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_tick(store)?)
    }

    fn take_counters(&mut self) -> Result<Vec<u64>, Trap> {
        let (store, service) = self.limited(CALL_LIMIT);
        Ok(service.call_take_counters(store)?)
    }

    fn begun(&mut self) -> Vec<(u64, Operation)> {
        std::mem::take(&mut self.store.data_mut().begun)
    }

    fn cancelled(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.store.data_mut().cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_refuses_the_code_compiles_the_component() {
        let machine = Arc::new(Machine::new().unwrap());
        let refused = Image {
            code: b"code of another machine",
            ..GUEST
        };
        let program = Program::load(refused, machine).unwrap();
        let mut guest = program.instantiate().unwrap();
        // It works, and says what a configuration lacks.
        let problems = guest.configure("version: v1").unwrap().unwrap_err();
        assert!(!problems.is_empty());
    }

    #[test]
    fn the_embedded_code_is_taken_as_it_is() {
        let engine = Engine::new(&engine::settings()).unwrap();
        assert_eq!(
            Engine::detect_precompiled(GUEST.code),
            Some(wasmtime::Precompiled::Component)
        );
        drop(
            load_code(
                &engine,
                Image {
                    component: b"no component",
                    ..GUEST
                },
            )
            .unwrap(),
        );
    }
}
