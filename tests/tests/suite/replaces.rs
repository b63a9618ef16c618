//! What every store does while its values are replaced by several commands at once: a part of the suite for
//! every key store (`stores.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sealedge_tests::client::Client;
use sealedge_tests::openbao::OpenBao;
use sealedge_tests::server::Server;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::rewrap::{Place, created, dek, opens, start};
use super::stores::Promise;

/// The keys that are replaced are `moved-0` and so on.
pub const NAMES: Range<usize> = 0..30;

/// How many commands run at a time.
const COMMANDS: usize = 4;

/// Root's look at one version of a key in KV v2: its text.
pub async fn version(bao: &OpenBao, name: &str, number: u64) -> Option<String> {
    let path = format!("kv2/data/{name}?version={number}");
    let (status, answer) = bao.call("GET", &path, &Value::Null).await;
    let text = answer["data"]["data"][name].as_str();
    assert_eq!(text.is_some(), status == 200, "{status} {answer}");
    text.map(ToOwned::to_owned)
}

/// Two nodes serve the keys, by these configurations, and both seal them again.
pub async fn conforms(configs: &[String; 2], promise: Promise) {
    // Keys are read anew again and again.
    let read = "cache: {expiry: {any: 20ms, unused: 20ms}}\n";
    let configs = &configs.each_ref().map(|config| format!("{config}{read}"));
    race(configs).await;
    if promise != Promise::Little {
        against_delete(configs, promise).await;
    }
}

/// Commands replace the same values at once: each ends well, and no key is lost or changed at any time.
async fn race(configs: &[String; 2]) {
    let servers = configs.each_ref().map(|config| start(config));
    let names = NAMES.map(|at| format!("moved-{at}")).collect::<Vec<_>>();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let deks = created(&servers[0], &names).await;
    for _ in 0..3 {
        race_once(configs, &servers, &deks).await;
    }
    opens(&start(&configs[1]), &deks).await;
}

async fn race_once(configs: &[String; 2], servers: &[Server; 2], deks: &BTreeMap<String, Value>) {
    let places: Vec<_> = (0..COMMANDS).map(|_| Place::new()).collect();
    let mut commands = Vec::new();
    for (place, config) in places.iter().zip(configs.iter().cycle()) {
        let mut command = place.command(config, &["--before", "now", "moved-*"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        commands.push(command.spawn().unwrap());
    }
    while commands
        .iter_mut()
        .any(|it| it.try_wait().unwrap().is_none())
    {
        opens(&servers[0], deks).await;
        opens(&servers[1], deks).await;
    }
    let mut replaced = 0;
    for command in commands {
        let ended = command.wait_with_output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let [total, resealed, unchanged] =
            counts(&ended.stdout, ["total", "resealed", "unchanged"]);
        assert_eq!((total, resealed + unchanged), (deks.len(), deks.len()));
        replaced += resealed;
    }
    assert!(replaced >= deks.len(), "{replaced}");
}

/// Some of the numbers that a command says in JSON.
fn counts<const N: usize>(said: &[u8], names: [&str; N]) -> [usize; N] {
    let counts: Value = serde_json::from_slice(said).unwrap();
    names.map(|name| usize::try_from(counts[name].as_u64().unwrap()).unwrap())
}

/// Keys are deleted while commands replace them without end: none comes back, and one that takes the name of
/// a deleted one stays what it is, where that is promised.
async fn against_delete(configs: &[String; 2], promise: Promise) {
    let servers = configs.each_ref().map(|config| start(config));
    let names = NAMES.map(|at| format!("gone-{at}")).collect::<Vec<_>>();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let deleted = created(&servers[0], &all).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let replaced = Arc::new(AtomicUsize::new(0));
    let mut commands = JoinSet::new();
    for config in configs.iter().cycle().take(COMMANDS) {
        let (config, is_over, replaced) = (config.clone(), is_over.clone(), replaced.clone());
        commands.spawn_blocking(move || {
            let place = Place::new();
            while !is_over.load(Ordering::Relaxed) {
                let mut command = place.command(&config, &["--before", "now", "gone-*"]);
                let ended = command.output().unwrap();
                let [total, resealed] = counts(&ended.stdout, ["total", "resealed"]);
                // Once all are deleted there is nothing to do, which is an error.
                assert!(ended.status.success() || total == 0, "{ended:?}");
                replaced.fetch_add(resealed, Ordering::Relaxed);
            }
        });
    }
    let (mut anew, mut deks) = (BTreeSet::new(), BTreeMap::new());
    for (at, name) in names.iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..40))).await;
        let server = &servers[at % 2];
        let mut client = Client::admin(&server.address).await;
        let path = format!("/v1/key/delete/{name}");
        let answer = client.call("DELETE", &path, Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        if at % 2 == 0 {
            anew.insert(name.clone());
            let path = format!("/v1/key/create/{name}");
            let answer = client.call("PUT", &path, Value::Null).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        if at % 2 == 0 && promise == Promise::All {
            deks.insert(name.clone(), dek(server, name).await);
        }
    }
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = commands.join_next().await {
        ended.unwrap();
    }
    assert!(replaced.load(Ordering::Relaxed) > 0, "nothing was replaced");
    let fresh = start(&configs[0]);
    opens(&fresh, &deks).await;
    let mut client = Client::admin(&fresh.address).await;
    for name in &anew {
        let body = json!({"ciphertext": deleted[name]["ciphertext"]});
        let path = format!("/v1/key/decrypt/{name}");
        let opened = client.call("PUT", &path, body).await;
        assert_eq!(opened.status, 400, "{name} is the deleted key: {opened:?}");
    }
    let listed = client.call("GET", "/v1/key/list/gone-*", Value::Null).await;
    let listed: Vec<String> =
        serde_json::from_value(listed.json()["names"].clone()).unwrap_or_default();
    assert!(listed.iter().eq(anew.iter()), "{listed:?}");
}
