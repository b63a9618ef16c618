//! The native server of sealedge: TLS, HTTP, key stores and the command line around the WebAssembly guest.
#![deny(unsafe_code)] // but for the allocator, the one place that loads the guest's code, and the benchmark's `guest::native`

use std::process::ExitCode;
use std::sync::Arc;

use guest::Machine;
use limits::Limits;
use pool::Factory;
use store::{KeyStore, MemStore};

pub mod admission;
#[expect(unsafe_code, reason = "an allocator is made of raw memory")]
mod allocator;
pub mod cli;
mod file;
pub mod guest;
pub mod limits;
mod memory;
pub mod operation;
pub mod outside;
mod pem;
pub mod pool;
pub mod private_key;
mod proxy;
pub mod server;
pub mod store;
mod world;

/// What a program is put together from.
#[derive(Clone, Copy)]
pub struct Parts {
    /// Loads the service: what makes its instances.
    pub service: fn(Arc<Machine>) -> wasmtime::Result<Factory>,
    /// Makes the key store that lives as long as the process.
    pub memory_store: fn() -> Arc<dyn KeyStore>,
    /// Whether other programs may look into this one's memory, as tests do.
    pub inspectable: bool,
    /// What clients may take of it.
    pub limits: Limits,
}

/// Runs the program with the arguments, environment and standard streams of this process.
pub fn main() -> ExitCode {
    cli::main(Parts {
        service: |machine| guest::load(guest::GUEST, machine),
        memory_store: || Arc::new(MemStore::new()),
        inspectable: false,
        limits: Limits::default(),
    })
}

/// The same program with a guest and a memory store that fail when they are asked to, and with limits
/// that a test can wait for.
#[cfg(feature = "faults")]
pub fn main_with_faults(limits: Limits) -> ExitCode {
    cli::main(Parts {
        service: |machine| guest::load(guest::GUEST_WITH_FAULTS, machine),
        memory_store: || Arc::new(store::faults::Faulty::new(MemStore::new())),
        inspectable: true,
        limits,
    })
}

/// The same program with the service linked into it, without WebAssembly.
#[cfg(feature = "native")]
pub fn main_native() -> ExitCode {
    cli::main(Parts {
        service: |machine| Ok(guest::native::factory(machine)),
        memory_store: || Arc::new(MemStore::new()),
        inspectable: false,
        limits: Limits::default(),
    })
}
