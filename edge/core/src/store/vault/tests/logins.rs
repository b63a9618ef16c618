//! Logins, renewals, and what becomes of a token that is refused.

use super::server::{Fate, store, store_with};
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
fn a_token_may_be_valid_for_ages() {
    for lease in [1 << 62, u64::MAX] {
        let (store, fake, server) = store(V2);
        server.put("a", &["text"]);
        let auth = format!(
            r#"{{"auth":{{"client_token":"t","lease_duration":{lease},"renewable":true}}}}"#
        );
        server.next([replaced(200, &auth)]);
        // The token is unknown to the server, which has it replaced.
        assert_eq!(&**fake.run(store.get(&name("a"))).unwrap(), b"text");
    }
}

#[test]
fn those_who_wait_for_a_login_share_its_failure_and_the_next_one_tries_again() {
    let (store, fake, server) = store(V2);
    server.0.borrow_mut().refuses_logins = true;
    let a = name("a");
    let read = fake.run_all((0..20).map(|_| store.get(&a)));
    let expected = StoreError::Failed(
        "PUT https://vault:8200/v1/auth/approle/login: status 400: invalid role or secret ID; \
         check what the service logs in with, and the method's path (`engine`)"
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
          login: status 400: invalid role or secret ID; check what the service logs in with, and the method's path (`engine`)";
            2]
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
fn a_token_that_is_refused_late_does_not_take_the_new_one_along() {
    let (store, fake, server) = store(V2);
    server.put("a", &["text"]);
    let a = name("a");
    fake.run(store.get(&a)).unwrap();
    server.0.borrow_mut().tokens.clear();
    let denied = Reply::json(403, r#"{"errors":["permission denied"]}"#);
    server.next([Fate::Replaced(denied.after(seconds(1)))]);
    let read = fake.run_all((0..2).map(|_| store.get(&a)));
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
        "GET https://vault:8200/v1/kv/data/a: status 403: permission denied; check the engine's path and the login's policy (see the README)".into(),
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
    settings.access.login = elaborate().access.login;
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
            "the service account's token in `/run/token` (`vault.kubernetes.jwt`) can't be read: \
             no such file"
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
