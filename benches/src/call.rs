//! CPU time of one `start` of a cached `generate`, without the server around it: as a component and
//! natively. Steadier than whole requests when the machine is busy: for work on the service itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark stops at what it did not expect"
)]

use std::sync::Arc;

use sealedge::guest::types::{Body, Finished, Operation, Outcome, Request};
use sealedge::guest::{GUEST, Instance, Machine, load, native};
use sealedge_core::key::Key;
use sealedge_tests::client::{Credentials, recorded};

/// Calls in a round.
const CALLS: u64 = 100_000;

fn main() {
    let machine = Arc::new(Machine::new().unwrap());
    let mut services = [
        ("sealedge", load(GUEST, machine.clone()).unwrap()),
        ("native", native::factory(machine)),
    ]
    .map(|(name, make)| (name, make().unwrap()));
    let requests = services
        .each_mut()
        .map(|(_, instance)| prepare(&mut **instance));
    for _ in 0..5 {
        for ((name, instance), request) in services.iter_mut().zip(&requests) {
            let begin = cpu();
            for call in 0..CALLS {
                assert!(matches!(
                    instance.start(call, request).unwrap(),
                    Some(Finished::Response(response)) if response.status == 200
                ));
                assert!(instance.begun().is_empty());
            }
            print!("{name} {} ns  ", (cpu() - begin) / CALLS);
        }
        println!();
    }
}

/// Configures an instance and fills its cache; the request to be served.
fn prepare(instance: &mut dyn Instance) -> Request {
    let client = recorded("app");
    let config = format!(
        "version: v1
address: 127.0.0.1:0
tls: {{key: a, cert: b}}
admin: {{identity: disabled}}
policy:
  bench:
    allow: [/v1/key/generate/bench*, /v1/key/decrypt/bench*, /v1/status]
    deny: [/v1/key/generate/bench-internal*]
    identities: [{}]
keystore: {{mem: {{}}}}
",
        client.identity()
    );
    instance.configure(&config).unwrap().unwrap();
    let chain = Credentials::of(&client).chain;
    let chain: Vec<Vec<u8>> = chain.iter().map(|it| it.to_vec()).collect();
    let request = Request {
        method: "POST".into(),
        path: "/v1/key/generate/bench-key".into(),
        ip: "127.0.0.1".into(),
        principal: instance.authenticate(&chain, true).unwrap(),
        forwarded: Vec::new(),
        body: Body::Whole(Vec::new()),
    };
    assert!(instance.start(0, &request).unwrap().is_none());
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
    request
}

/// CPU time of this thread in nanoseconds.
fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
