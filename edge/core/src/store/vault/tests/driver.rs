//! Keys in a server that answers, now and then after a while.

use super::server::{Fate, State, store, store_with};
use super::*;
use crate::store::remote::fake::Reply;

const V2: EngineVersion = EngineVersion::V2;

/// Another answer to the next request.
fn replaced(status: u16, body: &str) -> Fate {
    Fate::Replaced(Reply::json(status, body))
}

#[test]
fn keys_come_and_go() {
    for version in [EngineVersion::V1, V2] {
        let (store, fake, server) = store(version);
        let (a, b) = (name("a"), name("b"));
        fake.run(async {
            assert_eq!(store.get(&a).await.err(), Some(StoreError::NotFound));
            assert_eq!(store.create(&a, b"text").await, Ok(()));
            assert_eq!(store.create(&a, b"other").await, Err(StoreError::Exists));
            assert_eq!(store.get(&a).await.unwrap().as_slice(), b"text");
            assert_eq!(store.get(&b).await.err(), Some(StoreError::NotFound));
        });
        assert_eq!(server.logins(), 1);
    }
    let (store, fake, _) = store(V2);
    let a = name("a");
    fake.run(async {
        assert_eq!(store.delete(&a).await, Err(StoreError::NotFound));
        store.create(&a, b"text").await.unwrap();
        assert_eq!(store.delete(&a).await, Ok(()));
        assert_eq!(store.create(&a, b"text").await, Ok(()));
    });
}

#[test]
fn a_name_whose_latest_version_is_deleted_has_no_value_and_is_not_free() {
    let (store, fake, server) = store(V2);
    server.0.borrow_mut().secrets.insert("a".into(), vec![None]);
    let a = name("a");
    fake.run(async {
        assert_eq!(store.get(&a).await.err(), Some(StoreError::NotFound));
        assert_eq!(store.create(&a, b"text").await, Err(StoreError::Exists));
        assert_eq!(store.delete(&a).await, Ok(()));
        assert_eq!(store.create(&a, b"text").await, Ok(()));
    });
}

#[test]
fn names_are_listed_in_pages() {
    let (store, fake, server) = store(V2);
    let list = |prefix, after, limit| fake.run(store.list(prefix, after, limit)).unwrap().concat();
    assert_eq!(list("", None, 9), "");
    for text in ["b", "a3", "a1", "a2", "folder/", "not a name"] {
        server.put(text, &["text"]);
    }
    assert_eq!(list("", None, 9), "a1a2a3b");
    assert_eq!(list("a", None, 2), "a1a2");
    assert_eq!(list("a", Some("a2"), 2), "a3");
    assert_eq!(list("x", None, 2), "");
}

#[test]
fn a_create_whose_answer_was_lost_knows_its_own_text() {
    let (store, fake, server) = store(V2);
    let a = name("a");
    let _ = fake.run(store.get(&a));
    server.next([Fate::Answered, Fate::Lost]);
    assert_eq!(fake.run(store.create(&a, b"mine")), Ok(()));
    assert_eq!(server.versions("a"), [Some("mine".into())]);
}

#[test]
fn a_create_whose_answer_was_lost_knows_its_own_text_with_another_token_too() {
    let (store, fake, server) = store(V2);
    let a = name("a");
    let _ = fake.run(store.get(&a));
    let denied = r#"{"errors":["permission denied"]}"#;
    server.next([Fate::Answered, Fate::Lost, replaced(403, denied)]);
    assert_eq!(fake.run(store.create(&a, b"mine")), Ok(()));
    assert_eq!(server.logins(), 2);
}

#[test]
fn a_create_that_was_not_done_and_came_second_finds_the_text_of_the_first() {
    let (store, fake, server) = store(V2);
    let a = name("a");
    let _ = fake.run(store.get(&a));
    let other = server.clone();
    let serving = server.clone();
    let mut count = 0;
    fake.serve(move |request| {
        count += 1;
        if count == 2 {
            // While this one is lost, another node is faster.
            other.put("a", &["theirs"]);
            return Reply::silence();
        }
        serving.serve(request)
    });
    assert_eq!(fake.run(store.create(&a, b"mine")), Err(StoreError::Exists));
    assert_eq!(server.versions("a"), [Some("theirs".into())]);
}

#[test]
fn a_write_to_an_engine_without_check_and_set_is_not_repeated() {
    let (store, fake, server) = store(EngineVersion::V1);
    let a = name("a");
    let _ = fake.run(store.get(&a));
    fake.requests();
    server.next([Fate::Answered, Fate::Lost]);
    let created = fake.run(store.create(&a, b"mine"));
    assert!(
        matches!(created, Err(StoreError::Unreachable(_))),
        "{created:?}"
    );
    assert_eq!(fake.requests(), ["GET /v1/kv/a", "PUT /v1/kv/a"]);
}

