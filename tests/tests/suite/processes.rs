//! Servers that share a directory, are killed, or have no room; and keys that KES has left there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use sealedge_tests::client::{Answer, Client, for_admin};
use sealedge_tests::server::Server;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What KES has left: keys as files, and what it made of them.
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors");

/// A server on this directory of keys.
fn serve(keys: &Path) -> Server {
    serve_with(keys, "")
}

fn serve_with(keys: &Path, more: &str) -> Server {
    Server::start(Path::new(super::SEALEDGE), "", &(on(keys) + more))
}

fn on(keys: &Path) -> String {
    for_admin(&format!("fs: {{path: '{}'}}", keys.display()))
}

async fn create(client: &mut Client, name: &str) -> Answer {
    let path = format!("/v1/key/create/{name}");
    client.call("POST", &path, Value::Null).await
}

async fn generate(client: &mut Client, name: &str) -> Answer {
    let path = format!("/v1/key/generate/{name}");
    client.call("POST", &path, json!({})).await
}

async fn names(client: &mut Client) -> Vec<String> {
    let answer = client.call("GET", "/v1/key/list/*", Value::Null).await;
    serde_json::from_value(answer.json()["names"].clone()).unwrap()
}

/// Makes a directory of keys that KES has left.
pub fn copy_vectors(to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(format!("{VECTORS}/keystore")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_a_directory() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    let servers = [serve(&keys), serve(&keys)];
    let mut racers = JoinSet::new();
    for at in 0..8 {
        let mut client = Client::admin(&servers[at % 2].address).await;
        racers.spawn(async move {
            let mut answers = Vec::new();
            for name in 0..200 {
                answers.push(create(&mut client, &format!("race-{name}")).await);
            }
            answers
        });
    }
    let mut winners = BTreeMap::new();
    while let Some(answers) = racers.join_next().await {
        for (name, answer) in answers.unwrap().into_iter().enumerate() {
            if answer.status == 200 {
                *winners.entry(name).or_insert(0) += 1;
            } else {
                assert_eq!(answer.status, 400, "{answer:?}");
                assert_eq!(answer.message(), "key already exists");
            }
        }
    }
    assert_eq!(winners, (0..200).map(|name| (name, 1)).collect());

    let mut one = Client::admin(&servers[0].address).await;
    let mut other = Client::admin(&servers[1].address).await;
    for name in 0..200 {
        let dek = generate(&mut one, &format!("race-{name}")).await.json();
        let path = format!("/v1/key/decrypt/race-{name}");
        let body = json!({"ciphertext": dek["ciphertext"]});
        let answer = other.call("POST", &path, body).await;
        assert_eq!(answer.json()["plaintext"], dek["plaintext"]);
    }

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&keys), 0o700);
    for file in fs::read_dir(&keys).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_a_kill() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    let server = serve(&keys);
    let mut load = JoinSet::new();
    let (sender, mut answered) = tokio::sync::mpsc::unbounded_channel();
    for at in 0..4 {
        let mut client = Client::admin(&server.address).await;
        let sender = sender.clone();
        load.spawn(async move {
            for count in 0.. {
                let name = format!("kill-{at}-{count}");
                let path = format!("/v1/key/create/{name}");
                let Ok(answer) = client.send("POST", &path, &[], "").await else {
                    break;
                };
                assert_eq!(answer.status, 200);
                sender.send(name).unwrap();
            }
        });
    }
    drop(sender);
    let mut promised = BTreeSet::new();
    while let Some(name) = answered.recv().await {
        promised.insert(name);
        if promised.len() == 100 {
            server.signal("KILL");
        }
    }
    while let Some(done) = load.join_next().await {
        done.unwrap();
    }
    assert_eq!(server.wait().0, None, "it was not killed");
    assert!(promised.len() >= 100);

    let server = serve(&keys);
    let mut client = Client::admin(&server.address).await;
    let found: BTreeSet<String> = names(&mut client).await.into_iter().collect();
    let lost: Vec<&String> = promised.difference(&found).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // Nor is any key there in part, answered or not.
    for name in &found {
        assert_eq!(generate(&mut client, name).await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn keys_and_ciphertexts_of_kes_are_served() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    copy_vectors(&keys);
    serves_vectors(&serve(&keys)).await;
}

/// All that KES made of the keys in [`copy_vectors`] is what it was.
pub async fn serves_vectors(server: &Server) {
    let mut client = Client::admin(&server.address).await;
    let vectors: Value =
        serde_json::from_slice(&fs::read(format!("{VECTORS}/vectors.json")).unwrap()).unwrap();
    let cases = |kind: &str| vectors[kind].as_array().unwrap().clone();
    let path = |what: &str, case: &Value| format!("/v1/key/{what}/{}", case.as_str().unwrap());
    let counts = ["keys", "ciphertexts", "not_authentic", "hmac"].map(|kind| cases(kind).len());
    assert_eq!(counts, [5, 200, 70, 10]);

    for key in cases("keys") {
        let answer = client
            .call("GET", &path("describe", &key["name"]), Value::Null)
            .await;
        assert_eq!(answer.json(), key["describe"]);
    }
    for case in cases("ciphertexts") {
        let body = json!({"ciphertext": case["ciphertext"], "context": case["context"]});
        let answer = client
            .call("POST", &path("decrypt", &case["key"]), body)
            .await;
        assert_eq!(
            answer.json(),
            json!({"plaintext": case["plaintext"]}),
            "{case}"
        );
    }
    for case in cases("not_authentic") {
        let body = json!({"ciphertext": case["ciphertext"], "context": case["context"]});
        let answer = client
            .call("POST", &path("decrypt", &case["key"]), body)
            .await;
        assert_eq!(json!(answer.status), case["status"], "{case}");
        assert_eq!(answer.json(), json!({"message": case["message"]}), "{case}");
    }
    for case in cases("hmac") {
        let body = json!({"message": case["message"]});
        let answer = client.call("POST", &path("hmac", &case["key"]), body).await;
        assert_eq!(json!(answer.status), case["status"], "{case}");
        if answer.status == 200 {
            assert_eq!(answer.json(), json!({"hmac": case["hmac"]}), "{case}");
        } else {
            assert_eq!(answer.status, 409, "{case}");
        }
    }
}

#[tokio::test]
async fn foreign_files_are_no_keys_and_damaged_ones_are_named() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    copy_vectors(&keys);
    for file in ["notes.txt", ".hidden", "-dash", "ключ", "vector-aes~"] {
        fs::write(keys.join(file), "not a key").unwrap();
    }
    fs::create_dir(keys.join("folder")).unwrap();
    fs::write(keys.join("damaged"), "not a key").unwrap();
    let server = serve(&keys);
    let mut client = Client::admin(&server.address).await;
    let listed = names(&mut client).await;
    let want = [
        "damaged",
        "vector-aes",
        "vector-chacha",
        "vector-created",
        "vector-old-aes",
        "vector-old-chacha",
    ];
    assert_eq!(listed, want);
    let answer = generate(&mut client, "damaged").await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json(), json!({"message": "failed to read key"}));
    server.wait_for_error("error: failed to read key: what is stored for 'damaged' is no key");
    assert_eq!(generate(&mut client, "vector-aes").await.status, 200);
}

