//! Copies of keys, over a key store that is away for a while.

use super::chest::{Chest, Turns};
use super::*;
use crate::seal::{Header, NodeIdentity, cache};

/// Instances of the service that find the same copies.
struct Platforms {
    fake: Fake,
    chest: Rc<RefCell<Chest>>,
    config: &'static str,
}

const CONFIG: &str = "cache: {expiry: {any: 10s, unused: 5s, offline: 60s}}";
const UNREAD: &str =
    "copies of keys can't be read, so while the key store is away some may be missing: it is away";

fn node(seed: u8) -> NodeIdentity {
    NodeIdentity::generate(&mut |bytes| bytes.fill(seed))
}

fn name() -> Name {
    Name::new("k").unwrap()
}

impl Platforms {
    fn new() -> Self {
        Self::with(CONFIG)
    }

    fn with(config: &'static str) -> Self {
        Self {
            fake: Fake::default(),
            chest: Rc::default(),
            config,
        }
    }

    /// An instance that has just started, of the first node or another one.
    fn start_as(&self, seed: u8) -> Stage<Remote<Fake>> {
        let (recipient, identity) = (node(seed).recipient().to_string(), node(seed));
        let config = configured(&format!(
            "{}\nkeystore: {{vault: {{endpoint: 'https://vault:8200', version: v2, approle: {{id: i, secret: s}}}}}}\n\
             seal: {{recipients: [{recipient}], unseal: {{identity: {}}}, accept_unsealed: on}}\n",
            self.config,
            identity.text()
        ));
        self.start_with(config)
    }

    fn start_with(&self, config: Config) -> Stage<Remote<Fake>> {
        let machine = Machine {
            fake: self.fake.clone(),
            store: Remote::new(&config.keystore, self.fake.clone()).unwrap(),
            copies: Some(Kept {
                chest: self.chest.clone(),
                clock: self.fake.clone(),
                turns: Turns::open(),
            }),
            trusts: Cell::default(),
        };
        Stage {
            service: Rc::new(Service::new(config, machine)),
            fake: self.fake.clone(),
        }
    }

    fn start(&self) -> Stage<Remote<Fake>> {
        self.start_as(1)
    }

