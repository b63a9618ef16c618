//! What one `start` of a cached `generate`, signed or not, costs whatever else the machine does: instructions, code and
//! allocations, counted by valgrind's callgrind. For CI: it fails if a figure is not the recorded one.
//!
//! Needs `valgrind`, in whose processor there is no SHA extension: there SHA-256 takes 8,500 of them. Of a signed
//! call some 402,000 are the verification, by dalek with AVX2.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use prepared::Prepared;
use profile::Profile;
use sealedge::guest::{GUEST, Machine, load, native};
use sealedge_benches::Scene;

mod prepared;
mod profile;

/// Calls before those that count: caches, tables and the stock of random bytes are filled by then.
const WARM_UP: usize = 200;

/// Calls of a short run. Another makes twice as many: what it does more is what is measured, since
/// callgrind counts calls of functions from the start.
const CALLS: usize = 1000;

/// How far the instructions may be from the record.
const TOLERANCE: f64 = 0.05;

/// How the service is run, and what is on record of a call.
struct Record {
    name: &'static str,
    instructions: f64,
    /// At most so many of the host's and, where it is linked, the service's.
    allocations: f64,
}

const RECORDS: [Record; 4] = [
    Record {
        name: "sealedge",
        instructions: 32_850.0,
        allocations: 2.1,
    },
    Record {
        name: "native",
        instructions: 18_000.0,
        allocations: 7.1,
    },
    Record {
        name: "sealedge, signed",
        instructions: 499_800.0,
        allocations: 29.1,
    },
    Record {
        name: "native, signed",
        instructions: 444_100.0,
        allocations: 60.1,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, command, name, calls] = arguments.as_slice()
        && command == "--calls-of"
    {
        run(name, calls.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not installed: on Debian, apt-get install valgrind");
        return ExitCode::FAILURE;
    }
    println!("| a call | instructions | on record | KiB of code | allocations | at most |");
    println!("|---|---|---|---|---|---|");
    let mut problems = Vec::new();
    for record in &RECORDS {
        let [short, long] = [CALLS, 2 * CALLS].map(|calls| measure(record.name, calls));
        let cost = Profile {
            instructions: long.instructions - short.instructions,
            allocations: long.allocations - short.allocations,
            code_bytes: long.code_bytes,
        };
        problems.extend(compare(record, &cost));
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints a row of the table, and says what is not as it was.
fn compare(record: &Record, cost: &Profile) -> Vec<String> {
    let name = record.name;
    let instructions = cost.instructions as f64 / CALLS as f64;
    let allocations = cost.allocations as f64 / CALLS as f64;
    println!(
        "| {name} | {instructions:.0} | {:.0} | {} | {allocations:.1} | {:.1} |",
        record.instructions,
        cost.code_bytes / 1024,
        record.allocations
    );
    let mut problems = Vec::new();
    let change = instructions / record.instructions - 1.0;
    if change.abs() > TOLERANCE {
        problems.push(format!(
            "{name}: {:+.1} % instructions a call: find out why, or set the record in \
             benches/src/instructions.rs to {instructions:.0}",
            change * 100.0
        ));
    }
    if cost.allocations == 0 {
        problems.push(format!(
            "{name}: no allocation is seen: has the allocator's function another name?"
        ));
    }
    if allocations > record.allocations {
        problems.push(format!(
            "{name}: {allocations:.1} allocations a call, where {:.1} are allowed",
            record.allocations
        ));
    }
    problems
}

/// Runs this program again, watched by callgrind.
fn measure(name: &str, calls: usize) -> Profile {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted*"])
        .args(["--dump-instr=yes", "--compress-pos=no"])
        .arg(option("--callgrind-out-file", &file))
        .arg(std::env::current_exe().unwrap())
        .args(["--calls-of", name, &calls.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Profile::read(&std::fs::read_to_string(file).unwrap())
}

fn option(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}

fn run(name: &str, calls: usize) {
    let machine = Arc::new(Machine::new().unwrap());
    let make = match name.starts_with("native") {
        true => native::factory(machine),
        false => load(GUEST, machine).unwrap(),
    };
    let mut service = match name.ends_with("signed") {
        true => Prepared::signed(&make, WARM_UP + calls),
        false => Prepared::new(&make, &Scene::SMALL),
    };
    service.calls(WARM_UP);
    counted(&mut service, calls);
}

/// What callgrind collects, which knows it by this name.
#[inline(never)]
fn counted(service: &mut Prepared, calls: usize) {
    service.calls(calls);
    // Something after the call, so that it does not become a jump out of here.
    std::hint::black_box(());
}
