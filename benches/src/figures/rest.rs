//! A server that starts, and one that has nothing to do.

use std::time::Duration;

use sealedge_benches::Scene;

use crate::client::{Client, generate};
use crate::report::Start;
use crate::server::{Files, Program, Server};

/// How often a server is started.
const STARTS: usize = 9;

/// After so long without a request a connection is idle, and its memory given back.
const QUIET: Duration = Duration::from_secs(7);

/// Idle connections: as many as the server allows, but a few for the rest.
const IDLE: usize = 9_900;

/// Measures how the programs start, in turns, and what idle connections cost each.
pub async fn measure(programs: &[Program], client: &Client, pinned: bool) -> Vec<Start> {
    let files: Vec<Files> = programs.iter().map(|_| Files::new(Scene::SMALL)).collect();
    let mut times = vec![Vec::new(); programs.len()];
    for count in 0..=STARTS {
        for ((program, files), times) in programs.iter().zip(&files).zip(&mut times) {
            let server = Server::start(program, files, client, pinned).await;
            // At first it creates its key, and its program is read from the disk.
            if count > 0 {
                times.push(server.start.as_secs_f64() * 1000.0);
            }
        }
    }
    let mut starts = Vec::new();
    for ((program, files), milliseconds) in programs.iter().zip(&files).zip(times) {
        let server = Server::start(program, files, client, pinned).await;
        starts.push(Start {
            server: program.name,
            milliseconds,
            idle_connections: IDLE,
            kibibytes_of_each: idle(&server, client).await,
        });
    }
    starts
}

async fn idle(server: &Server, client: &Client) -> f64 {
    let before = server.resident();
    let mut connections = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        // Without a request it would be cut off, and some buffers never be used.
        let mut connection = client.connect(&server.address).await.unwrap();
        generate(&mut connection, "bench-0").await;
        connections.push(connection);
    }
    tokio::time::sleep(QUIET).await;
    (server.resident() - before) / IDLE as f64
}
