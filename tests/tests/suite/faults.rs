//! A guest that fails, and a key store that hangs.

use std::collections::BTreeMap;
use std::path::Path;

use sealedge_tests::client::{Answer, Client, for_admin};
use sealedge_tests::server::Server;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// The program whose guest and whose memory store can be made to fail.
const PROGRAM: &str = env!("CARGO_BIN_EXE_sealedge-with-faults");

fn start() -> Server {
    Server::start(Path::new(PROGRAM), "", &for_admin("mem: {}"))
}

async fn create(client: &mut Client, name: &str) {
    let path = format!("/v1/key/create/{name}");
    assert_eq!(client.call("POST", &path, Value::Null).await.status, 200);
}

async fn generate(client: &mut Client, name: &str) -> Answer {
    let path = format!("/v1/key/generate/{name}");
    client.call("POST", &path, json!({})).await
}

/// The same on a connection of its own, beside the test.
async fn generate_beside(server: &Server, name: &str) -> JoinHandle<Answer> {
    let mut client = Client::admin(&server.address).await;
    let name = name.to_owned();
    tokio::spawn(async move { generate(&mut client, &name).await })
}

async fn clients(server: &Server, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::admin(&server.address).await);
    }
    clients
}

fn assert_lost(answer: &Answer) {
    assert_eq!(answer.status, 500, "{answer:?}");
    assert_eq!(answer.json(), json!({"message": "internal server error"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_costs_what_is_in_its_instance_and_no_more() {
    let config = for_admin("mem: {}").replace("audit: off", "audit: on");
    let server = Server::start(Path::new(PROGRAM), "", &config);
    let mut client = Client::admin(&server.address).await;
    create(&mut client, "sound").await;
    let names: Vec<String> = (0..20).map(|at| format!("hang-8-{at}")).collect();
    let mut parked = tokio::task::JoinSet::new();
    for name in &names {
        create(&mut client, name).await;
        let waiting = generate_beside(&server, name).await;
        parked.spawn(async move { waiting.await.unwrap() });
    }
    for name in &names {
        server.wait_for_error(&format!("the read of {name} begins"));
    }

    // What was counted a second ago is safe.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    // Enough that no instance lives on.
    for mut client in clients(&server, 16).await {
        assert_lost(&client.call("GET", "/fault/trap", Value::Null).await);
        assert_eq!(generate(&mut client, "sound").await.status, 200);
    }

    // All that were parked have an answer: the lost ones before any read has ended.
    let mut lost = 0;
    while let Some(answer) = parked.join_next().await {
        let answer = answer.unwrap();
        if answer.status == 500 {
            assert_lost(&answer);
            lost += 1;
            assert!(
                !server.errors().contains("ends"),
                "a lost request has waited"
            );
        } else {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    let reported: usize = server.errors().lines().filter_map(lost_requests).sum();
    assert_eq!(reported, lost);
    assert!(lost > 0, "no parked request was in an instance that died");

    // Each has its record, and those that were counted before are counted still.
    let recorded = recorded_answers(&server, "/v1/key/generate/hang-8-", 20);
    let recorded = |status| recorded.get(&status).copied().unwrap_or_default();
    assert_eq!((recorded(200), recorded(500)), (20 - lost, lost));
    let created = client
        .figure("kes_http_request_success{code=\"200\"}")
        .await;
    assert!(created >= 21.0, "{created}");
    let failed = client
        .figure("kes_http_request_failure{code=\"500\"}")
        .await;
    assert_eq!(failed, (16 + lost) as f64);
}

/// How often each status is in the audit log for paths that begin so, once there are `count` records.
fn recorded_answers(server: &Server, path: &str, count: usize) -> BTreeMap<u64, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..500 {
        answers.clear();
        for line in server.output().lines() {
            // The last one may still be on its way.
            let Ok(record) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            if record["request"]["path"]
                .as_str()
                .unwrap()
                .starts_with(path)
            {
                let status = record["response"]["code"].as_u64().unwrap();
                *answers.entry(status).or_insert(0) += 1;
            }
        }
        if answers.values().sum::<usize>() >= count {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    answers
}

/// How many requests were lost with an instance, by the line that says so.
fn lost_requests(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once("error: the guest died: ")?;
    let count = rest.strip_suffix(" other requests were lost with it")?;
    count.rsplit_once("; ")?.1.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_traps_leave_nothing_behind() {
    let server = start();
    let mut client = Client::admin(&server.address).await;
    create(&mut client, "sound").await;
    let mut figures = Vec::new();
    for round in 0..220 {
        assert_lost(&client.call("GET", "/fault/trap", Value::Null).await);
        assert_eq!(generate(&mut client, "sound").await.status, 200);
        if round == 19 || round == 219 {
            figures.push((
                server.count("task"),
                server.count("fd"),
                server.count("map_files"),
                server.figure("VmRSS"),
            ));
        }
    }
    let [before, after] = figures.as_slice() else {
        panic!("{figures:?}")
    };
    assert!(after.0 <= before.0 + 8, "threads: {figures:?}");
    assert!(after.1 <= before.1 + 8, "file descriptors: {figures:?}");
    assert!(after.2 <= before.2 + 20, "mapped files: {figures:?}");
    assert!(after.3 <= before.3 + (64 << 10), "KiB: {figures:?}");
    let died = || server.errors().matches("error: the guest died").count();
    // The last lines may still be on their way.
    for _ in 0..500 {
        if died() == 220 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(died(), 220);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_away_is_stopped_while_others_are_served() {
    let server = start();
    let mut work = tokio::task::JoinSet::new();
    let others = clients(&server, 4).await;
    let mut client = Client::admin(&server.address).await;
    let spin = tokio::spawn(async move { client.call("GET", "/fault/spin", Value::Null).await });
    for mut client in others {
        work.spawn(async move {
            for _ in 0..50 {
                let answer = client.call("GET", "/version", Value::Null).await;
                assert_eq!(answer.status, 200);
            }
        });
    }
    // On one processor there is one instance, and the runaway has it.
    if std::thread::available_parallelism().unwrap().get() > 1 {
        work.join_next().await.unwrap().unwrap();
        assert!(!spin.is_finished(), "nobody was served beside the runaway");
    }
    assert_lost(&spin.await.unwrap());
    while let Some(done) = work.join_next().await {
        done.unwrap();
    }
    server.wait_for_error("error: the guest died: ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_hoards_memory_is_stopped() {
    let server = start();
    let mut client = Client::admin(&server.address).await;
    create(&mut client, "sound").await;
    for _ in 0..3 {
        assert_lost(&client.call("GET", "/fault/memory", Value::Null).await);
        assert_eq!(generate(&mut client, "sound").await.status, 200);
    }
    // An instance may have 512 MiB; those of the instances that died are given back.
    let (peak, now) = (server.figure("VmHWM"), server.figure("VmRSS"));
    assert!(peak < 800 << 10, "{peak} KiB at the most");
    assert!(now < 200 << 10, "{now} KiB after all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_key_store_holds_up_nobody_else() {
    let server = start();
    let mut client = Client::admin(&server.address).await;
    create(&mut client, "hang-10-x").await;
    let hanging = generate_beside(&server, "hang-10-x").await;
    server.wait_for_error("the read of hang-10-x begins");
    let mut work = tokio::task::JoinSet::new();
    for (at, mut client) in clients(&server, 10).await.into_iter().enumerate() {
        work.spawn(async move {
            let mut answers = BTreeMap::new();
            for key in 0..50 {
                let name = format!("sound-{at}-{key}");
                create(&mut client, &name).await;
                *answers
                    .entry(generate(&mut client, &name).await.status)
                    .or_insert(0) += 2;
            }
            answers
        });
    }
    let mut answers = 0;
    while let Some(done) = work.join_next().await {
        answers += done.unwrap()[&200];
    }
    assert_eq!(answers, 1000);
    assert!(!hanging.is_finished(), "others have waited for the hanging");
    assert_eq!(hanging.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_one_key_share_one_read() {
    let server = start();
    let mut client = Client::admin(&server.address).await;
    create(&mut client, "hang-5-x").await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        waiting.push(generate_beside(&server, "hang-5-x").await);
    }
    for answer in waiting {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    let reads = server.errors().matches("read of hang-5-x begins").count();
    assert_eq!(reads, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_a_time_limit() {
    let server = start();
    let mut client = Client::admin(&server.address).await;
    create(&mut client, "hang-40-x").await;
    let answer = generate(&mut client, "hang-40-x").await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.message(), "the request took too long");
    assert!(!server.errors().contains("ends"));
    server.wait_for_error("error: the request took too long");
    create(&mut client, "sound").await;
    assert_eq!(generate(&mut client, "sound").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_is_in_no_cache() {
    let server = start();
    let mut clients = clients(&server, 8).await;
    create(&mut clients[0], "key").await;
    let old = generate(&mut clients[0], "key").await.json()["ciphertext"].clone();
    for client in &mut clients {
        assert_eq!(generate(client, "key").await.status, 200);
    }
    let deleted = clients[0].call("DELETE", "/v1/key/delete/key", Value::Null);
    assert_eq!(deleted.await.status, 200);
    for client in &mut clients {
        assert_eq!(generate(client, "key").await.status, 404);
    }
    // Nor is it where another key has its name.
    create(&mut clients[0], "key").await;
    for client in &mut clients {
        let body = json!({"ciphertext": old});
        let answer = client.call("POST", "/v1/key/decrypt/key", body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.message(),
            "decryption failed: ciphertext is not authentic"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_a_delete_overtakes_brings_nothing_back() {
    let server = start();
    let mut clients = clients(&server, 8).await;
    create(&mut clients[0], "hang-4-x").await;
    let reading = generate_beside(&server, "hang-4-x").await;
    server.wait_for_error("the read of hang-4-x begins");
    let deleted = clients[0].call("DELETE", "/v1/key/delete/hang-4-x", Value::Null);
    assert_eq!(deleted.await.status, 200);

    // Who asks after the delete does not join the read that began before it.
    assert_eq!(generate(&mut clients[1], "hang-4-x").await.status, 404);
    assert!(!reading.is_finished());

    // Who asked before it may have the key, which no cache has then.
    assert_eq!(reading.await.unwrap().status, 200);
    for client in &mut clients {
        assert_eq!(generate(client, "hang-4-x").await.status, 404);
    }
}
