//! Replaces, and deletes whose answers are lost.

use super::server::{Fate, Server, store};
use super::*;
use crate::store::remote::fake::{Fake, Reply};

const V2: EngineVersion = EngineVersion::V2;

fn texts<const N: usize>(texts: [Option<&str>; N]) -> [Option<String>; N] {
    texts.map(|text| text.map(ToOwned::to_owned))
}

fn denied() -> Fate {
    Fate::Replaced(Reply::json(403, r#"{"errors":["permission denied"]}"#))
}

/// A store that is logged in, with a key `a` of these versions.
fn with(versions: &[&str]) -> (Rc<Vault<Fake>>, Fake, Server, Version) {
    let (store, fake, server) = store(V2);
    server.put("a", versions);
    let version = fake.run(store.read(&name("a"))).unwrap().version;
    fake.requests();
    (store, fake, server, version)
}

#[test]
fn a_replace_leaves_nothing_of_what_it_replaces() {
    let (store, fake, server, version) = with(&["one", "two"]);
    let a = name("a");
    fake.run(async {
        assert_eq!(store.replace(&a, b"three", &version).await, Ok(()));
        assert_eq!(store.get(&a).await.unwrap().as_slice(), b"three");
        let again = store.replace(&a, b"four", &version).await;
        assert_eq!(again, Err(StoreError::Changed));
        let kept = texts([None, None, Some("three"), Some("three")]);
        assert_eq!(server.versions("a"), kept);
        let there = store.read(&a).await.unwrap();
        assert_eq!(store.replace(&a, b"four", &there.version).await, Ok(()));
        assert_eq!(store.delete(&a).await, Ok(()));
        for version in [version, there.version] {
            let gone = store.replace(&a, b"five", &version).await;
            assert_eq!(gone, Err(StoreError::NotFound));
            assert_eq!(server.versions("a"), []);
            // The same number, another key.
            server.put("a", &["new", "two", "three", "four"][..]);
            let other = store.replace(&a, b"five", &version).await;
            assert_eq!(other, Err(StoreError::Changed));
            store.delete(&a).await.unwrap();
        }
    });
}

#[test]
fn nothing_is_left_where_the_engine_keeps_more_versions() {
    for own in [0, 1, 3, 20] {
        let (store, fake, server, version) = with(&["one", "two"]);
        server.0.borrow_mut().engine.max_versions = own;
        assert_eq!(
            fake.run(store.replace(&name("a"), b"three", &version)),
            Ok(())
        );
        let versions = server.versions("a");
        let left = |text: &&Option<String>| text.as_deref().is_some_and(|text| text != "three");
        assert_eq!(versions.iter().find(left), None, "{versions:?}");
        assert_eq!(versions.len(), 2 + own.max(2));
    }
    // Too many.
    let (store, fake, server, version) = with(&["one"]);
    server.0.borrow_mut().engine.max_versions = 1000;
    let why = "'a' has its new value, but earlier versions may still be in Vault: `max_versions` of the \
               secrets engine is too great";
    let replaced = fake.run(store.replace(&name("a"), b"two", &version));
    assert_eq!(replaced, Err(StoreError::Failed(why.into())));
    assert_eq!(fake.run(store.get(&name("a"))).unwrap().as_slice(), b"two");
}

#[test]
fn a_policy_that_does_not_suffice_is_said_before_anything_is_written() {
    for (at, request) in [(1, "PATCH"), (2, "GET")] {
        let (store, fake, server, version) = with(&["one"]);
        server.next((0..at).map(|_| Fate::Answered));
        // Once more after a new login.
        server.next([denied(), Fate::Answered, denied()]);
        let why = format!(
            "{request} https://vault:8200/v1/kv/metadata/a: status 403: permission denied; to replace \
             values, the policy has to allow `read` and `patch` on the metadata"
        );
        let replaced = fake.run(store.replace(&name("a"), b"two", &version));
        assert_eq!(replaced, Err(StoreError::Failed(why)));
        assert_eq!(server.versions("a"), texts([Some("one")]));
    }
}

#[test]
fn a_replace_that_was_interrupted_is_finished() {
    // Before its first write, after it, and after the second.
    for requests in 3..7 {
        let (store, fake, server, version) = with(&["one"]);
        let a = name("a");
        server.next((0..requests).map(|_| Fate::Answered));
        server.next((0..9).map(|_| Fate::Replaced(Reply::refused())));
        let replaced = fake.run(store.replace(&a, b"two", &version));
        assert!(
            matches!(replaced, Err(StoreError::Unreachable(_))),
            "{replaced:?}"
        );
        server.0.borrow_mut().next.clear();
        let there = fake.run(store.read(&a)).unwrap();
        assert_eq!(fake.run(store.tidy(&a, &there.version)), Ok(()));
        let expected = match requests {
            3 => texts([Some("one")]).to_vec(),
            _ => texts([None, Some("two"), Some("two")]).to_vec(),
        };
        assert_eq!(server.versions("a"), expected, "{requests}");
        // What is as it should be is left so.
        fake.run(store.read(&a)).unwrap();
        let there = fake.run(store.read(&a)).unwrap();
        assert_eq!(fake.run(store.tidy(&a, &there.version)), Ok(()));
        assert_eq!(server.versions("a"), expected);
    }
    // An earlier version that was deleted softly may come back, and one that is far back is seen too.
    for versions in [
        &[None, Some("two")] as &[_],
        &[Some("one"), Some("two"), Some("two"), Some("two")],
    ] {
        let (store, fake, server, _) = with(&["one"]);
        server.0.borrow_mut().engine.put("a", versions);
        let there = fake.run(store.read(&name("a"))).unwrap();
        assert_eq!(fake.run(store.tidy(&name("a"), &there.version)), Ok(()));
        let left = server.versions("a");
        assert!(!left.contains(&Some("one".into())), "{left:?}");
        assert_eq!(left.iter().flatten().count(), 2);
        assert!(left.len() > versions.len());
    }
}

#[test]
fn of_a_first_version_nothing_is_asked() {
    let (store, fake, _, version) = with(&["one"]);
    assert_eq!(fake.run(store.tidy(&name("a"), &version)), Ok(()));
    assert_eq!(fake.requests(), [""; 0]);
}

#[test]
fn a_value_that_was_brought_from_elsewhere_is_what_there_is() {
    let (store, fake, server, version) = with(&["one"]);
    let a = name("a");
    assert_eq!(fake.run(store.replace(&a, b"two", &version)), Ok(()));
    // It has another key's time, and nothing is before it.
    server.0.borrow_mut().engine.bring("a", "a");
    let there = fake.run(store.read(&a)).unwrap();
    assert_eq!(there.value.as_slice(), b"two");
    assert_eq!(
        fake.run(store.replace(&a, b"three", &there.version)),
        Ok(())
    );
    assert_eq!(
        server.versions("a"),
        texts([None, Some("three"), Some("three")])
    );
}

#[test]
fn a_replace_without_versions_compares_texts() {
    let (store, fake, server) = store(EngineVersion::V1);
    server.put("a", &["one"]);
    let a = name("a");
    fake.run(async {
        let there = store.read(&a).await.unwrap();
        assert_eq!(store.replace(&a, b"two", &there.version).await, Ok(()));
        let again = store.replace(&a, b"three", &there.version).await;
        assert_eq!(again, Err(StoreError::Changed));
    });
    assert_eq!(server.versions("a"), texts([Some("two")]));
}

/// A delete whose answer is lost. `meanwhile` is what others do until it looks again, and `is_done` whether it
/// was done: what comes of it, and how many deletes were sent.
fn delete(
    version: EngineVersion,
    is_done: bool,
    meanwhile: impl Fn(&Server) + 'static,
) -> (Result<(), StoreError>, usize, Server) {
    let (store, fake, server) = store(version);
    server.put("a", &["one"]);
    let _ = fake.run(store.get(&name("a")));
    fake.requests();
    let (serving, mut is_lost) = (server.clone(), false);
    fake.serve(move |request| {
        if request.method != "DELETE" || is_lost {
            return serving.serve(request);
        }
        is_lost = true;
        if is_done {
            serving.serve(request);
        }
        meanwhile(&serving);
        Reply::silence()
    });
    let deleted = fake.run(store.delete(&name("a")));
    let requests = fake.requests();
    let deletes = requests.iter().filter(|it| it.starts_with("DELETE"));
    (deleted, deletes.count(), server)
}

#[test]
fn a_delete_whose_answer_is_lost_deletes_no_other_key() {
    for version in [EngineVersion::V1, V2] {
        let (deleted, deletes, server) = delete(version, true, |_| {});
        assert_eq!((deleted, deletes), (Ok(()), 1));
        assert_eq!(server.versions("a"), []);
        let (deleted, deletes, server) = delete(version, false, |_| {});
        assert_eq!((deleted, deletes), (Ok(()), 2));
        assert_eq!(server.versions("a"), []);
        let (deleted, deletes, server) = delete(version, true, |it| it.put("a", &["new"]));
        assert_eq!((deleted, deletes), (Ok(()), 1));
        assert_eq!(server.versions("a"), texts([Some("new")]));
    }
    // The same text, but another key: where there are no times it can't be told.
    let (deleted, deletes, server) = delete(V2, true, |it| it.put("a", &["one"]));
    assert_eq!((deleted, deletes), (Ok(()), 1));
    assert_eq!(server.versions("a"), texts([Some("one")]));
    // The same key with another value, or another one: that is for the client to find out.
    let (deleted, deletes, server) = delete(V2, false, |it| it.put("a", &["one", "two"]));
    assert!(
        matches!(deleted, Err(StoreError::Unreachable(_))),
        "{deleted:?}"
    );
    assert_eq!((deletes, server.versions("a").len()), (1, 2));
}
