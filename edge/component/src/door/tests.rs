//! The door over a host that a test plays: it sees what was begun, and decides what comes of it.

use std::cell::RefCell;
use std::rc::Rc;

use sealedge_core::auth::nonces::{Lifetime, Nonce, Replay};
use sealedge_core::certificate::Principal;
use sealedge_core::client::Client;
use sealedge_core::config::{Supported, parse};
use sealedge_core::crypto::RustCrypto;
use sealedge_core::identity::Identity;
use sealedge_core::key::Key;
use sealedge_core::platform::System;
use sealedge_core::route::configurable;
use sealedge_core::service::Incoming;
use sealedge_core::time::Time;

use super::*;
use crate::lent::Failure;

/// What the host has seen.
#[derive(Default)]
struct Seen {
    begun: Vec<(u64, String)>,
    cancelled: Vec<u64>,
    audit: Vec<String>,
    errors: Vec<String>,
    now: u64,
    /// How long requests have waited before they are handed in.
    waited: u64,
}

#[derive(Clone, Default)]
struct Played(Rc<RefCell<Seen>>);

impl Lent for Played {
    type Crypto = RustCrypto;

    fn crypto(&self) -> &RustCrypto {
        &RustCrypto
    }

    fn now(&self) -> u64 {
        self.0.borrow().now
    }

    fn random(&self, length: usize) -> Vec<u8> {
        vec![7; length]
    }

    fn begin(&self, io: u64, operation: Operation<'_>) {
        let what = match operation {
            Operation::Store(StoreOperation::Create { name, .. }) => format!("create {name}"),
            Operation::Store(StoreOperation::Get(name)) => format!("get {name}"),
            Operation::Store(StoreOperation::Delete(name)) => format!("delete {name}"),
            Operation::Store(StoreOperation::List { prefix, .. }) => format!("list {prefix}"),
            Operation::Store(StoreOperation::Status) => "status".to_owned(),
            Operation::Store(StoreOperation::Check) => "check".to_owned(),
            Operation::Sleep(duration) => format!("sleep {}", duration.as_secs()),
            Operation::Invalidate(name) => format!("invalidate {name}"),
            Operation::Totals(_) => "totals".to_owned(),
            Operation::ReadBody { call, limit } => format!("body {call} {limit}"),
            Operation::Fetch(request) => format!("fetch {}", request.path),
            Operation::ReadFile(path) => format!("file {path}"),
            Operation::Prepare => "prepare".to_owned(),
            Operation::Kept(name) => format!("kept {name}"),
        };
        self.0.borrow_mut().begun.push((io, what));
    }

    fn cancel(&self, io: u64) {
        self.0.borrow_mut().cancelled.push(io);
    }

    fn remember(&self, _: &[u8; 32], _: &Nonce, _: Lifetime) -> Result<(), Replay> {
        Ok(())
    }

    fn trusts(&self, _: &[Vec<u8>]) -> bool {
        false
    }

    fn audit(&self, line: &[u8]) {
        self.0
            .borrow_mut()
            .audit
            .push(String::from_utf8(line.to_vec()).unwrap());
    }

    fn error(&self, message: &str) {
        self.0.borrow_mut().errors.push(message.to_owned());
    }

    fn system(&self) -> System {
        System {
            commit: String::new(),
            os: String::new(),
            arch: String::new(),
            started: Time::from_nanos(0),
            cpus: 1,
            usable_cpus: 1,
            threads: 1,
            heap: 0,
            stack: 0,
        }
    }
}

const ADMIN: Identity = Identity::from_bytes([1; 32]);

/// A door, and the host behind it.
struct Stage {
    door: Door<Played>,
    host: Played,
}

