//! A server that starts, and one that has nothing to do.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use crate::load::{self, Work};
use crate::report::Start;
use crate::server::{self, Server};

/// How often a server is started.
const STARTS: usize = 9;

/// After so long without a request a connection is idle, and its memory given back.
const QUIET: Duration = Duration::from_secs(7);

/// Idle connections: as many as the server allows, but a few for the rest.
const IDLE: usize = 9_900;

/// Measures how a program starts, and what idle connections cost.
pub fn measure(name: &'static str, program: &Path, pinned: bool) -> Start {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        // Whoever else takes the port meanwhile makes the server fail, and this with it.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut command = server::command(program, pinned, folder.path(), address.port());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let mut child = command.spawn().unwrap();
        while TcpStream::connect(address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "it does not start");
            std::thread::sleep(Duration::from_micros(200));
        }
        local.block_on(&runtime, first_dek(&address.to_string()));
        let time = begin.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        time.as_secs_f64() * 1000.0
    };
    // The first time it creates its key, and reads the program from the disk.
    start();
    let milliseconds = (0..STARTS).map(|_| start()).collect();
    let server = Server::start(name, program, pinned);
    let kibibytes_of_each = local.block_on(&runtime, idle(&server));
    Start {
        server: name.to_owned(),
        milliseconds,
        idle_connections: IDLE,
        kibibytes_of_each,
    }
}

async fn first_dek(address: &str) {
    let mut stream = load::connect(address, b"http/1.1").await;
    let request = Work::Generate.request("");
    load::ask(&mut stream, &request, &mut Vec::new()).await;
}

async fn idle(server: &Server) -> f64 {
    first_dek(server.address()).await;
    let before = server.resident();
    let request = Work::Generate.request("");
    let mut answer = Vec::new();
    let mut connections = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        // Without a request it would be cut off, and some buffers never be used.
        let mut stream = load::connect(server.address(), b"http/1.1").await;
        load::ask(&mut stream, &request, &mut answer).await;
        connections.push(stream);
    }
    tokio::time::sleep(QUIET).await;
    (server.resident() - before) * 1024.0 / IDLE as f64
}
