//! Standard streams that nobody reads, and signals.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sealedge_tests::client::{Client, Credentials, recorded};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::Value;
use tempfile::TempDir;

/// A server that is started by this line of bash, in which `"$@"` is its command and `$FOLDER` its
/// folder.
fn server(script: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    server_in(folder, script)
}

fn server_in(folder: TempDir, script: &str) -> Server {
    let config = format!(
        "admin: {{identity: {}}}\nlog: {{audit: on}}\nkeystore: {{mem: {{}}}}\n",
        recorded("admin").identity()
    );
    let plain = Server::command(Path::new(crate::SEALEDGE), folder.path(), "", &config);
    let mut command = Command::new("bash");
    command
        .args(["-c", script, "bash"])
        .arg(plain.get_program());
    command.args(plain.get_args()).env("FOLDER", folder.path());
    Server::run(command, folder)
}

async fn connect(server: &Server) -> Client {
    let credentials = Credentials::of(&recorded("admin"));
    Client::connect(&server.address, Some(&credentials))
        .await
        .unwrap()
}

/// A server whose standard output nobody reads, and the pipe.
fn unread() -> (Server, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    (server_in(folder, r#"exec "$@" 1<>"$FOLDER/pipe""#), pipe)
}

/// Asks until there is no answer for a second: how many there were, and the request that waits.
async fn ask_until_stuck(server: &Server) -> (usize, tokio::task::JoinHandle<u16>) {
    let mut client = connect(server).await;
    for count in 0..30_000 {
        let mut asked = tokio::spawn(async move {
            let answer = client.call("GET", "/v1/status", Value::Null).await;
            (answer.status, client)
        });
        match tokio::time::timeout(Duration::from_secs(1), &mut asked).await {
            Ok(answered) => {
                let (status, back) = answered.unwrap();
                assert_eq!(status, 200);
                client = back;
            }
            Err(_) => return (count, tokio::spawn(async { asked.await.unwrap().0 })),
        }
    }
    panic!("requests do not wait for the audit log");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_the_reader_of_the_audit_log_and_none_fails() {
    let (server, pipe) = unread();
    let (count, stuck) = ask_until_stuck(&server).await;
    // Longer than a call of the guest may take.
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Connections are still made.
    let mut another = connect(&server).await;
    assert!(!stuck.is_finished());
    let reader = std::thread::spawn(move || {
        BufReader::new(File::open(pipe).unwrap())
            .lines()
            .map_while(Result::ok)
            .count()
    });
    assert_eq!(stuck.await.unwrap(), 200);
    let answer = another.call("GET", "/v1/status", Value::Null).await;
    assert_eq!(answer.status, 200);
    server.signal("TERM");
    let (code, _, errors) = server.wait();
    assert_eq!(code, Some(0), "{errors}");
    assert!(!errors.contains("died"), "{errors}");
    assert_eq!(reader.join().unwrap(), count + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_does_not_wait_for_the_reader_of_the_audit_log_without_end() {
    let (server, pipe) = unread();
    let (count, stuck) = ask_until_stuck(&server).await;
    let mut another = connect(&server).await;
    let answer = another.call("GET", "/v1/status", Value::Null);
    let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
    let answer = answer.expect("it waits without end");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    let why = "the server is busy: nobody reads its audit log on standard output, try again later";
    assert_eq!(answer.message(), why);
    assert_eq!(stuck.await.unwrap(), 503);
    // Once it reads again all goes on, and it has a record of each request but those.
    let reader = std::thread::spawn(move || {
        BufReader::new(File::open(pipe).unwrap())
            .lines()
            .map_while(Result::ok)
            .count()
    });
    while another.call("GET", "/v1/status", Value::Null).await.status == 503 {}
    server.signal("TERM");
    let (code, _, errors) = server.wait();
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(reader.join().unwrap(), count + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_audit_log_is_stuck_ends_when_it_is_told_to() {
    let (server, _) = unread();
    let (_, stuck) = ask_until_stuck(&server).await;
    server.signal("TERM");
    let (code, _, errors) = server.wait();
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        errors.contains("records of the audit log are lost"),
        "{errors}"
    );
    stuck.abort();
}

#[tokio::test]
async fn a_server_without_standard_error_goes_on_and_ends_in_order() {
    // The first line goes to standard output, and then nobody reads any more.
    let server = server(r#"exec "$@" 2> >(head -n 1)"#);
    let mut client = connect(&server).await;
    let answer = client.call("GET", "/v1/status", Value::Null).await;
    assert_eq!(answer.status, 200);
    server.signal("TERM");
    let (code, output, _) = server.wait();
    assert_eq!(code, Some(0));
    assert!(output.contains("/v1/status"), "{output}");
}

#[tokio::test]
async fn a_disk_that_is_full_fails_no_request() {
    let server = server(r#"exec "$@" >/dev/full"#);
    let mut client = connect(&server).await;
    for _ in 0..3 {
        let answer = client.call("GET", "/v1/status", Value::Null).await;
        assert_eq!(answer.status, 200);
    }
    // Who watches the figures learns of it.
    server.wait_for_error("the audit log can't be written");
    assert_eq!(client.figure("kes_log_error_events").await, 1.0);
    server.signal("TERM");
    let (code, _, errors) = server.wait();
    assert_eq!(code, Some(0));
    let complaint = "the audit log can't be written to standard output";
    assert_eq!(errors.matches(complaint).count(), 1, "{errors}");
}

#[tokio::test]
async fn a_hangup_does_not_end_the_server() {
    let server = server(r#"exec "$@""#);
    server.signal("HUP");
    server.wait_for_error("reloaded the configuration");
    let mut client = connect(&server).await;
    let answer = client.call("GET", "/v1/status", Value::Null).await;
    assert_eq!(answer.status, 200);
}
