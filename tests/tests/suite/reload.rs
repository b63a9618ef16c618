//! SIGHUP: the configuration is read again while the server runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sealedge_tests::client::{Client, Credentials, for_admin, recorded};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};

use super::cache;

const NOT_RELOADED: &str = "nothing was reloaded: what was in force before still is";

/// A configuration with the recordings' admin, and `app` in a policy if it is `allowed`.
fn with_app(allowed: bool) -> String {
    let mut config = for_admin("mem: {}");
    if allowed {
        let app = recorded("app").identity();
        config +=
            &format!("policy: {{app: {{allow: [/v1/key/generate/*], identities: [{app}]}}}}\n");
    }
    config
}

fn start(config: &str) -> Server {
    Server::start(Path::new(crate::SEALEDGE), "", config)
}

async fn create(server: &Server, key: &str) {
    let path = format!("/v1/key/create/{key}");
    let answer = Client::admin(&server.address)
        .await
        .call("PUT", &path, Value::Null)
        .await;
    assert_eq!(answer.status, 200);
}

async fn generate(client: &mut Client, key: &str) -> u16 {
    let path = format!("/v1/key/generate/{key}");
    client.call("PUT", &path, Value::Null).await.status
}

/// So many connections of the client `app`, by both versions of HTTP, that every instance has some.
async fn connections(server: &Server) -> Vec<Client> {
    let credentials = Credentials::of(&recorded("app"));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let by_one = Client::connect(&server.address, Some(&credentials)).await;
        let by_two = Client::connect_http2(&server.address, Some(&credentials)).await;
        clients.extend([by_one.unwrap(), by_two.unwrap()]);
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_identity_is_refused_on_the_connections_that_it_has() {
    let server = start(&with_app(true));
    create(&server, "k").await;
    let mut clients = connections(&server).await;
    for allowed in [true, false, true] {
        server.reload("", &with_app(allowed));
        let mut tasks = Vec::new();
        for mut client in clients {
            tasks.push(tokio::spawn(async move {
                let status = generate(&mut client, "k").await;
                (client, status)
            }));
        }
        clients = Vec::new();
        for task in tasks {
            let (client, status) = task.await.unwrap();
            assert_eq!(status, if allowed { 200 } else { 403 });
            clients.push(client);
        }
    }
}

#[tokio::test]
async fn who_is_admin_which_routes_skip_and_what_is_logged_change() {
    let server = start(&for_admin("mem: {}"));
    let mut old = Client::admin(&server.address).await;
    let app = Credentials::of(&recorded("app"));
    let mut new = Client::connect(&server.address, Some(&app)).await.unwrap();
    let status = "/v1/status";
    assert_eq!(old.call("GET", status, Value::Null).await.status, 200);
    assert_eq!(new.call("GET", status, Value::Null).await.status, 403);
    let config = format!(
        "admin: {{identity: {}}}\napi: {{/v1/ready: {{skip_auth: true}}}}\nlog: {{audit: on}}\nauth: {{signatures: off}}\nkeystore: {{mem: {{}}}}\n",
        app.identity()
    );
    server.reload("", &config);
    assert_eq!(old.call("GET", status, Value::Null).await.status, 403);
    assert_eq!(new.call("GET", status, Value::Null).await.status, 200);
    // A client may come without a certificate now.
    let mut nobody = Client::connect(&server.address, None).await.unwrap();
    let ready = nobody.call("GET", "/v1/ready", Value::Null).await;
    assert_eq!(ready.status, 200);

    server.reload("", &(for_admin("mem: {}") + "auth: {signatures: off}\n"));
    assert_eq!(old.call("GET", status, Value::Null).await.status, 200);
    let ready = nobody.call("GET", "/v1/ready", Value::Null).await;
    assert_eq!(ready.message(), "tls: client certificate is required");
    // Its connection is of no use any more.
    assert!(nobody.send("GET", "/v1/ready", &[], "").await.is_err());
    let refused = async {
        let mut nobody = Client::connect(&server.address, None).await?;
        nobody.send("GET", "/v1/ready", &[], "").await
    };
    assert!(refused.await.is_err());

    server.signal("TERM");
    let (_, output, _) = server.wait();
    let statuses: Vec<&str> = output.lines().collect();
    assert_eq!(statuses.len(), 2, "logged while that was on: {output}");
}

#[tokio::test]
async fn what_cannot_change_is_named_and_nothing_is_taken() {
    let server = start(&with_app(true));
    create(&server, "k").await;
    let file = server.folder.path().join("config.yml");
    let write = |change: &dyn Fn(&str) -> String| {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, change(&text)).unwrap();
    };
    let app = Credentials::of(&recorded("app"));
    let mut client = Client::connect(&server.address, Some(&app)).await.unwrap();
    // A policy goes away in the same file.
    write(&|text| {
        text.replace("127.0.0.1:0", "127.0.0.1:1")
            .replace("allow:", "deny:")
    });
    server.signal("HUP");
    server.wait_for_error("address: restart the server to change it");
    write(&|text| {
        text.replace("127.0.0.1:1", "127.0.0.1:0")
            .replace("mem: {}", "fs: {path: /nowhere}")
    });
    server.signal("HUP");
    server.wait_for_error("keystore: restart the server to change it");
    server.wait_for_error(NOT_RELOADED);
    assert_eq!(generate(&mut client, "k").await, 200);
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn an_address_of_the_command_line_s_outlasts_the_file_s() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let config = for_admin("mem: {}");
    let mut command = Server::command(Path::new(crate::SEALEDGE), folder.path(), "", &config);
    command.args(["--addr", "127.0.0.1:0"]);
    let server = Server::run(command, folder);
    let file = server.folder.path().join("config.yml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("127.0.0.1:0", "127.0.0.1:1")).unwrap();
    server.signal("HUP");
    server.wait_for_error("reloaded the configuration");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing() {
    let server = start(&with_app(true));
    create(&server, "k").await;
    let mut clients = connections(&server).await;
    let file = server.folder.path().join("config.yml");
    let good = fs::read_to_string(&file).unwrap();
    let missing = good.replace("server.cert", "no.cert");
    for (text, problem) in [
        (
            good.replace("policy:", "polcy:"),
            "line 10: polcy: unknown field `polcy`; did you mean `policy`?",
        ),
        (
            "version: v1\n\tx".to_owned(),
            "line 1: this is not valid YAML",
        ),
        (String::new(), "version: write `version: v1`"),
        (missing, "no.cert: No such file or directory"),
    ] {
        fs::write(&file, text).unwrap();
        let before = server.errors().matches(NOT_RELOADED).count();
        server.signal("HUP");
        while server.errors().matches(NOT_RELOADED).count() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let errors = server.errors();
        assert!(errors.contains(problem), "{problem}: {errors}");
        for client in &mut clients {
            assert_eq!(generate(client, "k").await, 200);
        }
    }
    assert!(server.errors().contains("config.yml can't be used:\n"));
    fs::remove_file(&file).unwrap();
    server.signal("HUP");
    server.wait_for_error("error: can't read the configuration");
    // Nothing waits for whoever might write to a pipe.
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    server.signal("HUP");
    server.wait_for_error("it is no regular file");
    fs::remove_file(&file).unwrap();
    server.reload("", &with_app(false));
    for client in &mut clients {
        assert_eq!(generate(client, "k").await, 403);
    }
}

#[tokio::test]
async fn keys_of_the_new_configuration_are_created() {
    let server = start(&for_admin("mem: {}"));
    create(&server, "old").await;
    let config = for_admin("mem: {}") + "keys: [{name: old}, {name: new}]\n";
    server.reload("", &config);
    let mut admin = Client::admin(&server.address).await;
    // They are created beside, so that a store that is away holds up no reload.
    let deadline = Instant::now() + Duration::from_secs(30);
    while generate(&mut admin, "new").await != 200 {
        assert!(Instant::now() < deadline, "{}", server.errors());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(generate(&mut admin, "old").await, 200);
}

/// How many requests were answered with success.
async fn successes(client: &mut Client) -> u64 {
    let answer = client.call("GET", "/v1/metrics", Value::Null).await;
    let text = String::from_utf8(answer.body).unwrap();
    let mark = "kes_http_request_success{code=\"200\"} ";
    let count = text.lines().find_map(|line| line.strip_prefix(mark));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn counters_stay_and_a_new_expiry_holds_at_once() {
    let config = |any: &str| cache::config(&format!("{{any: {any}, unused: 1h}}"));
    let server = cache::with_one_instance(&config("1h"));
    create(&server, "k").await;
    let mut admin = Client::admin(&server.address).await;
    assert_eq!(generate(&mut admin, "k").await, 200);
    let before = successes(&mut admin).await;
    assert!(before >= 2);
    fs::remove_file(server.keys().join("k")).unwrap();
    server.reload("", &config("2h"));
    assert_eq!(generate(&mut admin, "k").await, 200, "it is in memory");
    assert_eq!(successes(&mut admin).await, before + 2);
    server.reload("", &config("1ms"));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(generate(&mut admin, "k").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_ends_under_the_configuration_that_it_began_under() {
    let server = Server::start(Path::new(crate::SEALEDGE_WITH_FAULTS), "", &with_app(true));
    create(&server, "hang-4-x").await;
    let app = Credentials::of(&recorded("app"));
    let mut client = Client::connect(&server.address, Some(&app)).await.unwrap();
    let waiting = tokio::spawn(async move {
        let first = generate(&mut client, "hang-4-x").await;
        (first, generate(&mut client, "hang-4-x").await)
    });
    server.wait_for_error("the read of hang-4-x begins");
    server.reload("", &with_app(false));
    assert!(
        !server.errors().contains("the read of hang-4-x ends"),
        "too slow to show anything"
    );
    assert_eq!(waiting.await.unwrap(), (200, 403));
}

#[tokio::test]
async fn hangups_one_after_the_other_end_with_the_last_file() {
    let server = start(&with_app(true));
    create(&server, "k").await;
    let mut clients = connections(&server).await;
    for allowed in [false, true, false, true, false] {
        server.configure("", &with_app(allowed));
        server.signal("HUP");
        server.signal("HUP");
    }
    server.reload("", &with_app(false));
    for client in &mut clients {
        assert_eq!(generate(client, "k").await, 403);
    }
    assert!(!server.errors().contains("error: "), "{}", server.errors());
}

#[test]
fn a_hangup_while_the_server_starts_is_heeded_when_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let config = for_admin("mem: {}");
    let plain = Server::command(Path::new(crate::SEALEDGE), folder.path(), "", &config);
    // The pipe opens when the server reads its configuration. If it did not ask for the signal before,
    // it dies of it.
    let script = r#"
        mv config.yml real.yml
        mkfifo config.yml
        "$@" & server=$!
        exec 3>config.yml
        kill -s HUP $server
        cat real.yml >&3
        mv real.yml config.yml
        exec 3>&-
        trap 'kill $server' TERM
        wait $server"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(plain.get_program());
    command.args(plain.get_args()).current_dir(folder.path());
    let server = Server::run(command, folder);
    server.wait_for_error("reloaded the configuration");
    server.signal("TERM");
    let (_, _, errors) = server.wait();
    assert!(!errors.contains("error"), "{errors}");
}

/// Asks for DEKs until it is told to stop, by one connection after the other; how many it got.
async fn load(address: String, http2: bool, stop: Arc<AtomicBool>, got: Arc<AtomicUsize>) {
    let app = Credentials::of(&recorded("app"));
    while !stop.load(Ordering::Relaxed) {
        let mut client = if http2 {
            Client::connect_http2(&address, Some(&app)).await.unwrap()
        } else {
            Client::connect(&address, Some(&app)).await.unwrap()
        };
        for _ in 0..100 {
            let body = json!({"context": "AAAA"});
            let answer = client.call("PUT", "/v1/key/generate/k", body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            got.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_because_of_twenty_reloads() {
    let config = |at: usize| {
        let app = recorded("app").identity();
        let name = format!("policy-{}", at % 3);
        for_admin("mem: {}")
            + &format!(
                "policy: {{{name}: {{allow: [/v1/key/generate/*], identities: [{app}]}}}}\n\
                 api: {{/v1/ready: {{skip_auth: {}}}}}\n\
                 cache: {{expiry: {{any: {}s}}}}\n",
                at.is_multiple_of(2),
                at + 1
            )
    };
    let server = start(&config(0));
    create(&server, "k").await;
    let (stop, got) = (Arc::new(AtomicBool::new(false)), Arc::default());
    let loads: Vec<_> = (0..8)
        .map(|at| {
            let (stop, got) = (stop.clone(), Arc::clone(&got));
            tokio::spawn(load(server.address.clone(), at % 2 == 1, stop, got))
        })
        .collect();
    for at in 1..=20 {
        let before = got.load(Ordering::Relaxed);
        if at % 5 == 0 {
            write_certificate(server.folder.path());
        }
        server.reload("", &config(at));
        // There is load between the reloads as well.
        while got.load(Ordering::Relaxed) < before + 50
            && loads.iter().all(|load| !load.is_finished())
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    assert!(!server.errors().contains("error"), "{}", server.errors());
}
