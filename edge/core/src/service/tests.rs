//! The service over a key store that is away for a while.

use super::*;
use crate::auth::nonces::{Lifetime, Nonce, Replay};
use crate::certificate::Principal;
use crate::config::{Keystore, Supported, parse};
use crate::copies::Copies;
use crate::crypto::RustCrypto;
use crate::key::Key;
use crate::outgoing::{Fault, Request as Outgoing, Response as Answered};
use crate::platform::{Body, BodyError, System, World};
use crate::store::StoreError;
use crate::store::remote::Remote;
use crate::store::remote::fake::{Fake, Reply};
use chest::Kept;
use zeroize::Zeroizing;

mod chest;
mod cloudflare;
mod copies;
mod edge;
mod interleavings;
mod renewal;
mod unseal;

const ADMIN: Identity = Identity::from_bytes([1; 32]);
const AWAY: &str = "the key store https://vault:8200 is away: connection refused";
const BACK: &str = "the key store https://vault:8200 is back";

/// A platform of one instance; one at the `EDGE` has neither certificates of clients nor streams of logs,
/// and no memory between requests.
struct Machine<S, const EDGE: bool = false> {
    fake: Fake,
    store: S,
    /// Whether it trusts whatever certificate.
    trusts: Cell<bool>,
    /// Where it keeps copies.
    copies: Option<Kept>,
}

impl<S: 'static, const EDGE: bool> World for Machine<S, EDGE> {
    fn now(&self) -> Time {
        self.fake.now()
    }

    fn random(&self, buffer: &mut [u8]) {
        self.fake.random(buffer);
    }

    async fn sleep(&self, duration: Duration) {
        self.fake.sleep(duration).await;
    }

    async fn fetch(&self, request: Outgoing) -> Result<Answered, Fault> {
        self.fake.fetch(request).await
    }

    async fn file(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        self.fake.file(path).await
    }

    fn log_error(&self, line: &str) {
        self.fake.log_error(line);
    }
}

impl<S: Store + 'static, const EDGE: bool> Platform for Machine<S, EDGE> {
    const HANDSHAKES: bool = !EDGE;
    const LOG_STREAMS: bool = !EDGE;
    const MEMORY: bool = !EDGE;

    type Store = S;
    type Crypto = RustCrypto;
    type Body = NoBody;

    fn store(&self) -> &S {
        &self.store
    }

    fn crypto(&self) -> &RustCrypto {
        &RustCrypto
    }

    async fn invalidate(&self, _: &Name) {}

    fn copies(&self) -> Option<&impl Copies> {
        self.copies.as_ref()
    }

    async fn remember(&self, _: Identity, _: Nonce, _: Lifetime) -> Result<(), Replay> {
        Ok(())
    }

    fn trusts(&self, _: &[Vec<u8>]) -> bool {
        self.trusts.get()
    }

    async fn totals(&self, figures: Vec<u64>) -> Vec<u64> {
        figures
    }

    fn system(&self) -> System {
        System {
            commit: String::new(),
            os: String::new(),
            arch: String::new(),
            started: self.fake.now(),
            cpus: 1,
            usable_cpus: 1,
            threads: 1,
            heap: 0,
            stack: 0,
        }
    }

    fn audit(&self, _: &audit::Record<'_>) {}
}

struct NoBody;

impl Body for NoBody {
    async fn read(self, _: usize) -> Result<Vec<u8>, BodyError> {
        Err(BodyError::Broken)
    }
}

fn config() -> Config {
    configured(
        "cache: {expiry: {any: 10s, unused: 10s, offline: 60s}}\nkeystore: {vault: {\
         endpoint: 'https://vault:8200', version: v2, approle: {id: i, secret: s}}}\n",
    )
}

fn configured(more: &str) -> Config {
    let admin = match more.contains("admin:") {
        true => String::new(),
        false => format!("admin: {{identity: {ADMIN}}}\n"),
    };
    let text = format!("version: v1\n{admin}tls: {{key: k, cert: c}}\n{more}");
    let supported = Supported {
        keystores: &["vault", "mem"],
        tls: true,
        cloudflare: false,
        memory: true,
        files: true,
        api_paths: &[],
    };
    let Ok(parsed) = parse(&text, &|_| None, &supported) else {
        panic!("{text}")
    };
    parsed.config
}

struct Stage<S> {
    service: Rc<Service<Machine<S>>>,
    fake: Fake,
}

impl<S: Store + 'static> Stage<S> {
    fn with(fake: Fake, store: S) -> Self {
        Self::with_config(fake, store, config())
    }

    fn with_config(fake: Fake, store: S, config: Config) -> Self {
        let machine = Machine {
            fake: fake.clone(),
            store,
            trusts: Cell::default(),
            copies: None,
        };
        let service = Rc::new(Service::new(config, machine));
        Self { service, fake }
    }

    /// The status and the body of the answer to the admin.
    fn ask(&self, line: &str) -> (u16, String) {
        let admin = Principal::Client {
            identity: ADMIN,
            expires: Time::from_nanos(u64::MAX),
        };
        let request = Request {
            line: line.into(),
            arrived: self.fake.now(),
            client: Client::from_bytes(admin.to_bytes().to_vec()),
            presented: None,
            audited: false,
            body: Incoming::Whole(b"{}".to_vec()),
        };
        match self.fake.run(self.service.clone().serve(request)) {
            Answer::Response(response) => {
                let body = String::from_utf8(response.body.to_vec()).unwrap();
                (response.status, body)
            }
            Answer::Subscription(_) => panic!("{line}"),
        }
    }

    fn status(&self, line: &str) -> u16 {
        self.ask(line).0
    }
}

