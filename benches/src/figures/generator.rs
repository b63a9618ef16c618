//! The load: bombardier, as it is (but for HTTP/2 on many connections, which it can't do). It sends the
//! next request when the last is answered.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::client::{self, Client};
use crate::http2;
use crate::report::Round;
use crate::server::{KEY, Server, find};

/// Bombardier's module and version, for Go.
const MODULE: &str = "github.com/codesenberg/bombardier@v1.2.6";

/// What a server is asked to do again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// A new DEK of a cached key.
    Generate,
    /// The same by HTTP/2, with one stream at a time on each connection.
    GenerateHttp2,
    /// The same by HTTP/2, with as many streams on one connection.
    GenerateStreams,
    /// A DEK from its ciphertext.
    Decrypt,
    /// The ciphertext of 700,000 bytes.
    Encrypt,
    /// A new connection with a client certificate (TLS 1.3, no resumption), and one DEK by it.
    Connect,
}

impl Work {
    /// Every work.
    pub const ALL: [Self; 6] = [
        Self::Generate,
        Self::GenerateHttp2,
        Self::GenerateStreams,
        Self::Decrypt,
        Self::Encrypt,
        Self::Connect,
    ];

    /// How many connections do it: bodies under way may have 64 MiB together.
    fn connections(self, wanted: usize) -> usize {
        if self == Self::Encrypt {
            wanted.min(16)
        } else {
            wanted
        }
    }

    fn api(self) -> &'static str {
        match self {
            Self::Generate | Self::GenerateHttp2 | Self::GenerateStreams | Self::Connect => {
                "generate"
            }
            Self::Decrypt => "decrypt",
            Self::Encrypt => "encrypt",
        }
    }

    /// Bombardier's options for it.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::GenerateStreams => &["--http2"],
            Self::Connect => &["--fasthttp", "--header=Connection: close"],
            _ => &["--fasthttp"],
        }
    }

    /// The body of the request.
    async fn body(self, server: &Server, client: &Client) -> String {
        match self {
            Self::Generate | Self::GenerateHttp2 | Self::GenerateStreams | Self::Connect => {
                String::new()
            }
            Self::Decrypt => {
                let mut connection = client.connect(&server.address).await.unwrap();
                let dek = client::generate(&mut connection, KEY).await;
                format!(r#"{{"ciphertext":{}}}"#, dek["ciphertext"])
            }
            Self::Encrypt => format!(r#"{{"plaintext":"{}"}}"#, "AAAA".repeat(700_000 / 3)),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generate => "generate",
            Self::GenerateHttp2 => "generate, HTTP/2",
            Self::GenerateStreams => "generate, HTTP/2, one connection",
            Self::Decrypt => "decrypt",
            Self::Encrypt => "encrypt 700 kB",
            Self::Connect => "new connections",
        })
    }
}

/// Bombardier.
pub struct Generator {
    program: PathBuf,
    /// How many requests are under way at any time.
    connections: usize,
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

impl Generator {
    /// The one on the PATH, or else one that Go installs beside this program.
    pub fn new(connections: usize) -> Self {
        let program = find("bombardier").unwrap_or_else(|| {
            let this = std::env::current_exe().unwrap();
            installed(&this.with_file_name("generator"))
        });
        Self {
            program,
            connections,
        }
    }

    /// Drives and measures a server.
    pub async fn run(&self, work: Work, server: &Server, client: &Client, time: Duration) -> Round {
        let connections = work.connections(self.connections);
        if work == Work::GenerateHttp2 {
            return http2::run(server, client, connections, time).await;
        }
        let body = client.folder().join("body");
        fs::write(&body, work.body(server, client).await).unwrap();
        let mut command = Command::new(&self.program);
        command
            .args(work.options())
            .args(["--method=POST", "--insecure", "--timeout=10s"])
            .args(["--format=json", "--print=result"])
            .arg(format!("--duration={}s", time.as_secs()))
            .arg(format!("--connections={}", connections))
            .arg("--cert")
            .arg(client.certificate_file())
            .arg("--key")
            .arg(client.key_file())
            .arg("--body-file")
            .arg(body)
            .arg(format!(
                "https://{}/v1/key/{}/{KEY}",
                server.address,
                work.api()
            ));
        let cpu = server.cpu();
        let generator = command.stdout(Stdio::piped()).spawn().unwrap();
        tokio::time::sleep(time / 2).await;
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
