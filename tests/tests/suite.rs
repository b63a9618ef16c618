//! All tests of the running server, in one binary.
#![allow(missing_docs, reason = "tests are named by what they show")]

#[path = "suite/commands.rs"]
mod commands;
#[path = "suite/go_sdk.rs"]
mod go_sdk;
#[path = "suite/parity.rs"]
mod parity;

use std::path::Path;

/// The program.
const SEALEDGE: &str = env!("CARGO_BIN_EXE_sealedge-under-test");

#[test]
fn the_command_line_does_what_its_cases_say() {
    commands::check(Path::new(SEALEDGE));
}
