//! How long a client waits when the service has much to find its way in, against when it has little.
//!
//! The client is our own, for it asks for a key at random each time, which no generator does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sealedge_benches::Scene;
use tokio::task::JoinSet;

use crate::awake::stay_awake;
use crate::client::{self, Client};
use crate::report::{Latency, Scenery};
use crate::server::{Files, Program, Server};

/// How it is measured.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Kept-alive connections, each with one request at a time.
    pub connections: usize,
    /// How long a server is measured in each round.
    pub time: Duration,
    /// How often each is measured, in turns.
    pub rounds: usize,
    /// Whether the servers are to be on a core of their own.
    pub pinned: bool,
}

/// Measures a program in all scenes, in turns.
pub async fn measure(program: &Program, client: &Client, plan: Plan) -> Vec<Scenery> {
    let mut servers = Vec::new();
    for scene in Scene::ALL {
        let files = Files::new(scene);
        let server = Server::start(program, &files, client, plan.pinned).await;
        fill_cache(&server, client, scene.keys).await;
        servers.push((scene, server, files));
    }
    let mut found: Vec<Scenery> = Scene::ALL.map(|scene| Scenery::new(scene.name)).into();
    for round in 1..=plan.rounds {
        for ((scene, server, _), found) in servers.iter().zip(&mut found) {
            let latency = drive(server, client, scene.keys, plan).await;
            eprintln!("{} round {round}: {latency:?}", scene.name);
            found.rounds.push(latency);
        }
    }
    found
}

/// Has every key read once.
async fn fill_cache(server: &Server, client: &Client, keys: usize) {
    let mut connection = client.connect(&server.address).await.unwrap();
    for key in 0..keys {
        client::generate(&mut connection, &format!("bench-{key}")).await;
    }
}

/// One round of a server.
async fn drive(server: &Server, client: &Client, keys: usize, plan: Plan) -> Latency {
    let times = Rc::new(RefCell::new(Vec::new()));
    let mut tasks = JoinSet::new();
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(client.connect(&server.address).await.unwrap());
    }
    let awake = stay_awake();
    let (cpu, begin) = (server.cpu(), Instant::now());
    for mut connection in connections {
        let times = times.clone();
        tasks.spawn_local(async move {
            while begin.elapsed() < plan.time {
                let path = format!("/v1/key/generate/bench-{}", fastrand::usize(..keys));
                let asked = Instant::now();
                let answer = connection.send("POST", &path, &[], "").await.unwrap();
                times.borrow_mut().push(asked.elapsed());
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
    }
    tasks.join_all().await;
    let busy = (server.cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
    awake.abort();
    let mut times = times.take();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    Latency {
        median_microseconds: at(50),
        p99_microseconds: at(99),
        busy,
    }
}
