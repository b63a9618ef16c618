//! The program with a guest and a memory store that fail when they are asked to.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealedge::main_with_faults()
}