impl Stage<Remote<Fake>> {
    fn new() -> Self {
        let fake = Fake::default();
        let keystore: Keystore = config().keystore;
        let store = Remote::new(&keystore, fake.clone()).unwrap();
        let stage = Self::with(fake, store);
        stage.answer();
        stage
    }

    /// Has Vault answer, with a key of any name that begins with `k`.
    fn answer(&self) {
        let key = Key::create(
            &mut |bytes| bytes.fill(9),
            self.fake.now().timestamp(),
            None,
        );
        let stored = key.to_stored().to_string();
        self.fake.serve(move |request| match request.path.as_str() {
            path if path.ends_with("/login") => {
                Reply::json(200, r#"{"auth":{"client_token":"t","lease_duration":0}}"#)
            }
            path if path.contains("health") => {
                Reply::json(200, r#"{"initialized":true,"sealed":false}"#)
            }
            path => match path.strip_prefix("/v1/kv/data/k") {
                Some(rest) => Reply::json(
                    200,
                    &format!(
                        r#"{{"data":{{"data":{{"k{rest}":"{stored}"}},"metadata":{{"created_time":"","version":1}}}}}}"#
                    ),
                ),
                None => Reply::json(404, r#"{"errors":[]}"#),
            },
        });
    }
}

const GENERATE: &str = "PUT /v1/key/generate/k";

#[test]
fn an_outage_is_logged_once_and_what_is_cached_goes_on() {
    let stage = Stage::new();
    assert_eq!(stage.status(GENERATE), 200);
    stage.fake.serve(|_| Reply::refused());
    stage.fake.pass(Duration::from_secs(11));
    for _ in 0..5 {
        assert_eq!(stage.status(GENERATE), 200);
        let (status, body) = stage.ask("PUT /v1/key/generate/k2");
        assert_eq!(
            (status, body.as_str()),
            (502, r#"{"message":"failed to read key"}"#)
        );
        assert_eq!(stage.status("GET /v1/key/list/*"), 502);
        let (status, body) = stage.ask("GET /v1/ready");
        assert_eq!(
            (status, body.as_str()),
            (504, r#"{"message":"key store is not reachable"}"#)
        );
        let (_, body) = stage.ask("GET /v1/status");
        assert!(body.contains(r#""keystore_unreachable":true"#), "{body}");
    }
    assert_eq!(stage.fake.lines(), [AWAY]);
    stage.fake.pass(Duration::from_secs(60));
    assert_eq!(stage.status(GENERATE), 502);

    stage.answer();
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(stage.status("GET /v1/ready"), 200);
    assert_eq!(stage.fake.lines(), [BACK]);
}

#[test]
fn a_store_that_answers_is_no_outage_whatever_it_says() {
    for (status, body, expected) in [
        (403, r#"{"errors":["permission denied"]}"#, 502),
        (401, r#"{"errors":["permission denied"]}"#, 502),
        (404, r#"{"errors":["namespace not found"]}"#, 502),
        (404, r#"{"errors":[]}"#, 404),
        (200, "{", 502),
    ] {
        let stage = Stage::new();
        assert_eq!(stage.status(GENERATE), 200);
        stage.fake.serve(move |request| match &*request.method {
            "GET" => Reply::json(status, body),
            _ => Reply::json(200, r#"{"auth":{"client_token":"t","lease_duration":0}}"#),
        });
        stage.fake.pass(Duration::from_secs(11));
        for _ in 0..2 {
            assert_eq!(stage.status(GENERATE), expected, "{status} {body}");
        }
        // Each request that it fails is in the log.
        let lines = if expected == 502 { 2 } else { 0 };
        assert_eq!(stage.fake.lines().len(), lines, "{status} {body}");
    }
}

/// A store that is away and leaves it to others to say so.
struct Away;

impl Away {
    fn error() -> StoreError {
        StoreError::Unreachable("no such folder".into())
    }
}

impl Store for Away {
    async fn create(&self, _: &Name, _: &[u8]) -> Result<(), StoreError> {
        Err(Self::error())
    }

    async fn get(&self, _: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        Err(Self::error())
    }

    async fn delete(&self, _: &Name) -> Result<(), StoreError> {
        Err(Self::error())
    }

    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<String>, StoreError> {
        Err(Self::error())
    }

    async fn status(&self) -> Result<(), StoreError> {
        Err(Self::error())
    }
}

#[test]
fn what_a_store_does_not_log_itself_is_logged_for_each_request() {
    let stage = Stage::with(Fake::default(), Away);
    for _ in 0..2 {
        assert_eq!(stage.status(GENERATE), 502);
    }
    let line = "failed to read key: the key store is not reachable: no such folder";
    assert_eq!(stage.fake.lines(), [line; 2]);
}
