//! The harness that is Fermyon Spin to a component does what was measured on the real one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sealedge_tests::spin::hosts::Hosts;
use sealedge_tests::spin::manifest::Resolved;
use sealedge_tests::spin::{Failure, KeyValue, Redis, RedisServer, Sqlite, Store, Swap};

const MANIFEST: &str = r#"
spin_manifest_version = 2

[application]
name = "sealedge"

[variables]
greeting = { default = "hello" }
secret_key = { required = true, secret = true }
vault = { default = "https://127.0.0.1:8200" }

[[trigger.http]]
route = "/..."
component = "kms"

[component.kms]
source = "built/kms.wasm"
key_value_stores = ["default"]
allowed_outbound_hosts = ["{{ vault }}", "https://*.example.com"]

[component.kms.variables]
said = "{{greeting}}, {{ secret_key }}!"

[component.kms.build]
command = "cargo build --release"
"#;

fn resolve(manifest: &str, set: &[(&str, &str)]) -> Result<Resolved, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let set: BTreeMap<_, _> = set.iter().map(own).collect();
    Resolved::parse(manifest, Path::new("/app"), &set)
}

#[test]
fn a_manifest_is_resolved_under_its_variables() {
    let resolved = resolve(MANIFEST, &[("secret_key", "s"), ("unknown", "x")]).unwrap();
    let build = resolved.build.unwrap();
    assert_eq!(build, ("cargo build --release".into(), "/app".into()));
    assert_eq!(resolved.source, Path::new("/app/built/kms.wasm"));
    let said = BTreeMap::from([("said".to_owned(), "hello, s!".to_owned())]);
    assert_eq!(resolved.variables, said);
    let hosts = resolved.hosts.unwrap();
    assert!(hosts.allow("https", "127.0.0.1", Some(8200)));
    assert!(!hosts.allow("http", "127.0.0.1", Some(8200)));
}

#[test]
fn what_spin_does_not_start_for_is_named() {
    for (from, to, why) in [
        ("", "", "the required variable \"secret_key\" is not set"),
        (
            "required = true, ",
            "",
            "must be required, or have a default",
        ),
        ("secret_key = {", "Secret = {", "\"Secret\""),
        ("secret = true", "secrete = true", "secrete"),
        (
            "{{greeting}}",
            "{{greetings}}",
            "there is no variable \"greetings\"",
        ),
        ("{{ secret_key }}", "{{ secret_key", "has no end"),
        ("https://*.", "*.", "there is no scheme"),
        ("_version = 2", "_version = 3", "is not 2"),
        (
            "component = \"kms\"",
            "component = \"it\"",
            "there is no component \"it\"",
        ),
    ] {
        let set = [("secret_key", "s")];
        let set = if from.is_empty() { &[][..] } else { &set };
        assert!(MANIFEST.contains(from));
        let said = resolve(&MANIFEST.replacen(from, to, 1), set).unwrap_err();
        assert!(said.contains(why), "{from:?}, {to:?}: {said}");
    }
    // One that is none only under the variables: nothing is denied before a request is sent.
    let late = resolve(MANIFEST, &[("secret_key", "s"), ("vault", "")]).unwrap();
    assert!(late.hosts.unwrap_err().contains("there is no scheme"));
}

#[test]
fn variables_are_those_of_env_and_what_a_test_gives_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let manifest = file("spin.toml", MANIFEST);
    let env = file(
        ".env",
        "# a comment\nSPIN_VARIABLE_GREETING=bye\nSPIN_VARIABLE_SECRET_KEY='two\nlines'\nGREETING=no\n",
    );
    let read = |env: Option<&Path>, given: &[(&str, &str)]| {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Resolved::read(&manifest, env, &given.iter().map(own).collect())
    };
    let said = |resolved: Resolved| resolved.variables["said"].clone();
    assert_eq!(said(read(Some(&env), &[]).unwrap()), "bye, two\nlines!");
    let given = [("greeting", "")];
    assert_eq!(said(read(Some(&env), &given).unwrap()), ", two\nlines!");
    assert!(read(None, &[]).unwrap_err().contains("secret_key"));
    assert!(read(Some(&folder.path().join("none")), &given).is_err());
}

#[test]
fn requests_go_only_where_the_manifest_says() {
    let hosts = |entries: &[&str]| {
        let entries: Vec<_> = entries.iter().map(|it| (*it).to_owned()).collect();
        Hosts::parse(&entries)
    };
    let some = hosts(&[
        "https://one.example",
        "*://*.two.example:*",
        "http://10.0.0.0/8:80..82",
    ]);
    let some = some.unwrap();
    for (scheme, host, port, is_allowed) in [
        ("https", "one.example", None, true),
        ("https", "one.example", Some(443), true),
        ("https", "one.example", Some(444), false),
        ("http", "one.example", None, false),
        ("http", "a.two.example", Some(7), true),
        ("http", "two.example", Some(7), false),
        ("http", "10.1.2.3", Some(81), true),
        ("http", "10.1.2.3", Some(82), false),
        ("http", "11.1.2.3", Some(81), false),
        ("ftp", "one.example", None, false),
    ] {
        let allowed = some.allow(scheme, host, port);
        assert_eq!(allowed, is_allowed, "{scheme}://{host}:{port:?}");
    }
    assert!(!hosts(&[]).unwrap().allow("https", "one.example", None));
    assert!(hosts(&["*://*:*"]).unwrap().allow("http", "anywhere", None));
    for wrong in [
        "one.example",
        "https://one.example:443/path",
        "https://o*e",
        "x://one",
        "https://one:x",
    ] {
        assert!(hosts(&[wrong]).is_err(), "{wrong}");
    }
}