/// A configuration with this admin.
fn config(admin: Identity, more: &str) -> Config {
    let text = format!(
        "version: v1\nadmin: {{identity: {admin}}}\ntls: {{key: k, cert: c}}\nlog: {{audit: on}}\n\
         keys: [{{name: wanted}}]\nkeystore: {{mem: {{}}}}\n{more}"
    );
    let supported = Supported {
        keystores: &["mem"],
        tls: true,
        cloudflare: false,
        memory: true,
        files: true,
        api_paths: &configurable(),
    };
    let Ok(parsed) = parse(&text, &|_| None, &supported) else {
        panic!("{text}")
    };
    parsed.config
}

impl Stage {
    fn new() -> Self {
        let host = Played::default();
        Self {
            door: Door::new(config(ADMIN, ""), host.clone()),
            host,
        }
    }

    fn start(&mut self, call: u64, method: &str, path: &str, body: &str) -> Option<Finished> {
        self.start_with(call, method, path, Incoming::Whole(body.into()))
    }

    fn start_with(
        &mut self,
        call: u64,
        method: &str,
        path: &str,
        body: Incoming<LentBody<Played>>,
    ) -> Option<Finished> {
        let admin = Principal::Client {
            identity: ADMIN,
            expires: Time::from_nanos(u64::MAX),
        };
        let mut client = admin.to_bytes().to_vec();
        client.extend_from_slice(b"127.0.0.1");
        let request = Request {
            line: format!("{method} {path}"),
            arrived: Time::from_nanos(self.host.now() - self.host.0.borrow().waited),
            client: Client::from_bytes(client),
            presented: None,
            audited: false,
            body,
        };
        self.door.start(call, request)
    }

    /// The number of the last operation that was begun like this.
    fn io(&self, what: &str) -> u64 {
        let seen = self.host.0.borrow();
        let found = seen.begun.iter().rev().find(|(_, begun)| begun == what);
        found
            .unwrap_or_else(|| panic!("{what} is not in {:?}", seen.begun))
            .0
    }

    fn count(&self, what: &str) -> usize {
        self.host
            .0
            .borrow()
            .begun
            .iter()
            .filter(|(_, begun)| begun == what)
            .count()
    }

    fn resume(&mut self, io: u64, outcome: Outcome) -> Option<(u64, Finished)> {
        self.door.resume(io, outcome)
    }
}

fn stored() -> Outcome {
    let key = Key::create(
        &mut |bytes| bytes.fill(9),
        Time::from_nanos(0).timestamp(),
        None,
    );
    Outcome::Value(Zeroizing::new(key.to_stored().as_bytes().to_vec()))
}

fn status(finished: Finished) -> u16 {
    match finished {
        Finished::Response(response) => response.status,
        _ => panic!("not a response"),
    }
}

#[test]
fn what_needs_no_host_is_answered_at_once() {
    let mut stage = Stage::new();
    assert_eq!(stage.start(1, "GET", "/version", "").map(status), Some(200));
    assert_eq!(stage.start(2, "GET", "/nope", "").map(status), Some(404));
    assert!(stage.host.0.borrow().begun.is_empty());
}

#[test]
fn a_read_parks_its_call_and_ends_it() {
    let mut stage = Stage::new();
    assert!(stage.start(5, "PUT", "/v1/key/generate/k", "").is_none());
    let (read, timer) = (stage.io("get k"), stage.io("sleep 15"));
    let (call, finished) = stage.resume(read, stored()).unwrap();
    assert_eq!((call, status(finished)), (5, 200));
    // The timer is stopped, and the key is in the cache now.
    assert_eq!(stage.host.0.borrow().cancelled, [timer]);
    assert_eq!(
        stage.start(6, "PUT", "/v1/key/generate/k", "").map(status),
        Some(200)
    );
    assert_eq!(stage.count("get k"), 1);
}

