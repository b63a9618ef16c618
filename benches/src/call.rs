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

use sealedge::guest::types::{Body, Finished, Operation, Outcome, Request};
use sealedge::guest::{GUEST, Instance, Machine, load, native, wall_clock};
use sealedge::pool::Factory;
use sealedge_benches::Scene;
use sealedge_core::key::Key;
use sealedge_tests::client::{Credentials, recorded};

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
                rounds.push(service.round());
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

/// An instance whose cache is full, and the requests that it is to serve.
struct Prepared {
    instance: Box<dyn Instance>,
    requests: Vec<Request>,
}

impl Prepared {
    fn new(make: &Factory, scene: &Scene) -> Self {
        let mut instance = make().unwrap();
        let client = recorded("app");
        let configured = instance.configure(&document(scene, &client.identity().to_string()));
        configured.unwrap().unwrap();
        let chain = Credentials::of(&client).chain;
        let chain: Vec<Vec<u8>> = chain.iter().map(|it| it.to_vec()).collect();
        let client = instance.authenticate(&chain, "127.0.0.1", true).unwrap();
        let request = |key| Request {
            line: format!("POST /v1/key/generate/bench-{key}"),
            arrived: wall_clock(),
            client: client.clone(),
            forwarded: None,
            audited: false,
            body: Body::None,
        };
        let requests: Vec<Request> = (0..scene.keys).map(request).collect();
        for request in &requests {
            fill_cache(&mut *instance, request);
        }
        Self { instance, requests }
    }

    /// CPU time of a call in nanoseconds. The keys are asked for in no order that helps.
    fn round(&mut self) -> u64 {
        const STRIDE: usize = 7919;
        let begin = cpu();
        for call in 0..CALLS {
            let request = &self.requests[call * STRIDE % self.requests.len()];
            assert!(matches!(
                self.instance.start(call as u64, request).unwrap(),
                Some(Finished::Response(response)) if response.status == 200
            ));
            assert!(self.instance.begun().is_empty());
        }
        (cpu() - begin) / CALLS as u64
    }
}

fn document(scene: &Scene, client: &str) -> String {
    let policies = scene.policy_section(client);
    format!(
        "version: v1
address: 127.0.0.1:0
tls: {{key: a, cert: b}}
admin: {{identity: disabled}}
keystore: {{mem: {{}}}}
{policies}"
    )
}

/// Lets the instance read the key that a request wants.
fn fill_cache(instance: &mut dyn Instance, request: &Request) {
    assert!(instance.start(0, request).unwrap().is_none());
    let begun = instance.begun();
    let io = begun
        .iter()
        .find(|(_, what)| matches!(what, Operation::StoreGet(_)))
        .unwrap()
        .0;
    let mut random = |buffer: &mut [u8]| buffer.fill(7);
    let key = Key::create(&mut random, jiff::Timestamp::now(), None);
    let value = Outcome::Value(key.to_stored().as_bytes().to_vec());
    instance.resume(io, &value).unwrap().unwrap();
}

/// CPU time of this thread in nanoseconds.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