fn sqlite() -> Store {
    Store::Sqlite(Sqlite::open(None).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_is_not_listed_is_denied() {
    let stores = KeyValue::new(sqlite(), ["default".to_owned()].into());
    assert_eq!(stores.open("default"), Ok(()));
    assert_eq!(stores.open("other"), Err(Failure::AccessDenied));
}

/// What any store does.
async fn behaves(store: &Store) {
    let (label, bytes) = ("default", b"\x00\xffvalue".to_vec());
    assert_eq!(store.get(label, "a").await, Ok(None));
    assert_eq!(store.delete(label, "a").await, Ok(()));
    store.set(label, "a", b"old").await.unwrap();
    store.set(label, "a", &bytes).await.unwrap();
    assert_eq!(store.get(label, "a").await, Ok(Some(bytes.clone())));
    assert_eq!(store.exists(label, "a").await, Ok(true));
    assert_eq!(store.exists(label, "b").await, Ok(false));
    let more = [("b".to_owned(), bytes.clone()), ("c".to_owned(), vec![])];
    store.set_many(label, &more).await.unwrap();
    let mut keys = store.keys(label).await.unwrap();
    keys.sort();
    assert_eq!(keys, ["a", "b", "c"]);
    let gone = ["a".to_owned(), "b".to_owned(), "d".to_owned()];
    store.delete_many(label, &gone).await.unwrap();
    assert_eq!(store.keys(label).await.unwrap(), ["c"]);
    assert_eq!(store.increment(label, "n", 5).await, Ok(5));
    assert_eq!(store.increment(label, "n", -7).await, Ok(-2));
}

/// What two get who swap what they have read at the same time, one after the other.
async fn race(store: &Store, key: &str) -> [bool; 2] {
    let one = store.new_cas("default", key).await.unwrap();
    let two = store.new_cas("default", key).await.unwrap();
    store.current(&one).await.unwrap();
    store.current(&two).await.unwrap();
    let first = store.swap(one, b"one").await.unwrap();
    let second = store.swap(two, b"two").await.unwrap();
    [first, second].map(|it| matches!(it, Swap::Done))
}

#[tokio::test]
async fn sqlite_behaves_as_spins_does() {
    let store = sqlite();
    behaves(&store).await;
    assert_eq!(
        store.get("default", "n").await,
        Ok(Some((-2_i64).to_le_bytes().to_vec()))
    );
    // What is not there is not in the answer.
    let keys = vec!["c".to_owned(), "d".to_owned()];
    let many = store.get_many("default", keys).await;
    assert_eq!(many, Ok(vec![("c".to_owned(), Some(vec![]))]));
    // Labels have keys of their own.
    assert_eq!(store.get("other", "c").await, Ok(None));
}

#[tokio::test]
async fn a_swap_of_what_is_not_there_has_two_winners_in_sqlite() {
    let store = sqlite();
    assert_eq!(race(&store, "new").await, [true, true]);
    assert_eq!(store.get("default", "new").await, Ok(Some(b"two".to_vec())));
    assert_eq!(race(&store, "new").await, [true, false]);
    assert_eq!(store.get("default", "new").await, Ok(Some(b"one".to_vec())));
}

#[tokio::test]
async fn an_increment_of_no_number_ends_sqlite_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let open = || Store::Sqlite(Sqlite::open(Some(&file)).unwrap());
    let store = open();
    store.set("default", "text", b"seven").await.unwrap();
    let is_trap = |failure: Failure| matches!(failure, Failure::Trap(_));
    let ended = store.increment("default", "text", 1).await;
    assert!(is_trap(ended.unwrap_err()));
    assert!(is_trap(store.get("default", "text").await.unwrap_err()));
    assert!(is_trap(store.set("other", "a", b"b").await.unwrap_err()));
    // Until the app is started anew.
    let text = open().get("default", "text").await;
    assert_eq!(text, Ok(Some(b"seven".to_vec())));
}

#[tokio::test]
async fn increments_are_never_told_twice() {
    let store = std::sync::Arc::new(sqlite());
    let adding = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.increment("default", "n", 1).await.unwrap() })
    });
    let mut numbers = Vec::new();
    for added in adding.collect::<Vec<_>>() {
        numbers.push(added.await.unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn redis_behaves_as_spins_does() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let store = Store::Redis(Redis::new(&server.address).unwrap());
    behaves(&store).await;
    assert_eq!(store.get("default", "n").await, Ok(Some(b"-2".to_vec())));
    // No number: an error, and nothing worse.
    store.set("default", "text", b"seven").await.unwrap();
    let refused = store.increment("default", "text", 1).await;
    assert!(matches!(refused, Err(Failure::Other(_))), "{refused:?}");
    // All labels share it.
    let text = store.get("other", "text").await;
    assert_eq!(text, Ok(Some(b"seven".to_vec())));
    // Spin asks for many values in a way that Redis does not know.
    let keys = vec!["text".to_owned(), "n".to_owned()];
    assert!(store.get_many("default", keys).await.is_err());
    // A swap fails, but the first one is done.
    assert_eq!(race(&store, "new").await, [false, false]);
    assert_eq!(store.get("default", "new").await, Ok(Some(b"one".to_vec())));
}