#[test]
fn a_proposed_configuration_is_in_force_from_its_adoption() {
    let mut stage = Stage::new();
    assert!(!stage.door.adopt(), "nothing is proposed");
    assert!(stage.start(1, "PUT", "/v1/key/generate/k", "").is_none());
    assert!(stage.start(2, "PUT", "/v1/key/generate/l", "").is_none());
    let (k, l) = (stage.io("get k"), stage.io("get l"));
    assert_eq!(stage.resume(k, stored()).map(|(call, _)| call), Some(1));

    let other = Identity::from_bytes([2; 32]);
    let expiry = "cache: {expiry: {any: 10s}}";
    assert!(stage.door.propose(config(other, expiry)).is_ok());
    let generate = |stage: &mut Stage, key: &str| {
        let path = format!("/v1/key/generate/{key}");
        stage.start(9, "PUT", &path, "").map(status)
    };
    assert_eq!(generate(&mut stage, "k"), Some(200));
    assert!(stage.door.adopt() && !stage.door.adopt());
    assert_eq!(generate(&mut stage, "k"), Some(403));
    // What was parked has its answer, and the cache that it fills is still the one that is asked.
    let (call, finished) = stage.resume(l, stored()).unwrap();
    assert_eq!((call, status(finished)), (2, 200));
    assert!(stage.door.propose(config(ADMIN, expiry)).is_ok());
    stage.door.adopt();
    assert_eq!(generate(&mut stage, "l"), Some(200));
    stage.host.0.borrow_mut().now = 10_000_000_000;
    assert_eq!(generate(&mut stage, "l"), None, "the new expiry holds");
    // 1, 2, and four of the others were answered, one was refused: 200 to 403 come first.
    let counted: u64 = stage.door.service().take_counters().iter().take(4).sum();
    assert_eq!(counted, 5);
}

#[test]
fn many_parked_calls_do_not_touch_each_other() {
    let mut stage = Stage::new();
    for call in 0..1000 {
        assert!(
            stage
                .start(call, "PUT", &format!("/v1/key/generate/k{call}"), "")
                .is_none()
        );
    }
    for call in (0..1000).rev() {
        let io = stage.io(&format!("get k{call}"));
        let (ended, finished) = stage.resume(io, stored()).unwrap();
        assert_eq!((ended, status(finished)), (call, 200));
    }
    assert!(stage.door.parked.is_empty());
    assert!(stage.door.shared.waiting.borrow().is_empty());
}

#[test]
fn a_call_past_its_limit_is_answered_and_its_read_given_up() {
    let mut stage = Stage::new();
    assert!(stage.start(1, "PUT", "/v1/key/generate/k", "").is_none());
    let (read, timer) = (stage.io("get k"), stage.io("sleep 15"));
    let (_, finished) = stage.resume(timer, Outcome::Done).unwrap();
    assert_eq!(status(finished), 504);
    assert_eq!(stage.host.0.borrow().cancelled, [read]);
    assert!(
        stage.resume(read, stored()).is_none(),
        "its late outcome goes nowhere"
    );
    assert_eq!(
        stage.host.0.borrow().audit.len(),
        1,
        "and it is in the audit log once"
    );
}

#[test]
fn a_limit_counts_from_when_the_request_came() {
    let mut stage = Stage::new();
    stage.host.0.borrow_mut().now = 60_000_000_000;
    for (waited, left) in [(1, 14), (15, 0), (20, 0)] {
        stage.host.0.borrow_mut().waited = waited * 1_000_000_000;
        assert!(
            stage
                .start(waited, "PUT", "/v1/key/generate/k", "")
                .is_none()
        );
        let timer = stage.io(&format!("sleep {left}"));
        let (_, finished) = stage.resume(timer, Outcome::Done).unwrap();
        assert_eq!(status(finished), 504);
        // The operator learns which request it was.
        let errors = &stage.host.0.borrow().errors;
        let expected =
            format!("the request took too long: \"/v1/key/generate/k\" for {ADMIN} at 127.0.0.1");
        assert_eq!(errors.last(), Some(&expected));
    }
}

