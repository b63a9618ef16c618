//! `seal rewrap`: keys are sealed where they are, for other recipients, and after any number of kills.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sealedge_core::crypto::RustCrypto;
use sealedge_core::key::Key;
use sealedge_core::name::Name;
use sealedge_core::seal::{self, NodeIdentity};
use sealedge_tests::client::{Client, for_admin};
use sealedge_tests::openbao::OpenBao;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::processes::{copy_vectors, serves_vectors};
use super::replaces::version;
use super::sealing::{identity, section};
use super::stores::{POLICY, keystore, program};

/// Files below a folder: `config.yml`, and `keys` where the key store is made of files.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn keys(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    /// Files in `keys`.
    fn files(&self, seal: &str) -> String {
        for_admin(&format!("fs: {{path: '{}'}}", self.keys().display())) + seal
    }

    /// Writes this configuration: the command that seals by it.
    pub fn command(&self, config: &str, arguments: &[&str]) -> Command {
        Server::command(Path::new(crate::SEALEDGE), self.0.path(), "", config);
        let mut command = Command::new(crate::SEALEDGE);
        command
            .args(["seal", "rewrap", "--json", "--config"])
            .arg(self.0.path().join("config.yml"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Seals: what is said of it.
    fn rewrap(&self, config: &str, arguments: &[&str]) -> Value {
        let ended = self.command(config, arguments).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        assert!(ended.stderr.is_empty(), "{ended:?}");
        let mut counts: Value = serde_json::from_slice(&ended.stdout).unwrap();
        let is_dry = counts.as_object_mut().unwrap().remove("dry_run");
        assert_eq!(is_dry, Some(json!(arguments.contains(&"--dry-run"))));
        counts
    }

    /// What is stored, by name.
    fn stored(&self) -> BTreeMap<String, String> {
        let files = fs::read_dir(self.keys()).unwrap();
        let files = files.map(|file| file.unwrap().path());
        // A temporary one may be gone already.
        let read = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, fs::read_to_string(path).ok()?))
        };
        files.filter_map(read).collect()
    }
}

/// For keys that are not sealed yet.
const UNSEALED: &str = ", accept_unsealed: on";

fn counts(total: u32, sealed: u32, resealed: u32, unchanged: u32) -> Value {
    json!({"total": total, "sealed": sealed, "resealed": resealed, "unchanged": unchanged, "failed": 0})
}

pub fn start(config: &str) -> Server {
    Server::start(Path::new(crate::SEALEDGE), "", config)
}

fn is_sealed(value: &str) -> bool {
    value.starts_with("sealedge:v1:")
}

