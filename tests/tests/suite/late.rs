//! A key is deleted and another one takes its name in OpenBao's KV v2 while a request for the first is on its way:
//! the second one stays what it is. (All orders of several nodes are tried in the core, against a fake.)

use std::collections::BTreeMap;
use std::time::Duration;

use sealedge_core::seal::NodeIdentity;
use sealedge_tests::client::{Client, for_admin};
use sealedge_tests::gate::{Gate, Held};
use sealedge_tests::openbao::OpenBao;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::replaces::version;
use super::rewrap::{Place, created, opens, start};
use super::sealing::{identity, section};
use super::stores::{keystore, program};

/// OpenBao, a server that serves its keys, and another way to it that goes through a gate.
struct Stage {
    bao: OpenBao,
    gate: Gate,
    server: Server,
    /// The configuration of who goes through the gate.
    gated: String,
}

impl Stage {
    /// `None` if OpenBao can't be had.
    async fn new(node: &NodeIdentity) -> Option<Self> {
        let bao = OpenBao::start(&program()?).await;
        let gate = Gate::new(&bao.address).await;
        let config = for_admin(&keystore(&bao, "engine: kv2, version: v2").await)
            + &section(node, &[node], "")
            + "cache: {expiry: {any: 20ms, unused: 20ms}}\n";
        let gated = config.replace(&bao.address, &gate.address);
        let server = start(&config);
        Some(Self {
            bao,
            gate,
            server,
            gated,
        })
    }

    async fn call(&self, method: &str, path: &str) -> u16 {
        let mut client = Client::admin(&self.server.address).await;
        client.call(method, path, Value::Null).await.status
    }

    /// Deletes and creates the key while a command replaces it whose request number `at` is held so long. What it
    /// comes to; `None` if it has fewer requests.
    async fn renewed(&self, name: &str, at: usize, arguments: &[&str]) -> Option<()> {
        let part = format!("/{name}");
        let held = self.gate.hold(&part, at, false);
        let place = Place::new();
        let mut command = place.command(&self.gated, arguments);
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
        let deks = tokio::select! {
            deks = self.renew(name, held) => deks,
            () = until(&ended) => return None,
        };
        let ended = ended.await.unwrap();
        assert!(ended.status.success(), "{at}: {ended:?}");
        opens(&self.server, &deks).await;
        let mut left = Vec::new();
        for number in 1..20 {
            left.extend(version(&self.bao, name, number).await);
        }
        left.dedup();
        assert_eq!(left.len(), 1, "{at}: one value is readable");
        Some(())
    }

    async fn renew(&self, name: &str, mut held: Held) -> BTreeMap<String, Value> {
        held.is_there().await;
        let delete = format!("/v1/key/delete/{name}");
        assert_eq!(self.call("DELETE", &delete).await, 200);
        let deks = created(&self.server, &[name]).await;
        held.go_on();
        deks
    }
}

/// Waits until the task has ended.
async fn until<T>(task: &tokio::task::JoinHandle<T>) {
    while !task.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Creates keys, has `left` do something to each, and runs the command for it: held up before its first
/// request, its second, and so on until it sends no more.
async fn held_up_everywhere(more: &[&str], left: impl AsyncFn(&Stage, &str)) {
    let Some(stage) = Stage::new(&identity()).await else {
        return;
    };
    for at in 0.. {
        let name = format!("k-{at}");
        created(&stage.server, &[&name]).await;
        left(&stage, &name).await;
        let arguments = [&[name.as_str()], more].concat();
        if stage.renewed(&name, at, &arguments).await.is_none() {
            assert!(at > 6, "{at} requests");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replace_hits_no_other_key_wherever_it_is_held_up() {
    held_up_everywhere(&["--before", "now"], async |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_no_command_that_finishes_what_another_one_has_left() {
    held_up_everywhere(&[], async |stage, name| {
        let sealed = version(&stage.bao, name, 1).await.unwrap();
        for text in ["not sealed", &sealed] {
            let body = json!({"data": {name: text}});
            stage.bao.put(&format!("kv2/data/{name}"), &body).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_whose_answer_is_lost_deletes_no_other_key() {
    let node = identity();
    let Some(stage) = Stage::new(&node).await else {
        return;
    };
    let other = start(&stage.gated);
    created(&stage.server, &["k"]).await;
    let mut held = stage.gate.hold("DELETE ", 0, true);
    let mut client = Client::admin(&other.address).await;
    let deleted = tokio::spawn(async move {
        client
            .call("DELETE", "/v1/key/delete/k", Value::Null)
            .await
            .status
    });
    held.is_there().await;
    let deks = created(&stage.server, &["k"]).await;
    held.go_on();
    assert_eq!(deleted.await.unwrap(), 200);
    opens(&stage.server, &deks).await;
    opens(&other, &deks).await;
}
