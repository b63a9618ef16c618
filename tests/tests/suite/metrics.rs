//! The figures of `/v1/metrics` beyond KES's, and the examples that show them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealedge_tests::client::{Client, Credentials, for_admin};
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::cache;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(path)
}

async fn text(client: &mut Client) -> String {
    let answer = client.call("GET", "/v1/metrics", Value::Null).await;
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body).unwrap()
}

/// Every metric that the server has, and its type.
async fn families(client: &mut Client) -> BTreeMap<String, String> {
    let text = text(client).await;
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// The metric of which a name in an expression is a part: `x_bucket` is one of a histogram `x`.
fn family<'a>(name: &'a str, families: &BTreeMap<String, String>) -> &'a str {
    let of = |end: &str| {
        name.strip_suffix(end)
            .filter(|base| match families.get(*base).map(String::as_str) {
                Some("histogram") => true,
                Some("summary") => end != "_bucket",
                _ => false,
            })
    };
    let part = ["_bucket", "_sum", "_count"].into_iter().find_map(of);
    part.unwrap_or(name)
}

/// The expressions of all panels.
fn expressions(dashboard: &Value) -> Vec<&str> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_what_there_is_and_nothing_else() {
    let server = Server::start(Path::new(super::SEALEDGE), "", &for_admin("mem: {}"));
    let mut client = Client::admin(&server.address).await;
    let families = families(&mut client).await;
    let dashboard = fs::read(example("grafana/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    let mut shown = BTreeSet::new();
    for expression in expressions(&dashboard) {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<&str> = words.filter(|word| word.starts_with("kes_")).collect();
        assert!(!names.is_empty(), "{expression} shows nothing");
        shown.extend(names.into_iter().map(|name| family(name, &families)));
    }
    let there: BTreeSet<&str> = families.keys().map(String::as_str).collect();
    assert_eq!(shown, there);
}

#[test]
fn the_panels_of_the_dashboard_do_not_cover_each_other() {
    let dashboard = fs::read(example("grafana/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|at| panel["gridPos"][at].as_u64().unwrap());
        assert!(x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} is covered", panel["title"]);
        }
    }
}

/// What a line of the example for Prometheus says.
fn setting<'a>(example: &'a str, name: &str) -> &'a str {
    let found = example
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    found.unwrap().split('#').next().unwrap().trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_needs_what_its_example_says_and_may_do_nothing_else() {
    let example = fs::read_to_string(example("prometheus/prometheus.yml")).unwrap();
    let [key, certificate, path] =
        ["key_file", "cert_file", "metrics_path"].map(|name| setting(&example, name));
    assert_eq!(setting(&example, "scheme"), "https");
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(super::SEALEDGE)
        .args(["identity", "new", "--key", key, "--cert", certificate])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let who = Credentials {
        chain: vec![CertificateDer::from_pem_file(folder.path().join(certificate)).unwrap()],
        key: PrivatePkcs8KeyDer::from_pem_file(folder.path().join(key))
            .unwrap()
            .secret_pkcs8_der()
            .to_vec(),
    };
    let policy = format!(
        "policy: {{metrics: {{allow: [{path}], identities: [{}]}}}}\n",
        who.identity()
    );
    let config = for_admin("mem: {}") + &policy;
    let server = Server::start(Path::new(super::SEALEDGE), "", &config);
    let mut client = Client::connect(&server.address, Some(&who)).await.unwrap();
    for (path, status) in [(path, 200), ("/v1/status", 403), ("/v1/key/list/", 403)] {
        let answer = client.call("GET", path, Value::Null).await;
        assert_eq!(answer.status, status, "{path}");
    }

    let config = for_admin("mem: {}") + "api: {/v1/metrics: {skip_auth: on}}\n";
    server.reload("", &config);
    let mut nobody = Client::connect(&server.address, None).await.unwrap();
    assert_eq!(nobody.call("GET", path, Value::Null).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_requests_do_is_counted_once_and_where_it_belongs() {
    // One instance, so that it is known which reads are from memory.
    let server = cache::with_one_instance(&cache::config("{any: 1h, unused: 1h, offline: 1h}"));
    let mut client = Client::admin(&server.address).await;
    for (method, path, status) in [
        ("PUT", "/v1/key/create/k", 200),
        ("PUT", "/v1/key/create/k", 400),
        ("PUT", "/v1/key/generate/k", 200),
        ("PUT", "/v1/key/generate/k", 200),
        ("PUT", "/v1/key/generate/k", 200),
        ("PUT", "/v1/key/generate/none", 404),
        ("PUT", "/v1/key/create/gone", 200),
        ("DELETE", "/v1/key/delete/gone", 200),
        ("DELETE", "/v1/key/delete/gone", 404),
        ("GET", "/v1/key/list/", 200),
        ("GET", "/v1/ready", 200),
        ("GET", "/nowhere", 404),
    ] {
        let answer = client.call(method, path, Value::Null).await;
        assert_eq!(answer.status, status, "{path}");
    }
    for (name, expected) in [
        ("kes_api_key_create_time_count", 3.0),
        ("kes_api_key_create_time_bucket{le=\"+Inf\"}", 3.0),
        ("kes_api_key_generate_time_count", 4.0),
        ("kes_api_key_delete_time_count", 2.0),
        ("kes_api_key_list_time_count", 1.0),
        ("kes_api_ready_time_count", 1.0),
        ("kes_api_key_encrypt_time_count", 0.0),
        ("kes_cache_hits", 2.0),
        ("kes_cache_misses", 2.0),
        ("kes_cache_offline_hits", 0.0),
        ("kes_cache_entries", 1.0),
        ("kes_store_read_time_count", 2.0),
        ("kes_store_create_time_count", 3.0),
        ("kes_store_delete_time_count", 2.0),
        ("kes_store_list_time_count", 1.0),
        ("kes_store_status_time_count", 1.0),
        ("kes_store_error_unreachable", 0.0),
        ("kes_store_error_failed", 0.0),
        ("kes_store_active", 0.0),
    ] {
        assert_eq!(client.figure(name).await, expected, "{name}");
    }
    // All that were answered, of whatever API: 12, and the 19 for the figures.
    let all = client.figure("kes_http_response_time_count").await;
    assert_eq!(all, 31.0);
    let sum = client.figure("kes_api_key_generate_time_sum").await;
    let of_all = client.figure("kes_http_response_time_sum").await;
    assert!(0.0 < sum && sum < of_all, "{sum} of {of_all}");
    assert!(client.figure("kes_store_read_time_sum").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_and_one_that_is_away_are_told_apart() {
    let server = cache::with_one_instance(&cache::config("{any: 1ms, unused: 1ms, offline: 1h}"));
    let mut client = Client::admin(&server.address).await;
    let created = client
        .call("PUT", "/v1/key/create/k", Value::Null)
        .await
        .status;
    let generate = |name: &str| format!("/v1/key/generate/{name}");
    let sound = client.call("PUT", &generate("k"), Value::Null).await.status;
    assert_eq!((created, sound), (200, 200));
    // A directory in a key's place can't be read, while the store is there.
    fs::create_dir(server.keys().join("broken")).unwrap();
    let broken = client.call("PUT", &generate("broken"), Value::Null).await;
    assert_eq!(broken.status, 502);
    assert_eq!(client.figure("kes_store_error_failed").await, 1.0);
    assert_eq!(client.figure("kes_store_error_unreachable").await, 0.0);

    fs::rename(server.keys(), server.folder.path().join("away")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    let offline = client.call("PUT", &generate("k"), Value::Null).await;
    assert_eq!(offline.status, 200);
    assert_eq!(client.figure("kes_cache_offline_hits").await, 1.0);
    assert_eq!(client.figure("kes_store_error_unreachable").await, 1.0);
    assert_eq!(client.figure("kes_store_error_failed").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_is_under_way_and_what_has_died_is_not() {
    let program = Path::new(super::SEALEDGE_WITH_FAULTS);
    let server = Server::with_limits(program, &json!({}), &for_admin("mem: {}"));
    let mut client = Client::admin(&server.address).await;
    let name = "hang-30-x";
    let path = format!("/v1/key/create/{name}");
    let created = client.call("PUT", &path, Value::Null).await;
    assert_eq!(created.status, 200);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = Client::admin(&server.address).await;
        let path = format!("/v1/key/generate/{name}");
        let answer = async move { client.call("PUT", &path, Value::Null).await.status };
        waiting.push(tokio::spawn(answer));
    }
    // One read for all three; and the request for the figures is under way itself.
    for _ in 0..3000 {
        if client.figure("kes_http_request_active").await >= 4.0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(client.figure("kes_http_request_active").await, 4.0);
    assert_eq!(client.figure("kes_store_active").await, 1.0);
    assert_eq!(client.figure("kes_store_read_time_count").await, 0.0);

    // Each dies in whatever instance is next: until those in which the three were parked have.
    while !waiting.iter().all(tokio::task::JoinHandle::is_finished) {
        let mut client = Client::admin(&server.address).await;
        let died = client.call("GET", "/fault/trap", Value::Null).await;
        assert_eq!(died.status, 500);
    }
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), 500, "too slow to show anything");
    }
    assert_eq!(client.figure("kes_http_request_active").await, 1.0);
}

/// Whether a name in the README stands for the metric: what is in capitals there is any text.
fn stands_for(written: &str, metric: &str) -> bool {
    let is_capital = |c: char| c.is_ascii_uppercase();
    let Some((start, rest)) = written.split_once(is_capital) else {
        return written == metric;
    };
    let end = rest.trim_start_matches(is_capital);
    metric
        .strip_prefix(start)
        .is_some_and(|rest| rest.ends_with(end))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_explains_every_metric_and_no_other() {
    let server = Server::start(Path::new(super::SEALEDGE), "", &for_admin("mem: {}"));
    let mut client = Client::admin(&server.address).await;
    let mut families = families(&mut client).await;
    let readme = fs::read_to_string(example("../README.md")).unwrap();
    let (_, section) = readme.split_once("\n## Metrics\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    for row in section.lines().filter(|line| line.starts_with("| `kes_")) {
        let (names, rest) = row.trim_start_matches("| ").split_once(" | ").unwrap();
        let (kind, _) = rest.split_once(" | ").unwrap();
        for written in names.split(", ").map(|name| name.trim_matches('`')) {
            let before = families.len();
            families.retain(|name, is| !(stands_for(written, name) && kind.contains(is.as_str())));
            assert!(families.len() < before, "there is no {kind} {written}");
        }
    }
    assert!(families.is_empty(), "not explained: {families:?}");
}