#[test]
fn a_delete_ends_after_every_instance_has_forgotten() {
    let mut stage = Stage::new();
    assert!(stage.start(1, "DELETE", "/v1/key/delete/k", "").is_none());
    // Before it, should its time be over before the store answers; and after it, what was read meanwhile.
    for done in ["invalidate k", "delete k"] {
        assert!(stage.resume(stage.io(done), Outcome::Done).is_none());
    }
    let (_, finished) = stage
        .resume(stage.io("invalidate k"), Outcome::Done)
        .unwrap();
    assert_eq!(status(finished), 200);
}

#[test]
fn a_read_that_began_before_a_delete_fills_no_cache() {
    let mut stage = Stage::new();
    assert!(stage.start(1, "PUT", "/v1/key/generate/k", "").is_none());
    let read = stage.io("get k");
    stage.door.forget("k");
    let (_, finished) = stage.resume(read, stored()).unwrap();
    assert_eq!(
        status(finished),
        200,
        "it began before the delete was answered"
    );
    assert!(
        stage.start(2, "PUT", "/v1/key/generate/k", "").is_none(),
        "the next one reads again"
    );
    assert_eq!(stage.count("get k"), 2);
}

#[test]
fn what_is_not_there_is_never_cached() {
    let mut stage = Stage::new();
    for call in 0..2 {
        assert!(stage.start(call, "PUT", "/v1/key/generate/k", "").is_none());
        let absent = Outcome::Failed(Failure::NotFound);
        let (_, finished) = stage.resume(stage.io("get k"), absent).unwrap();
        assert_eq!(status(finished), 404);
    }
    assert_eq!(stage.count("get k"), 2);
}

#[test]
fn a_late_body_is_read_only_for_who_may_send_it() {
    let mut stage = Stage::new();
    let body = Incoming::Later(stage.door.body(1));
    assert_eq!(
        stage
            .start_with(1, "GET", "/v1/key/encrypt/k", body)
            .map(status),
        Some(405)
    );
    let body = Incoming::Later(stage.door.body(2));
    assert!(
        stage
            .start_with(2, "PUT", "/v1/key/encrypt/k", body)
            .is_none()
    );
    let too_large = Outcome::Failed(Failure::TooLarge);
    let (_, finished) = stage.resume(stage.io("body 2 1048576"), too_large).unwrap();
    assert_eq!(status(finished), 400);
}

#[test]
fn a_failing_store_is_told_to_the_operator_and_not_to_the_client() {
    let mut stage = Stage::new();
    assert!(stage.start(1, "PUT", "/v1/key/create/k", "").is_none());
    let failed = Outcome::Failed(Failure::Failed("/secret/path: disk full".to_owned()));
    let (_, finished) = stage.resume(stage.io("create k"), failed).unwrap();
    let Finished::Response(response) = finished else {
        panic!("no response")
    };
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(
        (response.status, &body["message"]),
        (502, &"failed to create key".into())
    );
    assert!(
        stage
            .host
            .0
            .borrow()
            .errors
            .concat()
            .contains("/secret/path: disk full")
    );
}

#[test]
fn an_outcome_of_another_kind_is_a_failure() {
    let mut stage = Stage::new();
    assert!(stage.start(1, "PUT", "/v1/key/generate/k", "").is_none());
    let (_, finished) = stage
        .resume(stage.io("get k"), Outcome::Names(Vec::new()))
        .unwrap();
    assert_eq!(status(finished), 502);
}

#[test]
fn configured_keys_are_created_unless_they_exist() {
    for (outcome, expected) in [
        (Outcome::Done, Ok(None)),
        (Outcome::Failed(Failure::Exists), Ok(None)),
        (
            Outcome::Failed(Failure::Failed("full".to_owned())),
            Err("the configured keys can't be created: failed to create key: full".to_owned()),
        ),
    ] {
        let mut stage = Stage::new();
        assert!(stage.door.prepare(1).is_none());
        let (_, finished) = stage.resume(stage.io("create wanted"), outcome).unwrap();
        let Finished::Prepared(result) = finished else {
            panic!("not prepared")
        };
        assert_eq!(result, expected);
    }
}
