//! What a store does before anything else: it looks which engine there is, and whether it is let in.

use super::server::{Server, store_with};
use super::*;
use crate::store::remote::fake::{Fake, Reply};

/// A store that has not seen the engine yet, which shows itself by this answer.
fn before(settings: Settings, shows: (u16, &'static str)) -> (Rc<Vault<Fake>>, Fake, Server) {
    let (store, fake, server) = store_with(settings);
    store.is_seen.set(false);
    let serving = server.clone();
    fake.serve(move |request| {
        if request.path == "/v1/sys/internal/ui/mounts/kv" {
            return Reply::json(shows.0, shows.1);
        }
        serving.serve(request)
    });
    (store, fake, server)
}

const OF_V1: (u16, &str) = (200, r#"{"data":{"type":"kv","options":{"version":"1"}}}"#);
const OF_V2: (u16, &str) = (200, r#"{"data":{"type":"kv","options":{"version":"2"}}}"#);

#[test]
fn nothing_is_read_from_or_written_to_an_engine_of_another_version() {
    for (version, shows, is) in [
        (EngineVersion::V2, OF_V1, "v1"),
        (EngineVersion::V1, OF_V2, "v2"),
    ] {
        let (store, fake, _) = before(settings(version), shows);
        let a = name("a");
        let refused = |done: Result<(), StoreError>| {
            let why = done.unwrap_err().to_string();
            let whole = format!("`kv` is KV {is}, and `keystore.vault.version` says {version} (");
            assert!(why.contains(&whole), "{why}");
        };
        refused(fake.run(store.create(&a, b"text")));
        refused(fake.run(store.get(&a)).map(drop));
        refused(fake.run(store.list("", None, 1)).map(drop));
        refused(fake.run(store.delete(&a)));
        refused(fake.run(store.check()));
        let requests = fake.requests();
        let engine = |request: &&String| request.contains("/v1/kv");
        assert_eq!(requests.iter().filter(engine).count(), 0, "{requests:?}");
    }
}

#[test]
fn an_engine_is_looked_at_once_and_one_that_is_not_shown_again() {
    let forbidden = (
        403,
        r#"{"errors":["preflight capability check returned 403"]}"#,
    );
    for (shows, looks) in [(OF_V2, 1), (forbidden, 3)] {
        let (store, fake, server) = before(settings(EngineVersion::V2), shows);
        server.put("a", &["text"]);
        for _ in 0..3 {
            assert_eq!(fake.run(store.get(&name("a"))).unwrap().as_slice(), b"text");
        }
        let requests = fake.requests();
        let mounts = |request: &&String| request.contains("/mounts/");
        assert_eq!(requests.iter().filter(mounts).count(), looks);
        assert_eq!(server.logins(), 1);
    }
}

#[test]
fn a_check_lists_and_has_transit_encrypt_nothing() {
    let encrypting = Settings {
        transit: Some(transit()),
        ..settings(EngineVersion::V2)
    };
    let (store, fake, server) = store_with(encrypting);
    let serving = server.clone();
    fake.serve(move |request| match request.path.as_str() {
        "/v1/transit/encrypt/k" => {
            assert_eq!(*request.body, br#"{"plaintext":""}"#);
            Reply::json(200, r#"{"data":{"ciphertext":"vault:v1:abc"}}"#)
        }
        "/v1/transit/decrypt/k" => Reply::json(403, r#"{"errors":["permission denied"]}"#),
        _ => serving.serve(request),
    });
    let why = fake.run(store.check()).unwrap_err().to_string();
    assert!(
        why.starts_with(
            "POST https://vault:8200/v1/transit/decrypt/k: status 403: permission denied; "
        ),
        "{why}"
    );
    fake.serve(move |request| match request.path.as_str() {
        "/v1/transit/encrypt/k" => Reply::json(200, r#"{"data":{"ciphertext":"vault:v1:abc"}}"#),
        "/v1/transit/decrypt/k" => Reply::json(200, r#"{"data":{"plaintext":""}}"#),
        _ => server.serve(request),
    });
    assert_eq!(fake.run(store.check()), Ok(()));
}

#[test]
fn a_server_that_refuses_the_login_is_there_and_not_well() {
    let (store, fake, server) = store_with(settings(EngineVersion::V2));
    server.0.borrow_mut().refuses_logins = true;
    for _ in 0..5 {
        let why = fake.run(store.status()).unwrap_err();
        assert!(
            matches!(&why, StoreError::Failed(why) if why.contains("status 400")),
            "{why:?}"
        );
    }
    // It is asked for a login again only after a while, for it may lock the service out.
    assert_eq!(server.logins(), 1);
    server.0.borrow_mut().refuses_logins = false;
    fake.pass(Duration::from_secs(11));
    assert_eq!(fake.run(store.status()), Ok(()));
    server.0.borrow_mut().refuses_logins = true;
    // Who is in is in.
    assert_eq!(fake.run(store.status()), Ok(()));
    assert_eq!(server.logins(), 2);
    // What keys need is asked for at once.
    let (store, fake, server) = store_with(settings(EngineVersion::V2));
    server.0.borrow_mut().refuses_logins = true;
    assert!(fake.run(store.get(&name("a"))).is_err());
    server.0.borrow_mut().refuses_logins = false;
    assert!(fake.run(store.status()).is_err());
    assert_eq!(fake.run(store.create(&name("a"), b"text")), Ok(()));
    assert_eq!(fake.run(store.status()), Ok(()));
}
