//! What a signed request costs the server, beside one by mTLS and one bare verification of its signature.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use ring::signature::{ED25519, UnparsedPublicKey};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use sealedge::guest::crypto::RingCrypto;
use sealedge_core::api_key::ApiKey;
use sealedge_core::auth::signature::Signer;
use sealedge_core::crypto::Crypto;
use sealedge_tests::client::{Client, for_admin, recorded, signed};
use sealedge_tests::server::Server;
use serde_json::Value;

/// Requests of each kind in a round, on each connection.
const REQUESTS: usize = 4000;

/// Connections, one after the other's request.
const CONNECTIONS: usize = 4;

/// Rounds, in which all kinds take turns.
const ROUNDS: usize = 7;

/// What a request costs at the most, as a multiple of one by mTLS and a bare verification.
const AIM: f64 = 1.3;

const PATH: &str = "/v1/key/generate/bench";

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut ratios = Vec::new();
    println!(
        "| us of CPU | mTLS | signed | ring | our own | signed / (mTLS + ring) | (mTLS + our own) |"
    );
    println!("|---|---|---|---|---|---|---|");
    let program = Path::new(env!("CARGO_BIN_EXE_sealedge-as-component"));
    let server = Server::start(program, "", &for_admin("mem: {}"));
    // Each its own processor: else clients that wake up interrupt the server, which counts as its time.
    pin(Some(server.id()), 0);
    pin(None, 1);
    runtime.block_on(async {
        let mut admin = Client::admin(&server.address).await;
        let create = admin.call("PUT", "/v1/key/create/bench", Value::Null);
        assert_eq!(create.await.status, 200);
        // The first round warms everything up.
        for round in 0..=ROUNDS {
            let mtls = cost(&server, false).await;
            let signed = cost(&server, true).await;
            let (by_ring, ours) = verifications();
            let to = |bare: f64| signed / (mtls + bare);
            if round > 0 {
                println!(
                    "| round {round} | {mtls:.1} | {signed:.1} | {by_ring:.1} | {ours:.1} | {:.2} | {:.2} |",
                    to(by_ring),
                    to(ours)
                );
                ratios.push([to(by_ring), to(ours)]);
            }
        }
    });
    for (at, whose) in ["ring's", "our own"].into_iter().enumerate() {
        let mut ratios: Vec<f64> = ratios.iter().map(|ratios| ratios[at]).collect();
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        let verdict = if median <= AIM { "met" } else { "missed" };
        println!(
            "by {whose} verification: median {median:.2}; the aim, at most {AIM}, is {verdict}"
        );
    }
}

/// Lets a process, this one or another, run on one processor only.
fn pin(process: Option<u32>, processor: usize) {
    let mut processors = CpuSet::new();
    processors.set(processor);
    let threads = match process {
        Some(id) => format!("/proc/{id}/task"),
        None => "/proc/self/task".to_owned(),
    };
    for thread in std::fs::read_dir(threads).unwrap() {
        let name = thread.unwrap().file_name().into_string().unwrap();
        let thread = Pid::from_raw(name.parse().unwrap());
        sched_setaffinity(thread, &processors).unwrap();
    }
}

/// The server's CPU time of a request, in microseconds.
async fn cost(server: &Server, is_signed: bool) -> f64 {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = if is_signed {
            Client::connect(&server.address, None).await.unwrap()
        } else {
            Client::admin(&server.address).await
        };
        // Before it is measured: the client's work is not the server's.
        let signer = Signer::new(recorded("admin"));
        let headers = (0..REQUESTS).map(|_| match is_signed {
            true => signed(&signer, "PUT", PATH, b""),
            false => Vec::new(),
        });
        clients.push((client, headers.collect::<Vec<_>>()));
    }
    let before = cpu(server);
    let tasks = clients.into_iter().map(|(mut client, requests)| {
        tokio::spawn(async move {
            for headers in requests {
                let headers: Vec<_> = headers
                    .iter()
                    .map(|(name, value)| (*name, &**value))
                    .collect();
                let answer = client.send("PUT", PATH, &headers, "").await.unwrap();
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let spent = cpu(server) - before;
    spent.as_secs_f64() * 1e6 / (REQUESTS * CONNECTIONS) as f64
}

/// The CPU time that the server has spent.
fn cpu(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    let ticks = fields
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap());
    // A tick is a hundredth of a second on every Linux.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// One verification of a message of the same size, by ring and by what the server verifies with, in microseconds.
fn verifications() -> (f64, f64) {
    let signer = ApiKey::from_seed(&[7; 32]);
    let message = [b'a'; 400];
    let signature = signer.sign(&message);
    // The key is the end of its SubjectPublicKeyInfo (RFC 8410).
    let key = signer.public_key().last_chunk().copied().unwrap();
    let by_ring = UnparsedPublicKey::new(&ED25519, key);
    (
        each(|| by_ring.verify(&message, &signature).is_ok()),
        each(|| RingCrypto.ed25519_verifies(&key, &message, &signature)),
    )
}

fn each(verify: impl Fn() -> bool) -> f64 {
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        assert!(verify());
    }
    begun.elapsed().as_secs_f64() * 1e6 / REQUESTS as f64
}
