//! `sealedge status`.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::Common;
use super::client::Client;
use super::error::Error;
use super::output::{Output, fields, printable};
use super::protocol::{Route, Status, Version};

/// Show how a server is doing
///
/// With --json: the fields of the KES protocol, and `server`, `commit`, `latency` and with --api `api`. Times are
/// in nanoseconds (`latency`, from here to the server and back, and `keystore_latency`), but for `uptime`, and
/// `timeout` in `api`, which are in seconds. Sizes are in bytes.
#[derive(Args)]
pub struct Arguments {
    /// Leave out CPUs and memory
    #[arg(short, long)]
    short: bool,
    /// Show the routes of the server too
    #[arg(short, long)]
    api: bool,
}

/// What `--json` prints: the fields of the protocol, and what the client knows.
#[derive(Serialize)]
struct Report {
    server: String,
    commit: String,
    /// From the client to the server and back, in nanoseconds as the key store's.
    latency: u64,
    #[serde(flatten)]
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<Vec<Route>>,
}

pub fn run(arguments: &Arguments, common: Common) -> Result<(), Error> {
    let client = Client::from_environment(common)?;
    // The first call connects; the second is one round trip that asks no key store.
    let (status, _) = client.get("/v1/status", "")?;
    let start = Instant::now();
    let (Version { commit, .. }, server) = client.get("/version", "")?;
    let latency = start.elapsed();
    let api = if arguments.api {
        Some(client.get("/v1/api", "")?.0)
    } else {
        None
    };

    let report = Report {
        server: server.to_string(),
        commit,
        latency: u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX),
        status,
        api,
    };
    Output::new(common).show(&report, |report| text(report, arguments.short))
}

fn text(report: &Report, short: bool) -> String {
    let Report {
        server,
        commit,
        latency,
        status,
        api,
    } = report;
    let mut rows = vec![
        ("server", server.clone()),
        ("version", version(&status.version, commit)),
        ("up", up(status.uptime)),
        ("latency", milliseconds(*latency)),
        ("key store", key_store(status)),
    ];
    if !short {
        rows.push(("system", format!("{}/{}", status.os, status.arch)));
        rows.push((
            "CPUs",
            format!("{} of {}", status.num_cpu_used, status.num_cpu),
        ));
        rows.push(("heap", mebibytes(status.mem_heap_used)));
        rows.push(("stack", mebibytes(status.mem_stack_used)));
    }
    let mut text = fields(&rows);
    if let Some(routes) = api {
        text.push('\n');
        text.push_str(&table(routes));
    }
    text
}

fn version(version: &str, commit: &str) -> String {
    if commit.is_empty() || commit == version {
        version.to_owned()
    } else {
        format!("{version} (commit {commit})")
    }
}

fn key_store(status: &Status) -> String {
    match status.keystore_latency {
        _ if status.keystore_unreachable => "not reachable".to_owned(),
        _ if status.keystore_unavailable => "not available".to_owned(),
        Some(latency) => milliseconds(latency),
        None => "ok".to_owned(),
    }
}

/// Days, hours and minutes; seconds only where there is nothing longer.
fn up(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
    ];
    let parts: Vec<_> = parts
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if parts.is_empty() {
        format!("{seconds}s")
    } else {
        parts.join(" ")
    }
}

/// Of nanoseconds.
fn milliseconds(nanoseconds: u64) -> String {
    let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
    format!("{:.1} ms", seconds * 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The routes, with the limits of each.
fn table(routes: &[Route]) -> String {
    let width = routes
        .iter()
        .map(|it| it.path.len())
        .max()
        .unwrap_or_default();
    routes.iter().map(|route| row(route, width)).collect()
}

fn row(route: &Route, width: usize) -> String {
    let (method, path) = (printable(&route.method), printable(&route.path));
    let timeout = match route.timeout {
        0 => "no time limit".to_owned(),
        seconds => format!("{seconds} s"),
    };
    let body = match route.max_body {
        0 => String::new(),
        bytes => format!(", {}", mebibytes(bytes)),
    };
    format!("{method:<7} {path:<width$}  {timeout}{body}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(json: &str) -> Report {
        Report {
            server: "https://127.0.0.1:7373".to_owned(),
            commit: String::new(),
            latency: 1_230_000,
            status: serde_json::from_str(json).unwrap(),
            api: None,
        }
    }

    const STATUS: &str = r#"{"version": "1", "os": "linux", "arch": "amd64", "uptime": 93784, "num_cpu": 4,
        "num_cpu_used": 2, "mem_heap_used": 3837152, "mem_stack_used": 688128, "keystore_latency": 1260000}"#;

    #[test]
    fn for_people() {
        let text = anstream::adapter::strip_str(&text(&report(STATUS), false)).to_string();
        assert_eq!(
            text,
            "server     https://127.0.0.1:7373\n\
             version    1\n\
             up         1d 2h 3m\n\
             latency    1.2 ms\n\
             key store  1.3 ms\n\
             system     linux/amd64\n\
             CPUs       2 of 4\n\
             heap       3.7 MiB\n\
             stack      0.7 MiB\n"
        );
    }

    #[test]
    fn for_machines() {
        let value = serde_json::to_value(report(STATUS)).unwrap();
        assert_eq!(value["server"], "https://127.0.0.1:7373");
        assert_eq!(value["uptime"], 93784);
        assert_eq!(value["latency"], 1_230_000);
        assert_eq!(value["keystore_latency"], 1_260_000);
        assert_eq!(value.get("keystore_unreachable"), None);
        assert_eq!(value.get("api"), None);
    }

    #[test]
    fn uptimes() {
        assert_eq!(up(0), "0s");
        assert_eq!(up(59), "59s");
        assert_eq!(up(60), "1m");
        assert_eq!(up(86_400), "1d 0h 0m");
    }

    #[test]
    fn a_key_store_out_of_reach() {
        let status = STATUS.replace(
            r#""keystore_latency": 1260000"#,
            r#""keystore_unreachable": true"#,
        );
        assert_eq!(key_store(&report(&status).status), "not reachable");
    }

    #[test]
    fn routes() {
        let route = |path: &str, max_body, timeout| Route {
            method: "PUT".to_owned(),
            path: path.to_owned(),
            max_body,
            timeout,
        };
        assert_eq!(
            table(&[
                route("/v1/key/import/", 1 << 20, 15),
                route("/v1/log", 0, 0)
            ]),
            "PUT     /v1/key/import/  15 s, 1.0 MiB\nPUT     /v1/log          no time limit\n"
        );
    }
}
