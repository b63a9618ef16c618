//! Drives the real program for as long as one likes:
//! `cargo test -p sealedge-tests --test soak -- --minutes 60`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sealedge_tests::soak::{Plan, Progress, run};

/// Drive servers with a mixed load and with clients that mean no good, and look at what is left
#[derive(Parser)]
struct Options {
    /// For how long
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,

    /// By how many per cent of its plateau the memory may have grown at the end
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    growth: f64,

    /// What the choices of all clients follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Another program to drive
    #[arg(long, default_value = env!("CARGO_BIN_EXE_sealedge-under-test"))]
    program: PathBuf,

    /// Print JSON instead of a summary
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let plan = Plan {
        program: options.program,
        time: Duration::from_secs_f64(options.minutes * 60.0),
        seed: options.seed,
        growth: options.growth,
        prefix: "soak-".to_owned(),
    };
    // A client's panic is a fault, which the report has.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some("main") {
            usual(panic);
        }
    }));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let report = runtime.block_on(run(&plan, show));
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    if options.json {
        println!("{}", report.to_json());
    } else {
        println!("{report}");
    }
    match report.faults().first() {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}

/// Shows how far it is, on one line of a terminal.
fn show(progress: &Progress) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{progress}");
        let _ = stderr.flush();
    }
}
