//! The program with the service linked into it.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealedge::main_native()
}
