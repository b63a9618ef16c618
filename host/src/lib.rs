//! The native server of sealedge: TLS, HTTP, key stores and the command line around the WebAssembly guest.
#![deny(unsafe_code)] // but for the one place that loads the guest's code

use std::process::ExitCode;

pub mod cli;
pub mod guest;
pub mod operation;
pub mod pool;
pub mod private_key;
pub mod server;
pub mod store;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the program with the arguments, environment and standard streams of this process.
pub fn main() -> ExitCode {
    cli::main()
}
