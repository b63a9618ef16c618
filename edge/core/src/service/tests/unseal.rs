//! A node that is unsealed by a server, over a key store of its own.

use std::cell::RefCell;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::seal::{NodeIdentity, is_sealed};

const AWAY: &str =
    "this node is not unsealed yet: https://kms:8200 is away: connection refused; retrying";
const UNSEALED: &str = "this node is unsealed";
const NOT_REACHABLE: &str = r#"{"message":"key store is not reachable"}"#;

/// A key store that works, and that a test looks into.
#[derive(Clone, Default)]
struct Held(Rc<RefCell<BTreeMap<String, Vec<u8>>>>);

impl Held {
    fn names(&self) -> Vec<String> {
        self.0.borrow().keys().cloned().collect()
    }
}

impl Store for Held {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        let mut held = self.0.borrow_mut();
        if held.contains_key(name.as_str()) {
            return Err(StoreError::Exists);
        }
        held.insert(name.to_string(), value.to_vec());
        Ok(())
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let held = self.0.borrow();
        let value = held.get(name.as_str()).ok_or(StoreError::NotFound)?;
        Ok(Zeroizing::new(value.clone()))
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let removed = self.0.borrow_mut().remove(name.as_str());
        removed.map(drop).ok_or(StoreError::NotFound)
    }

    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<String>, StoreError> {
        Ok(self.names())
    }

    async fn status(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn node() -> NodeIdentity {
    NodeIdentity::generate(&mut |bytes| bytes.fill(1))
}

fn config(more: &str) -> Config {
    let recipient = node().recipient().to_string();
    configured(&format!(
        "keystore: {{mem: {{}}}}\nseal:\n  recipients: [{recipient}]\n  unseal: {{vault: {{\
         endpoint: 'https://kms:8200', approle: {{id: i, secret: s}}, transit: {{key: k}}, \
         identity: 'vault:v1:abc'}}}}\n{more}"
    ))
}

impl Stage<Held> {
    /// A node that wants a key `wanted`, in front of a server that is away.
    fn sealed() -> (Self, Held) {
        let held = Held::default();
        let config = config("keys: [{name: wanted}]\n");
        let stage = Self::with_config(Fake::default(), held.clone(), config);
        (stage, held)
    }

    fn prepare(&self) -> Result<Option<String>, String> {
        self.fake.run(self.service.prepare())
    }

    /// Has the server unwrap this text.
    fn unwrap_to(&self, text: &str) {
        let plaintext = STANDARD.encode(text);
        self.fake.serve(move |request| match request.path.as_str() {
            "/v1/auth/approle/login" => {
                Reply::json(200, r#"{"auth":{"client_token":"t","lease_duration":0}}"#)
            }
            "/v1/transit/decrypt/k" => {
                Reply::json(200, &format!(r#"{{"data":{{"plaintext":"{plaintext}"}}}}"#))
            }
            path => panic!("{path}"),
        });
    }

    fn answers(&self) {
        self.unwrap_to(node().text());
    }

    fn is_asked(&self) -> bool {
        !self.fake.requests().is_empty()
    }
}

#[test]
fn a_node_whose_server_is_there_is_unsealed_at_the_start() {
    let (stage, held) = Stage::sealed();
    stage.answers();
    assert_eq!(stage.prepare(), Ok(None));
    assert!(stage.is_asked());
    assert_eq!(held.names(), ["wanted"]);
    assert!(held.0.borrow().values().all(|value| is_sealed(value)));

    stage.fake.serve(|_| Reply::refused());
    assert_eq!(stage.status("GET /v1/ready"), 200);
    assert_eq!(stage.status("PUT /v1/key/create/k"), 200);
    assert_eq!(stage.status("PUT /v1/key/generate/wanted"), 200);
    assert!(!stage.is_asked());
    assert_eq!(stage.fake.lines(), [""; 0]);
}

#[test]
fn a_node_whose_server_is_away_starts_and_tells_the_truth_until_it_is_back() {
    let (stage, held) = Stage::sealed();
    assert_eq!(stage.prepare(), Ok(None));
    let begun = stage.fake.elapsed();
    for _ in 0..10 {
        let ready = stage.ask("GET /v1/ready");
        assert_eq!(ready, (504, NOT_REACHABLE.to_owned()));
        let (status, body) = stage.ask("GET /v1/status");
        assert_eq!(status, 200);
        assert!(body.contains(r#""keystore_unreachable":true"#), "{body}");
        assert!(!body.contains("keystore_latency"), "{body}");
        let created = stage.ask("PUT /v1/key/create/k");
        assert_eq!(
            created,
            (502, r#"{"message":"failed to create key"}"#.to_owned())
        );
        assert_eq!(stage.status("PUT /v1/key/generate/absent"), 404);
    }
    assert_eq!(stage.fake.elapsed(), begun);
    assert_eq!(stage.fake.lines(), [AWAY]);
    assert_eq!(held.names(), [""; 0]);

    stage.answers();
    stage.fake.pass(Duration::from_secs(1));
    assert_eq!(stage.status("GET /v1/ready"), 200);
    assert_eq!(stage.fake.lines(), [UNSEALED]);
    assert_eq!(held.names(), ["wanted"]);
    let (_, body) = stage.ask("GET /v1/status");
    assert!(body.contains("keystore_latency"), "{body}");
    assert!(!body.contains("unreachable"), "{body}");
}

#[test]
fn what_is_sealed_is_a_store_that_fails_until_the_node_is_unsealed() {
    let (stage, held) = Stage::sealed();
    stage.answers();
    assert_eq!(stage.prepare(), Ok(None));

    let stage = Stage::with_config(Fake::default(), held, config(""));
    for _ in 0..3 {
        let read = stage.ask("PUT /v1/key/generate/wanted");
        assert_eq!(
            read,
            (502, r#"{"message":"failed to read key"}"#.to_owned())
        );
    }
    assert_eq!(stage.fake.lines(), [AWAY]);
    stage.answers();
    stage.fake.pass(Duration::from_secs(1));
    assert_eq!(stage.status("PUT /v1/key/generate/wanted"), 200);
    assert_eq!(stage.fake.lines(), [UNSEALED]);
}

#[test]
fn a_configured_key_is_there_as_soon_as_the_server_is() {
    let (stage, held) = Stage::sealed();
    assert_eq!(stage.prepare(), Ok(None));
    assert_eq!(stage.status("PUT /v1/key/generate/wanted"), 404);
    stage.answers();
    stage.fake.pass(Duration::from_secs(1));
    assert_eq!(stage.status("PUT /v1/key/generate/wanted"), 200);
    // That was once: what is deleted then stays so.
    assert_eq!(stage.status("DELETE /v1/key/delete/wanted"), 200);
    assert_eq!(stage.status("GET /v1/ready"), 200);
    assert_eq!(held.names(), [""; 0]);
}

#[test]
fn configured_keys_that_can_not_be_created_later_are_a_line() {
    let more = "keys: [{name: wanted}]\n";
    let stranger = NodeIdentity::generate(&mut |bytes| bytes.fill(2));
    let stage = Stage::with_config(Fake::default(), Held::default(), config(more));
    assert_eq!(stage.prepare(), Ok(None));
    stage.unwrap_to(stranger.text());
    stage.fake.pass(Duration::from_secs(1));
    for _ in 0..2 {
        assert_eq!(stage.status("GET /v1/ready"), 200);
    }
    let lines = stage.fake.lines();
    let [away, unsealed, uncreated] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!([away, unsealed], [AWAY, UNSEALED]);
    let expected =
        "the configured keys can't be created: failed to create key: 'wanted': this node, ";
    assert!(uncreated.starts_with(expected), "{uncreated}");
}

#[test]
fn configured_keys_wait_for_a_store_that_is_away_too() {
    let stage = Stage::with_config(Fake::default(), Away, config("keys: [{name: wanted}]\n"));
    assert_eq!(stage.fake.run(stage.service.prepare()), Ok(None));
    let identity = STANDARD.encode(node().text());
    stage
        .fake
        .serve(move |request| match request.path.contains("login") {
            true => Reply::json(200, r#"{"auth":{"client_token":"t","lease_duration":0}}"#),
            false => Reply::json(200, &format!(r#"{{"data":{{"plaintext":"{identity}"}}}}"#)),
        });
    stage.fake.pass(Duration::from_secs(1));
    assert_eq!(stage.status("GET /v1/ready"), 504);
    assert!(stage.service.owes_keys.get());
}

#[test]
fn what_is_wrong_and_not_away_keeps_the_service_from_starting() {
    let begin = "this node's identity (`seal.unseal`) ";
    let (stage, _) = Stage::sealed();
    stage.unwrap_to("something");
    let why = stage.prepare().unwrap_err();
    assert!(why.starts_with(begin), "{why}");

    let (stage, held) = Stage::sealed();
    let refused = r#"{"errors":["invalid role or secret ID"]}"#;
    stage.fake.serve(move |_| Reply::json(400, refused));
    let why = stage.prepare().unwrap_err();
    let place = "PUT https://kms:8200/v1/auth/approle/login";
    let expected = format!(
        "{begin}can't be unwrapped: {place}: status 400: invalid role or secret ID; check what the service logs in with, and the method's path (`engine`)"
    );
    assert_eq!(why, expected);

    // It may come to that later, too. Who prepared the node has said this one.
    let ready = stage.ask("GET /v1/ready");
    assert_eq!(
        ready,
        (502, r#"{"message":"key store is unavailable"}"#.to_owned())
    );
    let (_, body) = stage.ask("GET /v1/status");
    assert!(body.contains(r#""keystore_unavailable":true"#), "{body}");
    assert!(!body.contains("unreachable"), "{body}");
    assert_eq!(stage.status("PUT /v1/key/create/k"), 502);
    assert_eq!(stage.fake.lines(), [""; 0]);
    assert_eq!(held.names(), [""; 0]);
}

#[test]
fn a_reload_keeps_the_identity_and_tries_for_one_at_once() {
    let (mut stage, held) = Stage::sealed();
    let reload = |stage: &mut Stage<Held>, keys: &str| {
        let machine = Machine {
            copies: None,
            fake: stage.fake.clone(),
            store: held.clone(),
            trusts: Cell::default(),
        };
        let next = stage.service.successor(config(keys), machine);
        next.come_into_force();
        stage.service = Rc::new(next);
        assert_eq!(stage.prepare(), Ok(None));
    };
    assert_eq!(stage.prepare(), Ok(None));
    assert!(stage.is_asked());
    reload(&mut stage, "keys: [{name: other}]\n");
    assert!(stage.is_asked());
    assert_eq!(stage.status("GET /v1/ready"), 504);
    assert_eq!(stage.fake.lines(), [AWAY]);

    stage.answers();
    stage.fake.pass(Duration::from_secs(2));
    assert_eq!(stage.status("GET /v1/ready"), 200);
    assert_eq!(held.names(), ["other"]);
    assert!(stage.is_asked());

    stage.fake.serve(|_| Reply::refused());
    reload(&mut stage, "keys: [{name: third}]\n");
    assert_eq!(held.names(), ["other", "third"]);
    assert_eq!(stage.status("GET /v1/ready"), 200);
    assert!(!stage.is_asked());
}

#[test]
fn what_keeps_a_node_from_its_identity_is_a_line_for_each_cause_and_not_for_each_request() {
    let (stage, _) = Stage::sealed();
    assert_eq!(stage.prepare(), Ok(None));
    assert_eq!(stage.fake.lines(), [AWAY]);
    for (status, body, why) in [
        (
            400,
            r#"{"errors":["invalid role or secret ID"]}"#,
            "status 400: invalid role or secret ID",
        ),
        (
            403,
            r#"{"errors":["permission denied"]}"#,
            "status 403: permission denied",
        ),
        (
            200,
            r#"{"auth": {"client_token": "hv"#,
            "status 200: the answer is no valid JSON; was it cut off?",
        ),
    ] {
        stage.fake.serve(move |_| Reply::json(status, body));
        for _ in 0..10 {
            stage.fake.pass(Duration::from_secs(20));
            for _ in 0..5 {
                assert_eq!(stage.status("PUT /v1/key/create/k"), 502);
                assert_eq!(stage.status("GET /v1/ready"), 502);
            }
        }
        let lines = stage.fake.lines();
        let [line] = &lines[..] else {
            panic!("{lines:?}")
        };
        assert!(line.starts_with("failed to create key: 'k': "), "{line}");
        assert!(line.contains(why), "{line}");
    }
    // Away is another cause, and so is what comes after that.
    stage.fake.serve(|_| Reply::refused());
    for _ in 0..10 {
        stage.fake.pass(Duration::from_secs(20));
        assert_eq!(stage.status("PUT /v1/key/create/k"), 502);
    }
    assert_eq!(stage.fake.lines(), [AWAY]);
    stage.fake.serve(|_| Reply::json(400, r#"{"errors":[]}"#));
    for _ in 0..10 {
        stage.fake.pass(Duration::from_secs(20));
        assert_eq!(stage.status("GET /v1/ready"), 502);
    }
    assert_eq!(stage.fake.lines().len(), 1);
    stage.answers();
    stage.fake.pass(Duration::from_secs(20));
    assert_eq!(stage.status("GET /v1/ready"), 200);
    assert_eq!(stage.fake.lines(), [UNSEALED]);
}

#[test]
fn a_node_that_is_no_recipient_or_signer_is_a_warning() {
    let stranger = NodeIdentity::generate(&mut |bytes| bytes.fill(2));
    let [own, other] = [node(), stranger].map(|it| it.recipient().to_string());
    for (recipients, signers, warned) in [
        (&own, &own, None),
        (&other, &own, Some("seal.recipients")),
        (&own, &other, Some("seal.signers")),
    ] {
        let config = configured(&format!(
            "keystore: {{mem: {{}}}}\nseal: {{recipients: [{recipients}], signers: [{signers}], \
             unseal: {{identity: {}}}}}\n",
            node().text()
        ));
        let stage = Stage::with_config(Fake::default(), Held::default(), config);
        let warning = stage.prepare().unwrap();
        assert_eq!(warning.is_some(), warned.is_some());
        if let (Some(warning), Some(field)) = (warning, warned) {
            let node = node().recipient().fingerprint().to_string();
            assert!(
                warning.contains(field) && warning.contains(&node),
                "{warning}"
            );
            assert!(warning.ends_with("so it creates no keys"), "{warning}");
        }
        assert_eq!(stage.fake.lines(), [""; 0]);
    }
}

#[test]
fn no_identity_gets_into_the_log_or_an_answer_as_a_name() {
    let (stage, held) = Stage::sealed();
    stage.answers();
    assert_eq!(stage.prepare(), Ok(None));
    for text in [node().text().to_owned(), node().text().to_lowercase()] {
        let (status, body) = stage.ask(&format!("PUT /v1/key/create/{text}"));
        assert_eq!(status, 400);
        assert!(
            !body.contains(&text) && body.contains("SEALEDGE-IDENTITY-***"),
            "{body}"
        );
        stage.fake.error(&format!("cannot read {text}"));
        assert_eq!(stage.fake.lines(), ["cannot read SEALEDGE-IDENTITY-***"]);
        let record = audit::Record {
            time: stage.fake.now(),
            ip: "::1",
            path: &format!("/v1/key/create/{text}"),
            caller: None,
            status,
            duration: Duration::ZERO,
        };
        let record = String::from_utf8(record.to_json()).unwrap();
        let expected = r#""path":"/v1/key/create/SEALEDGE-IDENTITY-***""#;
        assert!(record.contains(expected), "{record}");
    }
    assert_eq!(held.names(), ["wanted"]);
}
