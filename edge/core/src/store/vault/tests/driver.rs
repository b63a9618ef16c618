//! The driver against a server that answers, now and then after a while.

use super::server::{Fate, State, store, store_with};
use super::*;
use crate::store::remote::fake::{Reply, within};

const V2: EngineVersion = EngineVersion::V2;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

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
fn twenty_calls_at_once_log_in_once() {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    server.next([Fate::Answered]);
    let a = name("a");
    let read = fake.run_all((0..20).map(|_| store.get(&a)));
    assert!(read.iter().all(Result::is_ok));
    assert_eq!(server.logins(), 1);
}

#[test]
fn those_who_wait_for_a_login_share_its_failure_and_the_next_one_tries_again() {
    let (store, fake, server) = store(V2);
    server.0.borrow_mut().refuses_logins = true;
    let a = name("a");
    let read = fake.run_all((0..20).map(|_| store.get(&a)));
    let expected = StoreError::Failed(
        "PUT https://vault:8200/v1/auth/approle/login: status 400: invalid role or secret ID"
            .into(),
    );
    assert!(
        read.iter()
            .all(|read| read.as_ref().err() == Some(&expected))
    );
    assert_eq!(server.logins(), 1);
    server.0.borrow_mut().refuses_logins = false;
    assert_eq!(fake.run(store.get(&a)).err(), Some(StoreError::NotFound));
    assert_eq!(server.logins(), 2);
}

#[test]
fn a_login_whose_call_is_dropped_leaves_the_turn_to_the_next() {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    server.next([Fate::Replaced(Reply::silence())]);
    let a = name("a");
    let read = fake.run_all((0..3).map(|call| {
        let limit = if call == 0 { 1 } else { 100 };
        let (fake, get) = (&fake, store.get(&a));
        async move { within(fake, seconds(limit), get).await }
    }));
    assert!(read[0].is_none());
    assert!(read[1..].iter().all(|read| matches!(read, Some(Ok(_)))));
    assert_eq!(server.logins(), 1);
    assert!(fake.elapsed() < seconds(2), "{:?}", fake.elapsed());
}

#[test]
fn a_token_is_renewed_after_four_fifths_of_its_life_by_one_call() {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    server.0.borrow_mut().leases.push_back(100);
    let a = name("a");
    let renewals = || server.0.borrow().renewals;
    fake.run(store.get(&a)).unwrap();
    fake.pass(seconds(79));
    fake.run(store.get(&a)).unwrap();
    assert_eq!(renewals(), 0);
    fake.pass(seconds(1));
    // The renewal takes a while; who need not wait for it goes on with the token that is still valid.
    server.next([Fate::Replaced(Reply::silence().after(seconds(2)))]);
    let begun = fake.elapsed();
    let read = fake.run_all((0..20).map(|call| {
        let (fake, get) = (&fake, store.get(&a));
        async move { (call, get.await.is_ok(), fake.elapsed() - begun) }
    }));
    for (call, is_read, took) in read {
        assert!(is_read);
        assert_eq!(took >= seconds(2), call == 0, "{call}: {took:?}");
    }
    assert_eq!((renewals(), server.logins()), (0, 1));
    fake.pass(seconds(11));
    fake.run(store.get(&a)).unwrap();
    assert_eq!((renewals(), server.logins()), (1, 1));
    fake.pass(seconds(79));
    fake.run(store.get(&a)).unwrap();
    assert_eq!((renewals(), server.logins()), (1, 1));
}