    /// Has Vault answer, with a key `k` until that is deleted.
    fn answer(&self) {
        let created = self.fake.now().timestamp();
        let stored = Key::create(&mut |bytes| bytes.fill(9), created, None).to_stored();
        let found = format!(
            r#"{{"data":{{"data":{{"k":"{}"}},"metadata":{{"created_time":"","version":1}}}}}}"#,
            *stored
        );
        let mut is_there = true;
        self.fake.serve(move |request| {
            if request.path.ends_with("/login") {
                return Reply::json(200, r#"{"auth":{"client_token":"t","lease_duration":0}}"#);
            }
            match (&*request.method, is_there && request.path.ends_with("/k")) {
                ("GET", true) => Reply::json(200, &found),
                ("DELETE", true) => {
                    is_there = false;
                    Reply::json(204, "")
                }
                _ => Reply::json(404, r#"{"errors":[]}"#),
            }
        });
    }

    fn away(&self) {
        self.fake.serve(|_| Reply::refused());
    }

    fn pass(&self, seconds: u64) {
        self.fake.pass(Duration::from_secs(seconds));
    }

    /// Lets time pass until so long after the start.
    fn pass_to(&self, seconds: u64) {
        let left = Duration::from_secs(seconds).checked_sub(self.fake.elapsed());
        self.fake.pass(left.unwrap());
    }

    /// How many copies there are.
    fn count(&self) -> usize {
        self.chest.borrow().copies.len()
    }

    /// Puts something as the copy of `k`.
    fn put(&self, copy: Vec<u8>) {
        let read = self.fake.now();
        self.chest.borrow_mut().copies.insert(name(), (copy, read));
    }

    /// Whether a request has been to the key store since the last.
    fn has_asked(&self) -> bool {
        !self.fake.requests().is_empty()
    }
}

fn offline<S: Store + 'static>(stage: &Stage<S>) -> u64 {
    let (_, text) = stage.ask("GET /v1/metrics");
    let line = text
        .lines()
        .find_map(|it| it.strip_prefix("kes_cache_offline_hits "));
    line.unwrap().parse().unwrap()
}

#[test]
fn another_instance_serves_a_copy_while_the_key_store_is_away_and_no_longer_than_offline() {
    let platforms = Platforms::new();
    let first = platforms.start();
    platforms.answer();
    assert_eq!(first.status(GENERATE), 200);
    assert_eq!(platforms.count(), 1);
    platforms.away();
    platforms.pass(11);
    let second = platforms.start();
    for _ in 0..3 {
        assert_eq!(second.status(GENERATE), 200);
    }
    assert_eq!(offline(&second), 3);
    assert_eq!(second.status("PUT /v1/key/generate/k2"), 502);
    // To find out that it is away takes a while, too.
    platforms.pass_to(50);
    assert_eq!(platforms.start().status(GENERATE), 200);
    platforms.pass_to(60);
    assert_eq!(platforms.start().status(GENERATE), 502);
    assert_eq!(second.status(GENERATE), 502);
}

#[test]
fn a_copy_that_was_made_moments_ago_saves_a_read_and_no_older_one_does() {
    let platforms = Platforms::new();
    let first = platforms.start();
    platforms.answer();
    assert_eq!(first.status(GENERATE), 200);
    assert!(platforms.has_asked());
    platforms.pass(4);
    let second = platforms.start();
    assert_eq!(second.status(GENERATE), 200);
    assert!(!platforms.has_asked());
    assert_eq!(offline(&second), 0);
    // It counts from the read of the first.
    platforms.pass(4);
    assert_eq!(second.status(GENERATE), 200);
    assert!(!platforms.has_asked());
    platforms.pass(2);
    assert_eq!(second.status(GENERATE), 200);
    assert!(platforms.has_asked());
    // From the future, as far as this clock can tell.
    let copies = platforms.chest.borrow().copies.clone();
    let earlier = Platforms::new();
    earlier.chest.borrow_mut().copies = copies;
    earlier.away();
    assert_eq!(earlier.start().status(GENERATE), 502);
}

#[test]
fn what_was_deleted_is_in_no_copy_and_what_is_gone_elsewhere_neither() {
    let platforms = Platforms::new();
    let stage = platforms.start();
    platforms.answer();
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(stage.status("DELETE /v1/key/delete/k"), 200);
    assert_eq!(platforms.count(), 0);
    platforms.away();
    assert_eq!(platforms.start().status(GENERATE), 502);

    platforms.answer();
    platforms.pass(11);
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(platforms.count(), 1);
    platforms.pass(11);
    stage.fake.serve(|request| match &*request.method {
        "POST" => Reply::json(200, r#"{"auth":{"client_token":"t","lease_duration":0}}"#),
        _ => Reply::json(404, r#"{"errors":[]}"#),
    });
    assert_eq!(stage.status(GENERATE), 404);
    assert_eq!(platforms.count(), 0);
}

#[test]
fn no_copies_come_back_while_nobody_knows_what_became_of_a_delete() {
    let platforms = Platforms::new();
    let stage = platforms.start();
    platforms.answer();
    assert_eq!(stage.status(GENERATE), 200);
    platforms.away();
    assert_eq!(stage.status("DELETE /v1/key/delete/k"), 502);
    platforms.answer();
    platforms.pass(11);
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(platforms.count(), 0);
    platforms.pass(120);
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(platforms.count(), 1);
}

#[test]
fn a_delete_is_refused_if_copies_may_stay_even_where_none_are_made() {
    for config in [CONFIG, ""] {
        let platforms = Platforms::with(config);
        let stage = platforms.start();
        platforms.answer();
        platforms.chest.borrow_mut().is_away = true;
        platforms.has_asked();
        let (status, body) = stage.ask("DELETE /v1/key/delete/k");
        assert_eq!(
            (status, &*body),
            (502, r#"{"message":"failed to delete key"}"#)
        );
        assert!(!platforms.has_asked());
        let line = "failed to delete key: copies of it can't be dropped, so it is kept: it is away";
        assert_eq!(platforms.fake.lines(), [line]);
    }
    let platforms = Platforms::with("");
    platforms.put(vec![1]);
    platforms.answer();
    let stage = platforms.start();
    platforms.answer();
    assert_eq!(stage.status("DELETE /v1/key/delete/k"), 200);
    assert_eq!(platforms.count(), 0);
}

#[test]
fn while_the_copies_are_away_the_key_store_decides_and_the_log_says_so_once() {
    let platforms = Platforms::new();
    let stage = platforms.start();
    platforms.answer();
    platforms.chest.borrow_mut().is_away = true;
    for _ in 0..3 {
        assert_eq!(stage.status(GENERATE), 200);
        platforms.pass(11);
    }
    assert_eq!(platforms.fake.lines(), [UNREAD]);
    // Then there is the memory.
    platforms.away();
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(platforms.start().status(GENERATE), 502);
}

#[test]
fn memory_does_not_bring_back_what_another_instance_has_deleted() {
    let platforms = Platforms::new();
    let (one, other) = (platforms.start(), platforms.start());
    platforms.answer();
    assert_eq!((one.status(GENERATE), other.status(GENERATE)), (200, 200));
    assert_eq!(one.status("DELETE /v1/key/delete/k"), 200);
    platforms.away();
    platforms.pass(11);
    assert_eq!(other.status(GENERATE), 502);
}

#[test]
fn a_copy_that_does_not_open_counts_as_none_and_is_said_once() {
    let platforms = Platforms::new();
    let stage = platforms.start();
    platforms.answer();
    assert_eq!(stage.status(GENERATE), 200);
    let (copy, _) = platforms.chest.borrow().copies[&name()].clone();
    platforms.away();
    platforms.pass(11);
    let under = |name: &str, secret: &NodeIdentity, value: &[u8]| {
        let header = Header {
            name: Name::new(name).unwrap(),
            sealed_at: platforms.fake.now(),
        };
        let random = &mut |buffer: &mut [u8]| buffer.fill(3);
        cache::seal(&RustCrypto, random, value, &header, secret.cache_secret()).unwrap()
    };
    let value = Key::create(
        &mut |bytes| bytes.fill(9),
        platforms.fake.now().timestamp(),
        None,
    )
    .to_stored();
    let value = value.as_bytes();
    let altered = |at: usize| {
        let mut copy = copy.clone();
        copy[at] ^= 1;
        copy
    };
    platforms.put(under("k", &node(1), value));
    assert_eq!(platforms.start().status(GENERATE), 200);
    platforms.fake.lines();
    for copy in [
        under("other", &node(1), value),
        under("k", &node(2), value),
        under("k", &node(1), b"no key"),
        altered(0),
        altered(30),
        altered(copy.len() - 1),
        b"".to_vec(),
        value.to_vec(),
    ] {
        platforms.put(copy);
        let stage = platforms.start();
        for _ in 0..2 {
            assert_eq!(stage.status(GENERATE), 502);
        }
        let lines = platforms.fake.lines();
        let alien = lines
            .iter()
            .filter(|it| it.starts_with("what was kept as a copy of 'k'"));
        assert_eq!(alien.count(), 1, "{lines:?}");
    }
    // Another one takes its place.
    platforms.answer();
    platforms.put(altered(30));
    assert_eq!(platforms.start().status(GENERATE), 200);
    assert_ne!(platforms.chest.borrow().copies[&name()].0, altered(30));
}

#[test]
fn what_is_kept_is_sealed() {
    let platforms = Platforms::new();
    let stage = platforms.start();
    platforms.answer();
    assert_eq!(stage.status(GENERATE), 200);
    let (copy, _) = platforms.chest.borrow().copies[&name()].clone();
    // The stored form of the key that Vault has here, and what that is of.
    let secret = [9; 32];
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, secret);
    for plain in [&secret[..], &text.as_bytes()[..40]] {
        assert!(!copy.windows(plain.len()).any(|it| it == plain));
    }
    let opened = cache::open(&RustCrypto, &copy, &name(), node(1).cache_secret());
    assert!(Key::from_stored(&opened.unwrap().1).is_ok());
}

#[test]
fn none_are_made_without_offline_or_without_seal() {
    let platforms = Platforms::with("");
    let stage = platforms.start();
    platforms.answer();
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(platforms.count(), 0);
    let platforms = Platforms::new();
    let stage = platforms.start_with(config());
    platforms.answer();
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(platforms.count(), 0);
}

#[test]
fn a_node_with_another_identity_makes_copies_of_its_own() {
    let platforms = Platforms::new();
    let stage = platforms.start();
    platforms.answer();
    assert_eq!(stage.status(GENERATE), 200);
    platforms.pass(1);
    let other = platforms.start_as(2);
    assert_eq!(other.status(GENERATE), 200);
    platforms.away();
    platforms.pass(11);
    assert_eq!(platforms.start_as(2).status(GENERATE), 200);
}