#[test]
fn a_replace_leaves_nothing_of_what_it_replaces() {
    let (store, fake, server) = store(V2);
    server.put("a", &["one", "two"]);
    let a = name("a");
    fake.run(async {
        let there = store.read(&a).await.unwrap();
        assert_eq!(there.value.as_slice(), b"two");
        assert_eq!(store.replace(&a, b"three", &there.version).await, Ok(()));
        let again = store.replace(&a, b"four", &there.version).await;
        assert_eq!(again, Err(StoreError::Changed));
        assert_eq!(store.delete(&a).await, Ok(()));
        let gone = store.replace(&a, b"four", &there.version).await;
        assert_eq!(gone, Err(StoreError::NotFound));
        // The same number, another key.
        server.put("a", &["new", "two"]);
        let other = store.replace(&a, b"four", &there.version).await;
        assert_eq!(other, Err(StoreError::Changed));
    });

    server.put("a", &["one", "two"]);
    let there = fake.run(store.read(&a)).unwrap();
    fake.run(store.replace(&a, b"three", &there.version))
        .unwrap();
    assert_eq!(server.versions("a"), [None, None, Some("three".into())]);
}

#[test]
fn a_replace_that_can_not_destroy_says_so_and_is_tidied_up() {
    let (store, fake, server) = store(V2);
    server.put("a", &["one"]);
    let a = name("a");
    let there = fake.run(store.read(&a)).unwrap();
    let denied = || replaced(403, r#"{"errors":["permission denied"]}"#);
    server.next([
        Fate::Answered,
        Fate::Answered,
        denied(),
        Fate::Answered,
        denied(),
    ]);
    assert_eq!(
        fake.run(store.replace(&a, b"two", &there.version)),
        Err(StoreError::Failed(
            "'a' has its new value, but earlier versions are still in Vault: PUT https://vault:8200/v1/\
             kv/destroy/a: status 403: permission denied; check the engine's path and the login's policy (see the README)"
                .into()
        ))
    );
    let [one, two] = ["one", "two"].map(|text| Some(text.to_owned()));
    assert_eq!(server.versions("a"), [one, two.clone()]);
    let there = fake.run(store.read(&a)).unwrap();
    assert_eq!(fake.run(store.tidy(&a, &there.version)), Ok(()));
    assert_eq!(server.versions("a"), [None, two]);
    // There is nothing before a first version.
    fake.requests();
    server.put("a", &["one"]);
    let there = fake.run(store.read(&a)).unwrap();
    assert_eq!(fake.run(store.tidy(&a, &there.version)), Ok(()));
    assert_eq!(fake.requests(), ["GET /v1/kv/data/a"]);
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
    assert_eq!(server.versions("a"), [Some("two".into())]);
}

#[test]
fn racing_creates_and_replaces_have_one_winner() {
    let (store, fake, server) = store(V2);
    let a = name("a");
    let texts: Vec<String> = (0..20).map(|number| format!("text {number}")).collect();
    let created = fake.run_all(texts.iter().map(|text| store.create(&a, text.as_bytes())));
    let won = |outcomes: &[Result<(), StoreError>], loss: StoreError| {
        let lost = outcomes
            .iter()
            .filter(|outcome| **outcome == Err(loss.clone()));
        (
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            lost.count(),
        )
    };
    assert_eq!(won(&created, StoreError::Exists), (1, 19));
    let there = fake.run(store.read(&a)).unwrap();
    let replaced = fake.run_all(
        texts
            .iter()
            .map(|text| store.replace(&a, text.as_bytes(), &there.version)),
    );
    assert_eq!(won(&replaced, StoreError::Changed), (1, 19));
    assert_eq!(server.versions("a").len(), 2);
}

#[test]
fn what_transit_has_encrypted_is_decrypted_and_what_it_has_not_is_read_as_it_is() {
    let encrypting = Settings {
        transit: Some(transit()),
        ..settings(V2)
    };
    let (store, fake, server) = store_with(encrypting);
    let serving = server.clone();
    fake.serve(move |request| match request.path.as_str() {
        "/v1/transit/encrypt/k" => {
            assert_eq!(*request.body, br#"{"plaintext":"bWluZQ=="}"#);
            Reply::json(200, r#"{"data":{"ciphertext":"vault:v2:abc"}}"#)
        }
        "/v1/transit/decrypt/k" => {
            assert_eq!(*request.body, br#"{"ciphertext":"vault:v2:abc"}"#);
            Reply::json(200, r#"{"data":{"plaintext":"bWluZQ=="}}"#)
        }
        _ => serving.serve(request),
    });
    let (a, b) = (name("a"), name("b"));
    server.put("b", &["plain"]);
    fake.run(async {
        store.create(&a, b"mine").await.unwrap();
        assert_eq!(store.get(&a).await.unwrap().as_slice(), b"mine");
        assert_eq!(store.get(&b).await.unwrap().as_slice(), b"plain");
    });
    assert_eq!(server.versions("a"), [Some("vault:v2:abc".into())]);

    let (store, fake, server) = self::store(V2);
    server.put("a", &["vault:v2:abc"]);
    assert_eq!(
        fake.run(store.get(&a)).err(),
        Some(StoreError::Failed(
            "'a' is encrypted by transit, and `keystore.vault.transit` is not set".into()
        ))
    );
}

#[test]
fn a_hundred_thousand_names_are_listed() {
    let (store, fake, server) = store(V2);
    let mut state = State::default();
    for number in 0..100_000 {
        let name = format!("{number:080}");
        state.secrets.insert(name, vec![Some("text".into())]);
    }
    *server.0.borrow_mut() = state;
    let names = fake.run(store.list("", None, 1025)).unwrap();
    assert_eq!(names.len(), 1025);
    assert_eq!(names.last(), Some(&format!("{:080}", 1024)));
}