#[test]
fn a_renewal_that_gives_little_or_is_refused_is_followed_by_a_login() {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    server.0.borrow_mut().leases.extend([100, 49, 100]);
    let a = name("a");
    fake.run(store.get(&a)).unwrap();
    fake.pass(seconds(80));
    fake.run(store.get(&a)).unwrap();
    let counts = || (server.0.borrow().renewals, server.logins());
    assert_eq!(counts(), (1, 2));

    fake.pass(seconds(80));
    server.next([replaced(403, r#"{"errors":["permission denied"]}"#)]);
    fake.run(store.get(&a)).unwrap();
    assert_eq!(counts(), (1, 3));
    // A token that is not valid any more is not renewed.
    fake.pass(seconds(101));
    fake.run(store.get(&a)).unwrap();
    assert_eq!(counts(), (1, 4));
}

#[test]
fn a_valid_token_is_used_though_there_is_no_new_one_and_the_log_says_so_now_and_then() {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    server.0.borrow_mut().leases.push_back(100);
    let a = name("a");
    fake.run(store.get(&a)).unwrap();
    fake.pass(seconds(80));
    server.0.borrow_mut().refuses_logins = true;
    for _ in 0..9 {
        fake.run(store.get(&a)).unwrap();
        fake.pass(seconds(2));
    }
    assert_eq!(
        fake.lines(),
        ["the key store https://vault:8200 gives no new token: PUT https://vault:8200/v1/auth/approle/\
          login: status 400: invalid role or secret ID"; 2]
    );
}

#[test]
fn a_token_that_never_ends_is_not_renewed() {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    let a = name("a");
    fake.run(store.get(&a)).unwrap();
    fake.pass(seconds(100 * 365 * 86_400));
    fake.run(store.get(&a)).unwrap();
    assert_eq!((server.0.borrow().renewals, server.logins()), (0, 1));
}

#[test]
fn a_revoked_token_is_replaced_once_for_all_calls() {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    let a = name("a");
    fake.run(store.get(&a)).unwrap();
    server.0.borrow_mut().tokens.clear();
    let read = fake.run_all((0..20).map(|_| store.get(&a)));
    assert!(read.iter().all(Result::is_ok));
    assert_eq!(server.logins(), 2);
}

#[test]
fn what_is_forbidden_is_tried_with_one_new_token_and_then_is_an_error() {
    let (store, fake, server) = store(V2);
    let a = name("a");
    let _ = fake.run(store.get(&a));
    server.0.borrow_mut().forbids = true;
    fake.requests();
    let expected = StoreError::Failed(
        "GET https://vault:8200/v1/kv/data/a: status 403: permission denied".into(),
    );
    assert_eq!(fake.run(store.get(&a)).err(), Some(expected.clone()));
    assert_eq!(
        fake.requests(),
        [
            "GET /v1/kv/data/a",
            "PUT /v1/auth/approle/login",
            "GET /v1/kv/data/a"
        ]
    );
    // Clients that go on asking for what is forbidden make no logins of it.
    for _ in 0..100 {
        assert_eq!(fake.run(store.get(&a)).err(), Some(expected.clone()));
    }
    assert_eq!(server.logins(), 2);
    fake.pass(seconds(1));
    assert_eq!(fake.run(store.get(&a)).err(), Some(expected));
    assert_eq!(server.logins(), 3);
    assert_eq!(fake.lines(), [""; 0]);
}

#[test]
fn a_service_accounts_token_is_read_at_each_login() {
    let mut settings = settings(V2);
    settings.login = elaborate().login;
    let (store, fake, server) = store_with(settings);
    let shown: Rc<std::cell::RefCell<Vec<String>>> = Rc::default();
    let (serving, seen) = (server.clone(), shown.clone());
    fake.serve(move |request| {
        if request.path.ends_with("/login") {
            let body = String::from_utf8(request.body.to_vec()).unwrap();
            seen.borrow_mut().push(body);
        }
        serving.serve(request)
    });
    let a = name("a");
    assert_eq!(
        fake.run(store.get(&a)).err(),
        Some(StoreError::Failed(
            "the service account's token in `/run/token` (`keystore.vault.kubernetes.jwt`) can't be \
             read: no such file"
                .into()
        ))
    );
    for token in ["first\n", "second"] {
        fake.put_file("/run/token", token);
        server.0.borrow_mut().tokens.clear();
        assert_eq!(fake.run(store.get(&a)).err(), Some(StoreError::NotFound));
    }
    assert_eq!(
        *shown.borrow(),
        [
            r#"{"role":"ro\"le","jwt":"first"}"#,
            r#"{"role":"ro\"le","jwt":"second"}"#
        ]
    );
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
        for text in ["new one", "new two", "new three"] {
            server.put("a", &["x", "y", text]);
        }
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
             kv/destroy/a: status 403: permission denied"
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
