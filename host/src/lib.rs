//! The native host of sealedge: the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

pub mod cli;
pub mod private_key;

/// Runs the program with the arguments, environment and standard streams of this process.
pub fn main() -> ExitCode {
    cli::main()
}
