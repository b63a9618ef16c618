//! A load by bombardier, as it is: it sends the next request when the last is answered.
//!
//! On a core of its own it costs about as much as the native server. With a slower one it sleeps between
//! answers, and that server pays for waking it, some microseconds a request; with a faster one the server
//! sleeps. Either way ratios are not quite those of the servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::client::Client;
use crate::report::Round;
use crate::server::{Server, find};
use crate::work::Load;

/// Bombardier's module and version, for Go.
const MODULE: &str = "github.com/codesenberg/bombardier@v1.2.6";

/// How it talks.
#[derive(Clone, Copy)]
pub enum Mode {
    /// HTTP/1.1 on kept-alive connections.
    Http1,
    /// HTTP/2, all streams on one connection.
    Http2,
    /// HTTP/1.1, each request on a connection of its own.
    Connect,
}

impl Mode {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Http1 => &["--fasthttp"],
            Self::Http2 => &["--http2"],
            Self::Connect => &["--fasthttp", "--header=Connection: close"],
        }
    }
}

/// The program.
pub struct Bombardier {
    program: PathBuf,
}

/// What bombardier says in JSON, as far as it concerns us.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answers {
    time_taken_seconds: f64,
    req2xx: u32,
    req1xx: u32,
    req3xx: u32,
    req4xx: u32,
    req5xx: u32,
    others: u32,
}

impl Bombardier {
    /// The one on the PATH, or else one that Go installs beside this program.
    pub fn new() -> Self {
        let program = find("bombardier").unwrap_or_else(|| {
            let this = std::env::current_exe().unwrap();
            installed(&this.with_file_name("generator"))
        });
        Self { program }
    }

    /// Drives and measures a server.
    pub async fn drive(&self, server: &Server, client: &Client, mode: Mode, load: Load) -> Round {
        let body = client.folder().join("body");
        fs::write(&body, load.body).unwrap();
        let mut command = Command::new(&self.program);
        command
            .args(mode.options())
            .args(["--method=POST", "--insecure", "--timeout=10s"])
            .args(["--format=json", "--print=result"])
            .arg(format!("--duration={}s", load.time.as_secs()))
            .arg(format!("--connections={}", load.connections))
            .arg("--cert")
            .arg(client.certificate_file())
            .arg("--key")
            .arg(client.key_file())
            .arg("--body-file")
            .arg(body)
            .arg(format!("https://{}{}", server.address, load.path));
        let cpu = server.cpu();
        let generator = command.stdout(Stdio::piped()).spawn().unwrap();
        tokio::time::sleep(load.time / 2).await;
        let resident = server.resident();
        let output = generator.wait_with_output().unwrap();
        let cpu = server.cpu() - cpu;
        let answers = Answers::read(&output.stdout);
        Round::new(answers.req2xx, answers.time_taken_seconds, cpu, resident)
    }
}

impl Answers {
    /// Reads what bombardier has printed: all answers must be successes.
    fn read(output: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Output {
            result: Answers,
        }
        let text = String::from_utf8_lossy(output);
        let read = serde_json::from_str::<Output>(&text);
        let answers = read
            .unwrap_or_else(|error| panic!("{error}: {text}"))
            .result;
        let Self {
            req1xx,
            req3xx,
            req4xx,
            req5xx,
            others,
            ..
        } = answers;
        let failures = req1xx + req3xx + req4xx + req5xx + others;
        assert!(failures == 0 && answers.req2xx > 0, "failures: {text}");
        answers
    }
}

/// Bombardier in a folder, where Go puts it if it is not there yet.
fn installed(folder: &Path) -> PathBuf {
    let program = folder.join("bombardier");
    if !program.is_file() {
        let status = Command::new("go")
            .args(["install", MODULE])
            .env("GOBIN", folder)
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the load generator is missing: put `bombardier` on the PATH, or install Go for this to do \
             `go install {MODULE}`"
        );
    }
    program
}
