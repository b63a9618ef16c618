//! Creates and deletes that meet: what is in memory never outlives what is in the store.

use std::path::Path;
use std::time::Duration;

use sealedge_tests::client::{Client, Credentials, recorded};
use sealedge_tests::server::Server;
use serde_json::{Value, json};

/// A server whose store takes a second more to delete a key named `linger-...` after it is gone.
fn server(more: &str) -> Server {
    let config = format!(
        "admin: {{identity: {}}}\nkeystore: {{mem: {{}}}}\n{more}",
        recorded("admin").identity()
    );
    Server::start(Path::new(crate::SEALEDGE_WITH_FAULTS), "", &config)
}

async fn connect(server: &Server) -> Client {
    let credentials = Credentials::of(&recorded("admin"));
    Client::connect(&server.address, Some(&credentials))
        .await
        .unwrap()
}

/// The same request by many clients at once, so that every instance gets some: all statuses.
async fn by_many(server: &Server, method: &'static str, path: &'static str) -> Vec<u16> {
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let mut client = connect(server).await;
        tasks.push(tokio::spawn(async move {
            let mut statuses = Vec::new();
            for _ in 0..5 {
                statuses.push(client.call(method, path, Value::Null).await.status);
            }
            statuses
        }));
    }
    let mut statuses = Vec::new();
    for task in tasks {
        statuses.extend(task.await.unwrap());
    }
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_used_though_the_old_one_s_delete_has_not_ended() {
    let server = server("");
    let mut client = connect(&server).await;
    let created = client
        .call("PUT", "/v1/key/create/linger-a", Value::Null)
        .await;
    assert_eq!(created.status, 200);
    by_many(&server, "GET", "/v1/key/describe/linger-a").await;

    let mut other = connect(&server).await;
    let deleted = tokio::spawn(async move {
        other
            .call("DELETE", "/v1/key/delete/linger-a", Value::Null)
            .await
    });
    // The old key is gone from the store as soon as a new one can be made.
    loop {
        let answer = client
            .call("PUT", "/v1/key/create/linger-a", Value::Null)
            .await;
        if answer.status == 200 {
            break;
        }
    }
    let mut sealed = Vec::new();
    for _ in 0..8 {
        let mut client = connect(&server).await;
        let dek = client
            .call("PUT", "/v1/key/generate/linger-a", Value::Null)
            .await;
        sealed.push(dek.json()["ciphertext"].clone());
    }
    assert!(
        !deleted.is_finished(),
        "the test was too slow to show anything"
    );
    assert_eq!(deleted.await.unwrap().status, 200);
    for ciphertext in sealed {
        let body = json!({"ciphertext": ciphertext});
        let opened = client.call("PUT", "/v1/key/decrypt/linger-a", body).await;
        assert_eq!(opened.status, 200, "{opened:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_ran_out_of_time_is_seen_by_every_instance() {
    let server = server("api: {/v1/key/delete: {timeout: 100ms}}");
    let mut client = connect(&server).await;
    client
        .call("PUT", "/v1/key/create/linger-a", Value::Null)
        .await;
    let before = by_many(&server, "GET", "/v1/key/describe/linger-a").await;
    assert!(before.iter().all(|status| *status == 200), "{before:?}");
    let deleted = client
        .call("DELETE", "/v1/key/delete/linger-a", Value::Null)
        .await;
    assert_eq!(deleted.status, 504);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let after = by_many(&server, "GET", "/v1/key/describe/linger-a").await;
    assert!(after.iter().all(|status| *status == 404), "{after:?}");
}