/// Its lines of JSON on standard error.
fn errors(ended: &Output) -> Vec<Value> {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = str::from_utf8(&ended.stderr).unwrap();
    assert!(!said.contains("IDENTITY-1Q"), "{said}");
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn call(server: &Server, path: &str, body: Value) -> (u16, Value) {
    let mut client = Client::admin(&server.address).await;
    let answer = client.call("PUT", path, body).await;
    (answer.status, answer.json())
}

/// Creates keys: a DEK of each, by name.
pub async fn created(server: &Server, names: &[&str]) -> BTreeMap<String, Value> {
    let mut client = Client::admin(&server.address).await;
    let mut deks = BTreeMap::new();
    for name in names {
        let create = format!("/v1/key/create/{name}");
        assert_eq!(client.call("PUT", &create, Value::Null).await.status, 200);
        deks.insert((*name).to_owned(), dek(server, name).await);
    }
    deks
}

pub async fn dek(server: &Server, name: &str) -> Value {
    let path = format!("/v1/key/generate/{name}");
    let (status, dek) = call(server, &path, Value::Null).await;
    assert_eq!(status, 200, "{dek}");
    dek
}

/// Those DEKs open still.
pub async fn opens(server: &Server, deks: &BTreeMap<String, Value>) {
    for (name, dek) in deks {
        let body = json!({"ciphertext": dek["ciphertext"]});
        let opened = call(server, &format!("/v1/key/decrypt/{name}"), body).await;
        assert_eq!(opened, (200, json!({"plaintext": dek["plaintext"]})));
    }
}

#[tokio::test]
async fn keys_of_kes_are_sealed_where_they_are() {
    let (node, other) = (identity(), identity());
    let recipients = [&node, &other];
    let place = Place::new();
    copy_vectors(&place.keys());
    let before = place.stored();
    let config = place.files(&section(&node, &recipients, ""));
    // What is not sealed is not made genuine by it, unless that is wanted.
    let refused = place.command(&config, &[]).output().unwrap();
    assert_eq!(errors(&refused).len(), 5);
    assert_eq!(place.stored(), before, "nothing is written");
    // One that runs meanwhile.
    let accepting = place.files(&section(&node, &recipients, UNSEALED));
    let server = start(&accepting);
    serves_vectors(&server).await;

    assert_eq!(place.rewrap(&accepting, &["--dry-run"]), counts(5, 5, 0, 0));
    assert_eq!(place.stored(), before, "nothing is written");

    assert_eq!(place.rewrap(&accepting, &[]), counts(5, 5, 0, 0));
    let sealed = place.stored();
    assert!(sealed.keys().eq(before.keys()) && sealed.values().all(|value| is_sealed(value)));
    serves_vectors(&server).await;
    serves_vectors(&start(&config)).await;
    let seal = section(&other, &recipients, "");
    serves_vectors(&start(&place.files(&seal))).await;

    assert_eq!(place.rewrap(&config, &[]), counts(5, 0, 0, 5));
    assert_eq!(place.stored(), sealed, "what is as wanted is left alone");
}

#[tokio::test]
async fn a_node_that_is_no_recipient_any_more_is_refused() {
    let (one, two) = (identity(), identity());
    let place = Place::new();
    let both = place.files(&section(&two, &[&one, &two], ""));
    let deks = created(&start(&both), &["k-1", "k-2", "other"]).await;
    let signers = format!(", signers: [{}, {}]", one.recipient(), two.recipient());
    let alone = place.files(&section(&one, &[&one], &signers));

    assert_eq!(place.rewrap(&alone, &["k-2"]), counts(1, 0, 1, 0));
    assert_eq!(
        place.rewrap(&alone, &["k*", "--dry-run"]),
        counts(2, 0, 1, 1)
    );
    assert_eq!(place.rewrap(&alone, &["k-*"]), counts(2, 0, 1, 1));
    assert_eq!(place.rewrap(&alone, &[]), counts(3, 0, 1, 2));
    let server = start(&place.files(&section(&one, &[&one], "")));
    opens(&server, &deks).await;
    let removed = start(&both);
    for name in deks.keys() {
        let path = format!("/v1/key/generate/{name}");
        assert_eq!(call(&removed, &path, Value::Null).await.0, 502);
    }
    removed.wait_for_error("is not sealed for this node");

    // With new content keys, once.
    let before = place.stored();
    let now = jiff::Timestamp::now().to_string();
    let since = ["--before", now.as_str()];
    assert_eq!(place.rewrap(&alone, &since), counts(3, 0, 3, 0));
    assert!(
        place
            .stored()
            .iter()
            .all(|(name, new)| before[name] != *new)
    );
    assert_eq!(place.rewrap(&alone, &since), counts(3, 0, 0, 3));
    assert_eq!(
        place.rewrap(&alone, &["--before", "now"]),
        counts(3, 0, 3, 0)
    );
    opens(&server, &deks).await;
    opens(&start(&alone), &deks).await;
}

/// Keys that are not sealed: what is stored, by name.
fn make_keys(folder: &Path, count: usize) -> BTreeMap<String, String> {
    fs::create_dir(folder).unwrap();
    let key = |at| {
        let random = &mut |bytes: &mut [u8]| fastrand::fill(bytes);
        let key = Key::create(random, jiff::Timestamp::now(), None);
        let (name, value) = (format!("key-{at:04}"), key.to_stored().to_string());
        fs::write(folder.join(&name), &value).unwrap();
        (name, value)
    };
    (0..count).map(key).collect()
}

#[test]
fn killed_again_and_again_it_loses_nothing_and_goes_on() {
    const KEYS: usize = 2000;
    let node = identity();
    let place = Place::new();
    let keys = make_keys(&place.keys(), KEYS);
    let config = place.files(&section(&node, &[&node], UNSEALED));
    let (mut sealed, mut kills) = (0, 0);
    while kills < 10 && sealed < KEYS {
        let mut command = place.command(&config, &[]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let is_done =
            |(name, value): &(String, String)| keys.contains_key(name) && is_sealed(value);
        while place.stored().into_iter().filter(is_done).count() == sealed {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        }
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..10_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let next = count_sealed(&place, &node, &keys);
        assert!(next > sealed, "{sealed}, then {next}");
        sealed = next;
        kills += 1;
    }
    assert!(kills > 3, "on this machine all is done after {kills} kills");
    let (all, sealed) = (KEYS as u32, sealed as u32);
    assert_eq!(
        place.rewrap(&config, &[]),
        counts(all, all - sealed, 0, sealed),
        "what was done is not done again"
    );
    assert_eq!(count_sealed(&place, &node, &keys), KEYS);
    assert!(
        place.stored().keys().eq(keys.keys()),
        "nothing is left over"
    );
}

/// How many keys are sealed. Each is there, and is what it was.
fn count_sealed(place: &Place, node: &NodeIdentity, keys: &BTreeMap<String, String>) -> usize {
    let signers = [node.recipient().clone()];
    let mut sealed = 0;
    for (name, value) in keys {
        let stored = fs::read_to_string(place.keys().join(name)).unwrap();
        if stored == *value {
            continue;
        }
        let name = Name::new(name).unwrap();
        let opened = seal::open(&RustCrypto, stored.as_bytes(), &name, node, &signers);
        assert_eq!(*opened.unwrap().plaintext, value.as_bytes(), "{name}");
        sealed += 1;
    }
    sealed
}

#[test]
fn what_can_not_be_sealed_is_named_and_the_rest_is_sealed() {
    let (node, stranger) = (identity(), identity());
    let place = Place::new();
    let others = Place::new();
    make_keys(&others.keys(), 2);
    let strangers = section(&stranger, &[&stranger], UNSEALED);
    others.rewrap(&others.files(&strangers), &[]);
    make_keys(&place.keys(), 40);
    let planted = place.keys().join("key-0001");
    fs::copy(others.keys().join("key-0001"), &planted).unwrap();
    fs::write(place.keys().join("damaged"), "no key").unwrap();
    let before = place.stored();

    let config = place.files(&section(&node, &[&node], UNSEALED));
    let ended = place.command(&config, &[]).output().unwrap();
    let mut errors = errors(&ended);
    errors.sort_by_key(|error| error["name"].to_string());
    let said = |at: usize, text: &str| errors[at]["message"].as_str().unwrap().contains(text);
    assert_eq!((&errors[0]["name"], errors.len()), (&json!("damaged"), 2));
    assert!(said(0, "it is not base64"), "{errors:?}");
    assert_eq!(errors[1]["name"], "key-0001");
    assert!(said(1, "who is no allowed signer"), "{errors:?}");
    let counts: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(
        counts,
        json!({"total": 41, "sealed": 39, "resealed": 0, "unchanged": 0, "failed": 2, "dry_run": false})
    );
    let after = place.stored();
    for left in ["damaged", "key-0001"] {
        assert_eq!(after[left], before[left]);
    }
}

#[test]
fn what_can_not_begin_writes_nothing() {
    let (node, other) = (identity(), identity());
    let place = Place::new();
    let keys = make_keys(&place.keys(), 1);
    let signers = format!(", signers: [{}]", other.recipient());
    let seal = section(&node, &[&node], "");
    let away = "vault: {endpoint: 'http://127.0.0.1:1', approle: {id: a, secret: b}}";
    let nowhere = format!("fs: {{path: '{}/nowhere'}}", place.0.path().display());
    for (config, why) in [
        (place.files(""), "has no section `seal`"),
        (
            place.files(&section(&node, &[&other], "")),
            "is not among `seal.recipients`",
        ),
        (
            place.files(&section(&node, &[&node], &signers)),
            "is not among `seal.signers`",
        ),
        (for_admin("mem: {}") + &seal, "memory"),
        (for_admin(&nowhere) + &seal, "mount or restore"),
        (for_admin(away) + &seal, "is not reachable"),
        (place.files("seal: {}"), "seal.recipients"),
    ] {
        let ended = place.command(&config, &[]).output().unwrap();
        let errors = errors(&ended);
        let last = errors.last().unwrap()["message"].as_str().unwrap();
        assert!(last.contains(why), "{last}");
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
    assert!(!place.0.path().join("nowhere").exists());
    assert_eq!(place.stored(), keys);
    let absent = place.command(&place.files(&seal), &["absent"]).output();
    let errors = errors(&absent.unwrap());
    assert_eq!(
        errors,
        [json!({"message": "`absent`: the key does not exist", "name": "absent"})]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_kv2_nothing_is_left_of_what_was_sealed() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    let store = for_admin(&keystore(&bao, "engine: kv2, version: v2").await);
    let names: Vec<_> = (0..40).map(|at| format!("k-{at}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let deks = created(&start(&store), &names).await;
    let (one, two) = (identity(), identity());
    let place = Place::new();

    let seal = store.clone() + &section(&one, &[&one, &two], UNSEALED);
    assert_eq!(place.rewrap(&seal, &["--dry-run"]), counts(40, 40, 0, 0));
    for name in &names {
        assert_eq!(version(&bao, name, 2).await, None);
    }
    // The policy has to suffice, else nothing is written.
    let policy = POLICY.replace(r#", "read", "patch""#, "");
    bao.put("sys/policies/acl/sealedge", &json!({"policy": policy}))
        .await;
    let refused = place.command(&seal, &["k-1"]).output().unwrap();
    let why = errors(&refused)[0]["message"].to_string();
    assert!(
        why.contains("the policy has to allow `read` and `patch` on the metadata"),
        "{why}"
    );
    assert_eq!(version(&bao, "k-1", 2).await, None);
    bao.put("sys/policies/acl/sealedge", &json!({"policy": POLICY}))
        .await;
    assert_eq!(place.rewrap(&seal, &[]), counts(40, 40, 0, 0));
    opens(&start(&seal), &deks).await;
    let alone = store.clone() + &section(&one, &[&one], "");
    assert_eq!(place.rewrap(&alone, &[]), counts(40, 0, 40, 0));
    opens(&start(&alone), &deks).await;
    for name in &names {
        assert_eq!(version(&bao, name, 1).await, None, "{name}");
        for gone in 1..4 {
            assert_eq!(version(&bao, name, gone).await, None, "{name}");
        }
        let sealed = version(&bao, name, 5).await;
        assert!(is_sealed(sealed.as_ref().unwrap()), "{name}");
        assert_eq!(version(&bao, name, 4).await, sealed);
    }
    // A replace that was interrupted before nothing was left of what it replaced.
    let sealed = version(&bao, "k-7", 5).await.unwrap();
    bao.put("kv2/data/k-7", &json!({"data": {"k-7": "not sealed"}}))
        .await;
    bao.put("kv2/data/k-7", &json!({"data": {"k-7": sealed}}))
        .await;
    assert!(version(&bao, "k-7", 6).await.is_some());
    assert_eq!(place.rewrap(&alone, &["k-7"]), counts(1, 0, 0, 1));
    assert_eq!(version(&bao, "k-7", 6).await, None);
    assert_eq!(version(&bao, "k-7", 8).await, Some(sealed));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_kv1_keys_are_sealed_too_and_an_outage_ends_it() {
    let Some(program) = program() else { return };
    let mut bao = OpenBao::start(&program).await;
    let store = for_admin(&keystore(&bao, "engine: kv, version: v1, transit: {key: my-key}").await);
    let deks = created(&start(&store), &["k-1", "k-2", "k-3"]).await;
    let node = identity();
    let place = Place::new();
    let seal = store + &section(&node, &[&node], UNSEALED);
    assert_eq!(place.rewrap(&seal, &["k-1"]), counts(1, 1, 0, 0));
    assert_eq!(place.rewrap(&seal, &[]), counts(3, 2, 0, 1));
    opens(&start(&seal), &deks).await;
    // Where there is nothing, the place may be a wrong one.
    let elsewhere = seal.replace("engine: kv,", "engine: kv, prefix: elsewhere,");
    let ended = place.command(&elsewhere, &["--dry-run"]).output().unwrap();
    let said = errors(&ended)[0]["message"].to_string();
    let there = format!(
        "http://{}, engine kv (v1), prefix elsewhere, transit key",
        bao.address
    );
    assert!(
        said.contains("there are no keys in") && said.contains(&there),
        "{said}"
    );
    let found: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(
        (&found["total"], &found["dry_run"]),
        (&json!(0), &json!(true))
    );
    bao.kill();
    let ended = place.command(&seal, &["k-1"]).output().unwrap();
    let errors = errors(&ended);
    let last = errors.last().unwrap();
    assert_eq!(last["name"], "k-1");
    assert!(
        last["message"]
            .as_str()
            .unwrap()
            .contains("is not reachable"),
        "{errors:?}"
    );
}
