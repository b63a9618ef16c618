//! CPU time of one `start` of a cached `generate`, without the server around it: as a component and
//! natively; with one key and one policy, with very many, and signed. Steadier than whole requests when the
//! machine is busy: for work on the service itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

use std::sync::Arc;

use prepared::Prepared;
use sealedge::guest::{GUEST, Machine, load, native};
use sealedge::pool::Factory;
use sealedge_benches::Scene;

mod prepared;

/// Calls in a round.
const CALLS: usize = 100_000;

/// Rounds of each; the median counts.
const ROUNDS: usize = 5;

/// Signed calls in a round: each is signed beforehand, and too old a minute later.
const SIGNED: usize = 5_000;

fn main() {
    let machine = Arc::new(Machine::new().unwrap());
    let services: [(&str, Factory); 2] = [
        ("sealedge", load(GUEST, machine.clone()).unwrap()),
        ("native", native::factory(machine)),
    ];
    println!(
        "| | {} | signed |",
        Scene::ALL.map(|scene| scene.name).join(" | ")
    );
    println!("|---|---|---|---|---|");
    for (name, make) in services {
        let mut services = Scene::ALL.map(|scene| Prepared::new(&make, &scene));
        let mut rounds = Scene::ALL.map(|_| Vec::new());
        let mut signed = Vec::new();
        for _ in 0..ROUNDS {
            // In turns, since the machine may change meanwhile.
            for (service, rounds) in services.iter_mut().zip(&mut rounds) {
                rounds.push(round(service, CALLS));
            }
            signed.push(round(&mut Prepared::signed(&make, SIGNED), SIGNED));
        }
        let medians = rounds.map(median).into_iter().chain([median(signed)]);
        let medians: Vec<u64> = medians.collect();
        let cell = |nanos: &u64| format!("{nanos} ns ({:.2})", ratio(*nanos, medians[0]));
        let cells: Vec<String> = medians.iter().map(cell).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn median(mut rounds: Vec<u64>) -> u64 {
    rounds.sort_unstable();
    rounds[rounds.len() / 2]
}

fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to as f64
}

/// CPU time of a call in nanoseconds.
fn round(service: &mut Prepared, calls: usize) -> u64 {
    let begin = cpu();
    service.calls(calls);
    (cpu() - begin) / calls as u64
}

/// CPU time of this thread in nanoseconds.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
