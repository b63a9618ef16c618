//! Requests that get no answer of the service: what the logs and figures know of them.

use std::path::Path;

use sealedge_tests::client::{Client, for_admin};
use sealedge_tests::server::Server;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A server with an audit log, in which the keys `hang-60-x` and `hang-60-y` take a minute to be read.
async fn server(limits: Value) -> (Server, Client) {
    let config = for_admin("mem: {}").replace("audit: off", "audit: on");
    let program = Path::new(crate::SEALEDGE_WITH_FAULTS);
    let server = Server::with_limits(program, &limits, &config);
    let mut client = Client::admin(&server.address).await;
    for key in ["x", "y"] {
        let path = format!("/v1/key/create/hang-60-{key}");
        assert_eq!(client.call("PUT", &path, Value::Null).await.status, 200);
    }
    (server, client)
}

/// Begins to ask for a key.
async fn hang(server: &Server, key: &str) -> JoinHandle<()> {
    let mut client = Client::admin(&server.address).await;
    let path = format!("/v1/key/describe/hang-60-{key}");
    let asked = tokio::spawn(async move {
        let _ = client.send("GET", &path, &[], "").await;
    });
    server.wait_for_error(&format!("the read of hang-60-{key} begins"));
    asked
}

/// The statuses in the audit records of reads of the key.
fn recorded(output: &str, key: &str) -> Vec<u64> {
    let path = format!("/v1/key/describe/hang-60-{key}");
    let records = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    records
        .filter(|record: &Value| record["request"]["path"] == path)
        .map(|record| record["response"]["code"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_is_recorded_even_if_its_client_is_gone() {
    let (server, mut client) = server(json!({})).await;
    hang(&server, "x").await.abort();
    // Until all instances have died.
    let mut tries = 0;
    while recorded(&server.output(), "x").is_empty() {
        let answer = client.call("GET", "/fault/trap", Value::Null).await;
        assert_eq!(answer.status, 500);
        tries += 1;
        assert!(tries < 300, "it is not recorded");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    server.signal("TERM");
    let (_, output, _) = server.wait();
    assert_eq!(recorded(&output, "x"), [500]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_end_of_the_server_cuts_off_is_recorded() {
    for (grace, signals) in [(500, 1), (600_000, 2)] {
        let (server, _client) = server(json!({ "grace": grace })).await;
        let _waiting = hang(&server, "x").await;
        hang(&server, "y").await.abort();
        for _ in 0..signals {
            server.signal("INT");
            server.wait_for_error("a second signal cuts off what is in flight");
        }
        let (code, output, errors) = server.wait();
        assert_eq!(code, Some(0), "{errors}");
        assert!(errors.contains("stopped: cut off 2 requests"), "{errors}");
        for key in ["x", "y"] {
            assert_eq!(recorded(&output, key), [500], "{output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_is_counted_even_if_its_instance_dies_at_once() {
    let config = for_admin("fs: {path: \"{folder}/keys\"}");
    let server = Server::start(Path::new(crate::SEALEDGE_WITH_FAULTS), "", &config);
    std::fs::write(server.keys().join("corrupt"), "no key").unwrap();
    for _ in 0..5 {
        let mut client = Client::admin(&server.address).await;
        for path in ["/v1/key/describe/corrupt", "/fault/trap"] {
            client.call("GET", path, Value::Null).await;
        }
    }
    let mut client = Client::admin(&server.address).await;
    let counted = client.figure("kes_log_error_events").await;
    server.signal("TERM");
    let (_, _, errors) = server.wait();
    let lines = errors.lines().filter(|line| line.contains(" error: "));
    assert_eq!(lines.count() as f64, counted, "{errors}");
    assert!(counted >= 10.0, "{errors}");
}
