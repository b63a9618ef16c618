//! What sealing costs, and a key store elsewhere: how long a key takes that is not in memory.
//!
//! Records are opened without a server around it, as a component and natively. The rest is asked of a
//! real server over a real OpenBao, if that can be had.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealedge::guest::types::{Body, Operation, Outcome, Request, StoreOperation};
use sealedge::guest::{GUEST, Instance, Machine, load, native, wall_clock};
use sealedge_core::crypto::RustCrypto;
use sealedge_core::key::Key;
use sealedge_core::name::Name;
use sealedge_core::seal::{self, Header, NodeIdentity};
use sealedge_core::time::Time;
use sealedge_tests::client::{Client, Credentials, for_admin, recorded};
use sealedge_tests::openbao::{self, OpenBao};
use sealedge_tests::server::Server;
use serde_json::{Value, json};

/// Keys that are opened, and asked for.
const KEYS: usize = 300;

/// How often a server is started.
const STARTS: usize = 9;

/// Keys that are listed.
const MANY: usize = 10_000;

const POLICY: &str = r#"
path "kv2/*" { capabilities = ["create", "read", "update", "list"] }
path "transit/decrypt/my-key" { capabilities = ["update"] }
"#;

fn main() {
    let identity = NodeIdentity::generate(&mut random);
    println!("| opening a key that was read | us, sealed | not sealed |\n|---|---|---|");
    let machine = Arc::new(Machine::new().unwrap());
    for (name, make) in [
        ("component", load(GUEST, machine.clone()).unwrap()),
        ("native", native::factory(machine)),
    ] {
        let opened = |seal: Option<&NodeIdentity>| opening(&mut *make().unwrap(), seal);
        let (sealed, plain) = (opened(Some(&identity)), opened(None));
        println!("| {name} | {sealed:.0} | {plain:.0} |");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(elsewhere(&identity));
}

fn random(buffer: &mut [u8]) {
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(buffer).unwrap();
}

fn section(identity: &NodeIdentity) -> String {
    let (recipient, text) = (identity.recipient(), identity.text());
    format!("seal: {{recipients: [{recipient}], unseal: {{identity: {text}}}}}\n")
}

/// The median of the time from a key's value to the answer, in microseconds.
fn opening(instance: &mut dyn Instance, seal: Option<&NodeIdentity>) -> f64 {
    let start = "version: v1\naddress: 127.0.0.1:0\ntls: {key: a, cert: b}\n";
    let document =
        start.to_owned() + &for_admin("mem: {}") + &seal.map(section).unwrap_or_default();
    instance.configure(&document).unwrap().unwrap();
    let chain = Credentials::of(&recorded("admin")).chain;
    let chain: Vec<Vec<u8>> = chain.iter().map(|it| it.to_vec()).collect();
    let client = instance.authenticate(&chain, "127.0.0.1", true).unwrap();
    let request = Request {
        line: "GET /v1/key/describe/bench".to_owned(),
        arrived: wall_clock(),
        client,
        presented: None,
        audited: false,
        body: Body::None,
    };
    let value = Outcome::Value(stored(seal));
    let mut times: Vec<f64> = (0..KEYS)
        .map(|call| {
            instance.forget("bench").unwrap();
            assert!(instance.start(call as u64, &request).unwrap().is_none());
            let io = asked(instance);
            let begun = Instant::now();
            let ended = instance.resume(io, &value).unwrap();
            let took = begun.elapsed();
            assert!(ended.is_some(), "it is not opened");
            instance.begun();
            instance.cancelled();
            milliseconds(took) * 1000.0
        })
        .collect();
    median(&mut times)
}

/// The number of the read that the instance has begun.
fn asked(instance: &mut dyn Instance) -> u64 {
    let begun = instance.begun();
    let read = begun
        .iter()
        .find(|(_, what)| matches!(what, Operation::Store(StoreOperation::Get(_))));
    read.unwrap().0
}

fn stored(seal: Option<&NodeIdentity>) -> Vec<u8> {
    let key = Key::create(&mut random, jiff::Timestamp::now(), None).to_stored();
    let Some(identity) = seal else {
        return key.as_bytes().to_vec();
    };
    let header = Header {
        name: Name::new("bench").unwrap(),
        sealed_at: Time::from_nanos(wall_clock()),
    };
    let recipients = [identity.recipient().clone()];
    let value = key.as_bytes();
    seal::seal(
        &RustCrypto,
        &mut random,
        value,
        &header,
        &recipients,
        identity,
    )
    .unwrap()
    .into_bytes()
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

async fn elsewhere(identity: &NodeIdentity) {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let Some(program) = openbao::program(cache) else {
        return;
    };
    let bao = OpenBao::start(&program).await;
    let role = bao.role("bench", POLICY, 3600).await;
    let keystore = |prefix: &str| {
        for_admin(&format!(
            "vault: {{endpoint: 'http://{}', engine: kv2, version: v2, prefix: {prefix}, \
             approle: {{id: {}, secret: {}}}}}",
            bao.address, role.id, role.secret
        ))
    };
    println!("\n| a key that is not in memory | ms, median | p99 |\n|---|---|---|");
    for (what, config) in [
        ("not sealed", keystore("plain")),
        ("sealed", keystore("sealed") + &section(identity)),
    ] {
        let mut times = fetched(&config).await;
        let middle = median(&mut times);
        println!(
            "| {what} | {middle:.2} | {:.2} |",
            times[times.len() * 99 / 100]
        );
    }
    let path = "kv2/data/plain/bench-0";
    let mut times = Vec::new();
    for _ in 0..KEYS {
        let begun = Instant::now();
        assert_eq!(bao.call("GET", path, &Value::Null).await.0, 200);
        times.push(milliseconds(begun.elapsed()));
    }
    println!(
        "| (OpenBao itself, a connection each) | {:.2} | |",
        median(&mut times)
    );

    println!("\n| start of the process to the first DEK | ms, median |\n|---|---|");
    let plaintext = json!({"plaintext": STANDARD.encode(identity.text())});
    let wrapped = bao.put("transit/encrypt/my-key", &plaintext).await;
    let wrapped = wrapped["data"]["ciphertext"].as_str().unwrap();
    let unwrapped = format!(
        "seal: {{recipients: [{}], unseal: {{vault: {{endpoint: 'http://{}', transit: {{key: my-key}}, \
         approle: {{id: {}, secret: {}}}, identity: '{wrapped}'}}}}}}\n",
        identity.recipient(),
        bao.address,
        role.id,
        role.secret
    );
    for (what, seal) in [
        ("identity at hand", section(identity)),
        ("auto-unseal", unwrapped),
    ] {
        let config = keystore("sealed") + &seal;
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let begun = Instant::now();
            let server = start(&config);
            let mut client = Client::admin(&server.address).await;
            let dek = client
                .call("PUT", "/v1/key/generate/bench-0", Value::Null)
                .await;
            assert_eq!(dek.status, 200, "{dek:?}");
            times.push(milliseconds(begun.elapsed()));
        }
        println!("| {what} | {:.0} |", median(&mut times));
    }

    println!("\n| {MANY} keys listed in pages | ms |\n|---|---|");
    for at in 0..MANY {
        let value = json!({"data": {format!("k-{at}"): "v"}});
        bao.put(&format!("kv2/data/many/k-{at}"), &value).await;
    }
    let server = start(&keystore("many"));
    let mut client = Client::admin(&server.address).await;
    let begun = Instant::now();
    assert_eq!(listed(&mut client).await, MANY);
    println!("| from sealedge | {:.0} |", milliseconds(begun.elapsed()));
    let begun = Instant::now();
    let (status, _) = bao
        .call("GET", "kv2/metadata/many?list=true", &Value::Null)
        .await;
    assert_eq!(status, 200);
    println!(
        "| from OpenBao, at once | {:.0} |",
        milliseconds(begun.elapsed())
    );
}

fn start(config: &str) -> Server {
    Server::start(
        Path::new(env!("CARGO_BIN_EXE_sealedge-as-component")),
        "",
        config,
    )
}

/// How long each of some keys takes in a server that has not used them, in milliseconds.
async fn fetched(config: &str) -> Vec<f64> {
    let maker = start(config);
    let mut client = Client::admin(&maker.address).await;
    for at in 0..KEYS {
        let path = format!("/v1/key/create/bench-{at}");
        assert_eq!(client.call("PUT", &path, Value::Null).await.status, 200);
    }
    let server = start(config);
    let mut client = Client::admin(&server.address).await;
    // Logs in.
    client
        .call("GET", "/v1/key/describe/none", Value::Null)
        .await;
    let mut times = Vec::new();
    for at in 0..KEYS {
        let path = format!("/v1/key/generate/bench-{at}");
        let begun = Instant::now();
        assert_eq!(client.call("PUT", &path, Value::Null).await.status, 200);
        times.push(milliseconds(begun.elapsed()));
    }
    times
}

async fn listed(client: &mut Client) -> usize {
    let (mut count, mut pattern) = (0, "*".to_owned());
    loop {
        let path = format!("/v1/key/list/{pattern}");
        let page = client.call("GET", &path, Value::Null).await.json();
        count += page["names"].as_array().unwrap().len();
        match page["continue_at"].as_str() {
            None | Some("") => return count,
            Some(next) => pattern = next.to_owned(),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