#[tokio::test]
async fn configured_keys_are_there_and_stay_what_they_are() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    let wanted = "keys: [{name: first}, {name: second}]\n";
    let mut contents = Vec::new();
    for _ in 0..2 {
        let server = serve_with(&keys, wanted);
        let mut client = Client::admin(&server.address).await;
        assert_eq!(names(&mut client).await, ["first", "second"]);
        assert_eq!(generate(&mut client, "second").await.status, 200);
        contents.push(["first", "second"].map(|name| fs::read(keys.join(name)).unwrap()));
    }
    assert_eq!(contents[0], contents[1]);
}

#[tokio::test]
async fn a_full_disk_fails_a_create_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    copy_vectors(&keys);
    let server = serve(&keys);
    // No file may grow. The process is told by a signal first, which by default would end it.
    let limited = Command::new("prlimit")
        .args(["--fsize=0", "--pid", &server.id().to_string()])
        .status();
    assert!(limited.unwrap().success());
    let mut client = Client::admin(&server.address).await;
    for _ in 0..2 {
        let answer = create(&mut client, "too-much").await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.json(), json!({"message": "failed to create key"}));
    }
    let line = server.wait_for_error("error: failed to create key: ");
    assert!(line.contains(&keys.display().to_string()), "{line}");
    assert_eq!(generate(&mut client, "vector-aes").await.status, 200);
    assert_eq!(generate(&mut client, "too-much").await.status, 404);
    let left = fs::read_dir(&keys).unwrap().count();
    assert_eq!(left, 5, "a file is left");
}

#[tokio::test]
async fn a_directory_that_is_gone_fails_requests_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let (keys, away) = (home.path().join("keys"), home.path().join("away"));
    let server = serve(&keys);
    let mut client = Client::admin(&server.address).await;
    assert_eq!(create(&mut client, "kept").await.status, 200);
    fs::rename(&keys, &away).unwrap();
    for (answer, message) in [
        (create(&mut client, "new").await, "failed to create key"),
        (generate(&mut client, "kept").await, "failed to read key"),
    ] {
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.json(), json!({"message": message}));
        let line = server.wait_for_error(&format!("error: {message}: "));
        assert!(line.contains(&keys.display().to_string()), "{line}");
    }
    fs::rename(&away, &keys).unwrap();
    assert_eq!(create(&mut client, "new").await.status, 200);
    assert_eq!(generate(&mut client, "kept").await.status, 200);
}
