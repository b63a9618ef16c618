//! What a signed request costs the server, beside one by mTLS and one bare verification of its signature.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

use std::path::Path;
use std::time::{Duration, Instant};

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
        "| us of CPU | by mTLS | signed | bare verification | signed / (mTLS + verification) |"
    );
    println!("|---|---|---|---|---|");
    let program = Path::new(env!("CARGO_BIN_EXE_sealedge-as-component"));
    let server = Server::start(program, "", &for_admin("mem: {}"));
    runtime.block_on(async {
        let mut admin = Client::admin(&server.address).await;
        let create = admin.call("PUT", "/v1/key/create/bench", Value::Null);
        assert_eq!(create.await.status, 200);
        // The first round warms everything up.
        for round in 0..=ROUNDS {
            let mtls = cost(&server, false).await;
            let signed = cost(&server, true).await;
            let bare = verification();
            let ratio = signed / (mtls + bare);
            if round > 0 {
                println!("| round {round} | {mtls:.1} | {signed:.1} | {bare:.1} | {ratio:.2} |");
                ratios.push(ratio);
            }
        }
    });
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    let verdict = if median <= AIM { "met" } else { "missed" };
    println!("\nmedian {median:.2}; the aim, at most {AIM}, is {verdict}");
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

/// One verification of a message of the same size, by what the server verifies with, in microseconds.
fn verification() -> f64 {
    let signer = ApiKey::from_seed(&[7; 32]);
    let message = [b'a'; 400];
    let signature = signer.sign(&message);
    // The key is the end of its SubjectPublicKeyInfo (RFC 8410).
    let key = signer.public_key().last_chunk().copied().unwrap();
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        assert!(RingCrypto.ed25519_verifies(&key, &message, &signature));
    }
    begun.elapsed().as_secs_f64() * 1e6 / REQUESTS as f64
}
