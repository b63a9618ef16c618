//! The native server of sealedge: TLS, HTTP, key stores and the command line around the WebAssembly guest.
#![forbid(unsafe_code)]

use std::process::ExitCode;

pub mod cli;
pub mod private_key;
pub mod store;

/// Runs the program with the arguments, environment and standard streams of this process.
pub fn main() -> ExitCode {
    cli::main()
}
