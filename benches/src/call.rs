//! CPU time of one `start` of a cached `generate`, without the server around it: as a component and
//! natively; with one key and one policy, and with very many. Steadier than whole requests when the
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

fn main() {
    let machine = Arc::new(Machine::new().unwrap());
    let services: [(&str, Factory); 2] = [
        ("sealedge", load(GUEST, machine.clone()).unwrap()),
        ("native", native::factory(machine)),
    ];
    println!("| | {} |", Scene::ALL.map(|scene| scene.name).join(" | "));
    println!("|---|---|---|---|");
    for (name, make) in services {
        let mut services = Scene::ALL.map(|scene| Prepared::new(&make, &scene));
        let mut rounds = Scene::ALL.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            // In turns, since the machine may change meanwhile.
            for (service, rounds) in services.iter_mut().zip(&mut rounds) {
                rounds.push(round(service));
            }
        }
        let medians = rounds.map(median);
        let cells = medians.map(|nanos| format!("{nanos} ns ({:.2})", ratio(nanos, medians[0])));
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
fn round(service: &mut Prepared) -> u64 {
    let begin = cpu();
    service.calls(CALLS);
    (cpu() - begin) / CALLS as u64
}

/// CPU time of this thread in nanoseconds.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
