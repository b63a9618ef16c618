//! All tests of the running server, in one binary.
#![allow(missing_docs, reason = "tests are named by what they show")]

#[path = "suite/commands.rs"]
mod commands;
#[path = "suite/parity.rs"]
mod parity;

/// The program.
const SEALEDGE: &str = env!("CARGO_BIN_EXE_sealedge-under-test");
