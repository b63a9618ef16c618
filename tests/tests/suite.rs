//! All tests of the running server, in one binary.
#![allow(missing_docs, reason = "tests are named by what they show")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

#[path = "suite/commands.rs"]
mod commands;
#[path = "suite/dev.rs"]
mod dev;
#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/go_sdk.rs"]
mod go_sdk;
#[path = "suite/parity.rs"]
mod parity;
#[path = "suite/processes.rs"]
mod processes;
#[path = "suite/startup.rs"]
mod startup;

use std::path::Path;

/// The program.
const SEALEDGE: &str = env!("CARGO_BIN_EXE_sealedge-under-test");

#[test]
fn the_command_line_does_what_its_cases_say() {
    commands::check(Path::new(SEALEDGE));
}
