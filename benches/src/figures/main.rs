//! Requests a second, CPU a request, start, memory and latency over mTLS: for sealedge; for the same
//! service linked natively into the same host; for a server that does no more than must be done; and
//! for KES, if `kes` is on the PATH.
//!
//! `cargo bench -p sealedge-benches --bench figures` does it all. Each server has one core, the client another.
//!
//! The load comes from a client of our own that never sleeps (`awake.rs` says why), with bombardier's
//! figures beside it, and for what takes longer from bombardier alone: the one on the PATH, or one that
//! Go installs. `oha` resumes TLS sessions, so it can't measure new connections; `wrk` and `h2load` have no
//! client certificates; `ab` speaks HTTP/1.0.
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

mod aims;
mod awake;
mod bombardier;
mod client;
mod latency;
mod plot;
mod report;
mod rest;
mod server;
mod table;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sealedge_benches::Scene;
use tokio::task::LocalSet;

use bombardier::Bombardier;
use client::Client;
use latency::Plan;
use report::{Driven, Figures, Report};
use server::{Files, Program, Server, pin};
use work::Work;

/// How long a server is driven before it is measured. Bombardier refuses less.
const WARM_UP: Duration = Duration::from_secs(1);

/// Measure the server over mTLS, beside others
#[derive(Parser)]
struct Options {
    /// How long a server is measured in each round, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,

    /// How often each server is measured, in turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Kept-alive connections, each with one request at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,

    /// What to measure (several by commas); if left out all of it, and start, idle connections and latency
    #[arg(long, value_delimiter = ',')]
    work: Vec<Work>,

    /// Fail if an aim is missed
    #[arg(long)]
    strict: bool,

    /// Print JSON instead of tables
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let report = LocalSet::new().block_on(&runtime.unwrap(), measure(&options));
    let text = if options.json {
        report.to_json()
    } else {
        table::markdown(&report)
    };
    println!("{text}");
    if options.save {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
        eprintln!("saved as {}", report.save(&folder).display());
    }
    if options.strict && !aims::all(&report).iter().all(aims::Aim::is_reached) {
        eprintln!("an aim is missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Measures what is wanted.
async fn measure(options: &Options) -> Report {
    // Before this process may use one core only, for it may have to build bombardier.
    let bombardier = Bombardier::new();
    let plan = Plan {
        connections: options.connections,
        time: Duration::from_secs(options.seconds),
        rounds: options.rounds,
        pinned: pin(1),
    };
    let (programs, client) = (Program::all(), Client::new());
    let mut report = Report::new(&programs, plan.pinned);
    for work in Work::ALL {
        if options.work.is_empty() || options.work.contains(&work) {
            let compared = programs
                .iter()
                .filter(|program| program.is_whole() || work.is_for_bare());
            let servers = drive(work, compared, &bombardier, &client, plan).await;
            report.works.push(Figures { work, servers });
        }
    }
    if options.work.is_empty() {
        let whole: Vec<Program> = programs.into_iter().filter(Program::is_whole).collect();
        report.starts = rest::measure(&whole, &client, plan.pinned).await;
        report.latencies = latency::measure(&whole[0], &client, plan).await;
    }
    report
}

/// Drives the programs in turns.
async fn drive(
    work: Work,
    programs: impl Iterator<Item = &Program>,
    bombardier: &Bombardier,
    client: &Client,
    plan: Plan,
) -> Vec<Driven> {
    let mut servers = Vec::new();
    for program in programs {
        let files = Files::new(Scene::SMALL);
        let server = Server::start(program, &files, client, plan.pinned).await;
        work.drive(&server, client, bombardier, plan.connections, WARM_UP)
            .await;
        let driven = Driven {
            server: program.name,
            rounds: Vec::new(),
        };
        servers.push((server, files, driven));
    }
    for count in 1..=plan.rounds {
        for (server, _, driven) in &mut servers {
            let round = work
                .drive(server, client, bombardier, plan.connections, plan.time)
                .await;
            eprintln!(
                "{work} round {count}, {}: {:.0} requests/s, {:.2} us CPU",
                server.name, round.requests_per_second, round.cpu_microseconds
            );
            driven.rounds.push(round);
        }
    }
    servers.into_iter().map(|(_, _, driven)| driven).collect()
}
