//! Requests a second, CPU a request, start and memory over mTLS: for sealedge, and for the same
//! service linked natively into the same host.
//!
//! `cargo bench -p sealedge-benches --bench figures` does it all. Each server has one core, the client another.
//!
//! The client is our own: it sends the same bytes again and again, so that it costs less than the
//! server does, which the column "busy" shows. `wrk` has no client certificates; `oha` was not tried.
//!
//! On a machine that does other work too, both get less than their core and the ratios mean nothing.
//! As root, `echo -20 > /proc/self/autogroup` in a session of its own (`setsid`), and `nice -n -20`,
//! put them before it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

mod load;
mod plot;
mod report;
mod rest;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use load::{Load, Work};
use report::{Report, Round};
use server::{Server, pin};

/// Measure the server over mTLS, as a component and natively
#[derive(Parser)]
struct Options {
    /// How long a server is measured in each round, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,

    /// How often each server is measured, in turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Kept-alive connections, each with one request at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,

    /// What to measure (several by commas); all of it, and the start, if left out
    #[arg(long, value_delimiter = ',')]
    work: Vec<Work>,

    /// Fail if sealedge serves less than this part of what the native server does
    #[arg(long, value_name = "RATIO")]
    at_least: Option<f64>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Keep the figures in benches/results/
    #[arg(long)]
    save: bool,

    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // For the idle connections.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let pinned = pin(std::process::id(), 1);
    let programs = [
        ("sealedge", env!("CARGO_BIN_EXE_sealedge-as-component")),
        ("native", env!("CARGO_BIN_EXE_sealedge-as-native")),
    ]
    .map(|(name, program)| (name, Path::new(program)));
    let mut report = Report::new(pinned);
    if options.work.is_empty() {
        for (name, program) in programs {
            report.add_start(rest::measure(name, program, pinned));
        }
    }
    let servers = programs.map(|(name, program)| Server::start(name, program, pinned));
    for work in Work::ALL {
        if options.work.is_empty() || options.work.contains(&work) {
            report.add(work, measure(&options, &servers, work));
        }
    }
    let text = if options.json {
        report.to_json()
    } else {
        report.to_markdown()
    };
    println!("{text}");
    if options.save {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
        eprintln!("saved as {}", report.save(&folder).display());
    }
    match options.at_least {
        Some(least) if report.worst_ratio() < least => {
            eprintln!("less than {least} of native");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Measures the servers in turns; the rounds of each.
fn measure(options: &Options, servers: &[Server; 2], work: Work) -> [Vec<Round>; 2] {
    let load = Load {
        work,
        connections: options.connections,
        time: Duration::from_secs_f64(options.seconds),
    };
    let mut rounds = [Vec::new(), Vec::new()];
    for count in 1..=options.rounds {
        for (server, rounds) in servers.iter().zip(&mut rounds) {
            let round = load.run(server);
            eprintln!(
                "{work} round {count}, {}: {:.0} requests/s, {:.2} us CPU",
                server.name, round.requests_per_second, round.cpu_microseconds
            );
            rounds.push(round);
        }
    }
    rounds
}
