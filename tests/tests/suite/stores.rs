//! One suite for every key store: whatever is behind it, clients see the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sealedge_tests::client::{Answer, Client, for_admin};
use sealedge_tests::openbao::{self, OpenBao};
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::replaces;
use super::sealing::{identity, section};
use super::troubles;

/// How many keys are listed: three pages of the protocol.
const MANY: usize = 3000;

/// What a role needs in OpenBao for all of its engines.
pub const POLICY: &str = r#"
path "kv/*" { capabilities = ["create", "read", "update", "delete", "list"] }
path "kv2/data/*" { capabilities = ["create", "read", "update"] }
path "kv2/metadata/*" { capabilities = ["list", "delete", "read", "patch"] }
path "transit/encrypt/my-key" { capabilities = ["update"] }
path "transit/decrypt/my-key" { capabilities = ["update"] }
"#;

/// What a store promises, as the README's table has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Of racing creates one succeeds, and no replace undoes what others do.
    All,
    /// The same, but a key that takes a deleted one's name may be taken for that one while values are replaced.
    ButAnew,
    /// Each of racing creates may succeed, and what is deleted while it is replaced may come back.
    Little,
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conforms("mem: {}", Promise::All).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files() {
    conforms("fs: {path: '{folder}/keys'}", Promise::All).await;
    let home = tempfile::tempdir().unwrap();
    let (keys, gone) = (home.path().join("keys"), home.path().join("gone"));
    let config = for_admin(&format!("fs: {{path: '{}'}}", keys.display()));
    let away = async || std::fs::rename(&keys, &gone).unwrap();
    let back = async || std::fs::rename(&gone, &keys).unwrap();
    troubles::away(&config, away, back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_files() {
    let home = tempfile::tempdir().unwrap();
    let keystore = format!("fs: {{path: '{}/keys'}}", home.path().display());
    conforms_sealed(&keystore, Promise::All).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_vault_kv1() {
    in_openbao_sealed("engine: kv, version: v1", Promise::Little).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_vault_kv2() {
    let settings = "engine: kv2, version: v2, transit: {key: my-key}";
    let Some(bao) = in_openbao_sealed(settings, Promise::ButAnew).await else {
        return;
    };
    // Nothing is left of what was replaced.
    for name in replaces::NAMES.map(|at| format!("moved-{at}")) {
        let (_, answer) = bao
            .call("GET", &format!("kv2/metadata/{name}"), &Value::Null)
            .await;
        let latest = answer["data"]["current_version"].as_u64().unwrap();
        assert!(latest > 2, "{answer}");
        let mut left = Vec::new();
        for number in 1..=latest {
            left.extend(replaces::version(&bao, &name, number).await);
        }
        assert_eq!(left.len(), 2, "{answer}");
        assert_eq!(left[0], left[1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_kv1() {
    in_openbao("engine: kv, version: v1", Promise::Little).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_kv2() {
    in_openbao(
        "engine: kv2, version: v2, prefix: some/where",
        Promise::ButAnew,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_kv1_with_transit() {
    let settings = "engine: kv, version: v1, transit: {key: my-key}";
    in_openbao(settings, Promise::Little).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_kv2_with_transit() {
    let settings = "engine: kv2, version: v2, transit: {key: my-key}";
    in_openbao(settings, Promise::ButAnew).await;
}

/// OpenBao, if it can be had.
pub fn program() -> Option<PathBuf> {
    openbao::program(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// A `keystore` that logs in to this OpenBao, with these settings.
pub async fn keystore(bao: &OpenBao, settings: &str) -> String {
    let role = bao.role("sealedge", POLICY, 3600).await;
    format!(
        "vault: {{endpoint: 'http://{}', approle: {{id: {}, secret: {}}}, {settings}}}",
        bao.address, role.id, role.secret
    )
}

async fn in_openbao(settings: &str, promise: Promise) {
    let Some(program) = program() else { return };
    let mut bao = OpenBao::start(&program).await;
    let keystore = keystore(&bao, settings).await;
    conforms(&keystore, promise).await;
    has_troubles(&mut bao, &for_admin(&keystore)).await;
}

/// That OpenBao as it was left.
async fn in_openbao_sealed(settings: &str, promise: Promise) -> Option<OpenBao> {
    let bao = OpenBao::start(&program()?).await;
    conforms_sealed(&keystore(&bao, settings).await, promise).await;
    Some(bao)
}

async fn has_troubles(bao: &mut OpenBao, config: &str) {
    let cell = tokio::sync::Mutex::new(bao);
    let away = async || cell.lock().await.kill();
    let back = async || cell.lock().await.restart().await;
    troubles::away(config, away, back).await;
    let bao = cell.into_inner();
    troubles::slow(config, bao).await;
    troubles::unauthorised(config, bao).await;
}

/// What every store does.
async fn conforms(keystore: &str, promise: Promise) {
    conforms_under(&for_admin(keystore), promise).await;
}

/// The same with a sealed store, and what it does while values are replaced.
async fn conforms_sealed(keystore: &str, promise: Promise) {
    let (node, other) = (identity(), identity());
    let of = |it| for_admin(keystore) + &section(it, &[&node, &other], "");
    conforms_under(&of(&node), promise).await;
    replaces::conforms(&[of(&node), of(&other)], promise).await;
}

async fn conforms_under(config: &str, promise: Promise) {
    let server = Server::start(Path::new(crate::SEALEDGE), "", config);
    let connect = async || Client::admin(&server.address).await;
    conforms_over(connect, promise != Promise::Little).await;
    assert!(!server.errors().contains(" error: "), "{}", server.errors());
}

/// The same over the connections of an admin. `is_atomic`: of racing creates one succeeds.
pub async fn conforms_over(connect: impl AsyncFn() -> Client, is_atomic: bool) {
    let mut client = connect().await;
    assert_eq!(
        client.call("GET", "/v1/ready", Value::Null).await.status,
        200
    );
    one_key(&mut client).await;
    race(&connect, is_atomic).await;
    many_keys(&connect, &mut client).await;
}

async fn one_key(client: &mut Client) {
    let absent = (404, "key does not exist".to_owned());
    let said = |answer: Answer| (answer.status, answer.message());
    let listed = client.call("GET", "/v1/key/list/*", Value::Null).await;
    assert_eq!(names(&listed), BTreeSet::new());
    for (method, path) in [
        ("GET", "/v1/key/describe/one"),
        ("PUT", "/v1/key/generate/one"),
        ("DELETE", "/v1/key/delete/one"),
    ] {
        let answer = client.call(method, path, Value::Null).await;
        assert_eq!(said(answer), absent, "{path}");
    }
    let create = client.call("PUT", "/v1/key/create/one", Value::Null).await;
    assert_eq!(create.status, 200, "{create:?}");
    let again = client.call("PUT", "/v1/key/create/one", Value::Null).await;
    assert_eq!(said(again), (400, "key already exists".to_owned()));
    let dek = client
        .call("PUT", "/v1/key/generate/one", Value::Null)
        .await;
    let ciphertext = json!({"ciphertext": dek.json()["ciphertext"]});
    let opened = client
        .call("PUT", "/v1/key/decrypt/one", ciphertext.clone())
        .await;
    assert_eq!(opened.json()["plaintext"], dek.json()["plaintext"]);
    let deleted = client
        .call("DELETE", "/v1/key/delete/one", Value::Null)
        .await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    let gone = client
        .call("PUT", "/v1/key/decrypt/one", ciphertext.clone())
        .await;
    assert_eq!(said(gone), absent);
    // Another key takes the name, and does not open what the first one sealed.
    let create = client.call("PUT", "/v1/key/create/one", Value::Null).await;
    assert_eq!(create.status, 200, "{create:?}");
    let refused = client.call("PUT", "/v1/key/decrypt/one", ciphertext).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    client
        .call("DELETE", "/v1/key/delete/one", Value::Null)
        .await;
}

/// Twenty clients create the same key at once. `is_atomic`: exactly one succeeds.
async fn race(connect: &impl AsyncFn() -> Client, is_atomic: bool) {
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(connect().await);
    }
    let tasks = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let answer = client.call("PUT", "/v1/key/create/race", Value::Null).await;
            (answer.status, client)
        })
    });
    let mut winners = 0;
    for task in tasks.collect::<Vec<_>>() {
        let (status, _) = task.await.unwrap();
        assert!(matches!(status, 200 | 400), "{status}");
        winners += usize::from(status == 200);
    }
    assert!(winners == 1 || winners > 1 && !is_atomic, "{winners}");
    let mut client = connect().await;
    let dek = client
        .call("PUT", "/v1/key/generate/race", Value::Null)
        .await;
    assert_eq!(dek.status, 200, "{dek:?}");
    client
        .call("DELETE", "/v1/key/delete/race", Value::Null)
        .await;
}

/// Creates many keys, and lists them in pages and by prefix.
async fn many_keys(connect: &impl AsyncFn() -> Client, client: &mut Client) {
    let expected: BTreeSet<String> = (0..MANY).map(|at| format!("many-{at}")).collect();
    let names_of_each = |part: usize| {
        let part = expected.iter().skip(part).step_by(8).cloned();
        part.collect::<Vec<_>>()
    };
    let mut tasks = Vec::new();
    for part in 0..8 {
        let mut client = connect().await;
        let names = names_of_each(part);
        tasks.push(tokio::spawn(async move {
            for name in names {
                let path = format!("/v1/key/create/{name}");
                let answer = client.call("PUT", &path, Value::Null).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(all(client, "*").await, expected);
    let some = expected.iter().filter(|name| name.starts_with("many-11"));
    assert_eq!(all(client, "many-11*").await, some.cloned().collect());
    assert_eq!(all(client, "other*").await, BTreeSet::new());
}

/// All names that match, page by page.
async fn all(client: &mut Client, pattern: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut pattern = pattern.to_owned();
    loop {
        let page = client
            .call("GET", &format!("/v1/key/list/{pattern}"), Value::Null)
            .await;
        assert_eq!(page.status, 200, "{page:?}");
        for name in names(&page) {
            assert!(all.insert(name), "a name comes twice");
        }
        match page.json()["continue_at"].as_str() {
            None | Some("") => return all,
            Some(next) => pattern = next.to_owned(),
        }
    }
}

fn names(page: &Answer) -> BTreeSet<String> {
    serde_json::from_value(page.json()["names"].clone()).unwrap_or_default()
}
