//! The service as a Spin application: the component that `spin.toml` builds, in the harness that is Spin to it.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealedge_core::auth::signature::Signer;
use sealedge_tests::client::{Answer, Client, Credentials, recorded, signed};
use sealedge_tests::openbao::OpenBao;
use sealedge_tests::spin::{
    self, App, Atomics, Backend, Fault, Operation, RedisServer, Setup, Spot, manifest_of_sealedge,
};
use serde_json::{Value, json};

use super::sealing::identity;
use super::{parity, stores};

const HERE: &str = "keystore: {spin: {keyvalue: {}}}\n";
const GENERATE: &str = "/v1/key/generate/one";

/// An application under a configuration of this key store, with the admin of the recordings, and more of it.
fn setup(more: &str) -> Setup {
    let admin = recorded("admin").identity();
    let admin = format!("admin: {{identity: {admin}}}\nlog: {{audit: on}}\n");
    configured(&(admin + more))
}

/// An application under a configuration, for whose clients it is `localhost`.
fn configured(more: &str) -> Setup {
    let node = identity();
    let recipient = node.recipient();
    let config = format!(
        "version: v1\nauth: {{authorities: [localhost], bearer: on}}\n\
         seal: {{recipients: [{recipient}], unseal: {{identity: '${{SEALEDGE_IDENTITY}}'}}}}\n{more}"
    );
    Setup::new(manifest_of_sealedge())
        .variable("sealedge_config", &config)
        .variable("sealedge_identity", node.text())
}

fn started(setup: Setup) -> App {
    setup.start().unwrap_or_else(|why| panic!("{why}"))
}

async fn signing(address: &str, who: &str) -> Client {
    let signer = (who != "none").then(|| Signer::new(recorded(who)));
    Client::plain(address, signer).await.unwrap()
}

async fn ask(app: &App, method: &str, path: &str) -> Answer {
    let mut admin = signing(&app.address, "admin").await;
    admin.call(method, path, Value::Null).await
}

async fn says(app: &App, method: &str, path: &str) -> (u16, String) {
    let answer = ask(app, method, path).await;
    let message = (answer.status != 200).then(|| answer.message());
    (answer.status, message.unwrap_or_default())
}

/// Whether there is a key, by a DEK of it.
async fn is_there(app: &App, name: &str) -> bool {
    let path = format!("/v1/key/generate/{name}");
    match says(app, "PUT", &path).await {
        (200, _) => true,
        (404, _) => false,
        other => panic!("{other:?}"),
    }
}

fn count(app: &App, operation: Operation) -> u64 {
    app.last().counts.get(&operation).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_exchange_of_kes_is_repeated_on_spin() {
    let instead = |case: &Value| match case["path"].as_str()? {
        _ if case["as"] == "none" && case["answer"]["status"] == 400 => {
            let message = case["answer"]["json"]["message"].as_str()?;
            message.starts_with("tls: client certificate").then_some((
                401,
                "no credential: sign the request (RFC 9421), or send a bearer key where that is on",
            ))
        }
        "/v1/metrics" if case["answer"]["status"] == 200 => Some((
            501,
            "there are no metrics here: nothing outlives a request on this platform, so nothing is counted; count \
             the records of the audit log",
        )),
        "/v1/log/error" | "/v1/log/audit" if case["answer"]["status"] == 200 => Some((
            501,
            "logs can't be read as a stream here: read them where the platform keeps them",
        )),
        _ => None,
    };
    let setup = configured(&parity::configured(HERE));
    let repeat = async |address: &str| {
        let connect = async |who: &str| signing(address, who).await;
        parity::repeat_over(connect, "signature", instead).await;
    };
    if let Some(program) = spin::program() {
        let spin = setup
            .start_with(&program)
            .unwrap_or_else(|why| panic!("{why}"));
        repeat(&spin.address).await;
    }
    repeat(&started(setup).address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let app = setup(HERE).store(Backend::File(folder.path().join("keys.db")));
    conforms(app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    if let Some(redis) = RedisServer::start() {
        conforms(setup(HERE).store(Backend::Redis(redis.address.clone()))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openbao() {
    let Some((bao, setup)) = over_openbao("").await else {
        return;
    };
    conforms(setup).await;
    drop(bao);
}

/// What every store does: in the harness, and in a real Spin where there is one.
async fn conforms(setup: Setup) {
    let app = started(setup.clone());
    let connect = async || signing(&app.address, "admin").await;
    stores::conforms_over(connect, true).await;
    drop(app);
    if let Some(program) = spin::program() {
        let spin = setup
            .start_with(&program)
            .unwrap_or_else(|why| panic!("{why}"));
        let mut client = signing(&spin.address, "admin").await;
        // What the harness has left there.
        for at in 0..3_000 {
            let path = format!("/v1/key/delete/many-{at}");
            client.call("DELETE", &path, Value::Null).await;
        }
        let connect = async || signing(&spin.address, "admin").await;
        stores::conforms_over(connect, true).await;
    }
}

/// An application whose keys are in an OpenBao.
async fn over_openbao(more: &str) -> Option<(OpenBao, Setup)> {
    let bao = OpenBao::start(&stores::program()?).await;
    let keystore = stores::keystore(&bao, "engine: kv2, version: v2").await;
    let setup = setup(&format!("keystore: {{{keystore}}}\n{more}"));
    let address = format!("http://{}", bao.address);
    Some((bao, setup.variable("sealedge_keystore", &address)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_clone_answers_on_this_machine_alone() {
    let manifest = manifest_of_sealedge();
    let app = started(Setup::new(&manifest).env(manifest.with_file_name(".env")));
    let mut client = signing(&app.address, "none").await;
    let key = (
        "authorization",
        "Bearer kes:v1:AADevelopmentKeyThatEverybodyKnowsNeverUseIt",
    );
    let create = "/v1/key/create/my-key";
    let answer = client.send("POST", create, &[key], "").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");

    app.output()
        .wait_for("it has a key for development that everybody knows");

    let elsewhere: SocketAddr = "192.0.2.1:4711".parse().unwrap();
    app.client(Some(elsewhere));
    let forged = ("spin-client-addr", "127.0.0.1:4711");
    for headers in [&[key][..], &[key, forged]] {
        let path = "/v1/key/generate/my-key";
        let answer = client.send("PUT", path, headers, "").await.unwrap();
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(
            answer.message().contains("that everybody knows"),
            "{answer:?}"
        );
    }
    let version = client.send("GET", "/version", &[], "").await.unwrap();
    assert_eq!(version.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dek_of_a_copy_costs_two_reads_and_its_use_is_noted_now_and_then() {
    let cache = "cache: {expiry: {any: 1h, unused: 10s}}\n";
    let app = started(setup(&format!("{HERE}{cache}")));
    assert_eq!(says(&app, "PUT", "/v1/key/create/one").await.0, 200);
    assert_eq!(ask(&app, "PUT", GENERATE).await.status, 200);
    let key = format!("Bearer {}", *recorded("admin").to_text());
    let mut client = signing(&app.address, "none").await;
    let mut generate = async || {
        let headers = [("authorization", key.as_str())];
        let answer = client.send("PUT", GENERATE, &headers, "").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        (count(&app, Operation::Get), count(&app, Operation::Set))
    };
    // One request in sixteen looks whether it is time to sweep.
    let is_cheap = |(gets, sets): (u64, u64)| (2..=3).contains(&gets) && sets == 0;
    let mut costs = Vec::new();
    for _ in 0..5 {
        costs.push(generate().await);
    }
    assert!(costs.contains(&(2, 0)), "{costs:?}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (_, noted) = generate().await;
    assert!(noted >= 1, "a tenth of `unused` has passed");
    assert!(is_cheap(generate().await));
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    let (gets, sets) = generate().await;
    assert!(
        gets > 3 && sets >= 1,
        "it was not used and is read anew: {gets}, {sets}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_openbao_is_away_copies_are_served_and_no_deleted_key_is() {
    let cache = "cache: {expiry: {any: 100ms, unused: 100ms, offline: 1h}}\n";
    let Some((mut bao, setup)) = over_openbao(cache).await else {
        return;
    };
    let app = started(setup);
    for name in ["one", "two", "unread"] {
        let path = format!("/v1/key/create/{name}");
        assert_eq!(says(&app, "PUT", &path).await.0, 200);
    }
    assert!(is_there(&app, "one").await && is_there(&app, "two").await);
    assert_eq!(says(&app, "DELETE", "/v1/key/delete/two").await.0, 200);
    bao.kill();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(is_there(&app, "one").await);
    let failed = (502, "failed to read key".to_owned());
    assert_eq!(says(&app, "PUT", "/v1/key/generate/two").await, failed);
    assert_eq!(says(&app, "PUT", "/v1/key/generate/unread").await, failed);
    // Nobody hears what becomes of this delete: from now on there are no copies of it.
    let failed = (502, "failed to delete key".to_owned());
    assert_eq!(says(&app, "DELETE", "/v1/key/delete/one").await, failed);
    let failed = (502, "failed to read key".to_owned());
    assert_eq!(says(&app, "PUT", GENERATE).await, failed);
    bao.restart().await;
    assert!(is_there(&app, "one").await);
    assert!(!is_there(&app, "two").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_dies_at_any_step_leaves_a_name_of_use() {
    let app = started(setup(HERE));
    let mut steps = 0;
    for nth in 1.. {
        for kill in [Fault::KillBefore, Fault::KillAfter] {
            let name = format!("killed-{nth}-{}", steps % 2);
            let line = format!("/v1/key/create/{name}");
            let spot = Spot {
                line: line.clone(),
                operation: None,
                nth,
            };
            app.key_value().plan(spot, kill);
            let mut admin = signing(&app.address, "admin").await;
            let died = admin.send("PUT", &line, &[], "").await.unwrap().status;
            if died == 200 {
                // It has no such step.
                assert!(nth > 15, "{nth}");
                return;
            }
            assert_eq!(died, 500, "{nth}");
            steps += 1;
            let was_there = is_there(&app, &name).await;
            let (status, message) = says(&app, "PUT", &line).await;
            assert!(!was_there || status == 400, "{nth}: {status} {message}");
            assert!(
                status == 200 || message == "key already exists",
                "{nth}: {message}"
            );
            assert!(is_there(&app, &name).await, "{nth}");
            let delete = format!("/v1/key/delete/{name}");
            assert_eq!(says(&app, "DELETE", &delete).await.0, 200, "{nth}");
            assert!(!is_there(&app, &name).await, "{nth}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_is_answered_once() {
    let app = started(setup(HERE));
    let signer = Signer::new(recorded("admin"));
    let headers = signed(&signer, "GET", "/v1/status", b"");
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(signing(&app.address, "none").await);
    }
    let mut answers = Vec::new();
    for mut client in clients {
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        answers.push(tokio::spawn(async move {
            let headers: Vec<_> = headers
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect();
            client
                .send("GET", "/v1/status", &headers, "")
                .await
                .unwrap()
                .status
        }));
    }
    let mut taken = 0;
    for answer in answers {
        taken += usize::from(answer.await.unwrap() == 200);
    }
    assert_eq!(taken, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_proxy_forwards_certificates_and_nobody_else_does() {
    let identity = Credentials::of(&recorded("app"));
    let secret = "a-secret-of-at-least-thirty-two-bytes";
    let proxy = "tls: {proxy: {addresses: [192.0.2.0/24], secret: '${PROXY_SECRET}'}}\n";
    let policy = format!(
        "policy: {{app: {{allow: ['/v1/key/*'], identities: [{}]}}}}\n",
        identity.identity()
    );
    let app = setup(&format!("{HERE}{proxy}{policy}")).variable("proxy_secret", secret);
    let app = started(app);
    let certificate = identity.escaped();
    let path = "/v1/identity/self/describe";
    let mut client = signing(&app.address, "none").await;
    let mut ask = async |ip: &str, more: &[(&str, &str)]| {
        app.client(Some(ip.parse().unwrap()));
        let mut headers = vec![("x-tls-client-cert", certificate.as_str())];
        headers.extend_from_slice(more);
        client.send("GET", path, &headers, "").await.unwrap()
    };
    let shared = ("x-proxy-secret", secret);
    let answer = ask("192.0.2.7:1", &[shared]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["identity"], identity.identity().to_string());
    assert_eq!(ask("192.0.2.7:1", &[]).await.status, 400);
    assert_eq!(
        ask("192.0.2.7:1", &[("x-proxy-secret", "wrong")])
            .await
            .status,
        400
    );
    let forged = ("spin-client-addr", "192.0.2.7:1");
    assert_eq!(ask("198.51.100.1:1", &[forged, shared]).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bearer_key_needs_https_from_elsewhere() {
    let key = format!("Bearer {}", *recorded("admin").to_text());
    for (is_https, ip, expected) in [
        (true, "192.0.2.1:1", 200),
        (false, "192.0.2.1:1", 400),
        (false, "127.0.0.1:1", 200),
        (false, "[::1]:1", 200),
    ] {
        let setup = setup(HERE);
        let app = started(if is_https { setup.https() } else { setup });
        app.client(Some(ip.parse().unwrap()));
        let mut client = signing(&app.address, "none").await;
        let forged = ("spin-full-url", "https://localhost/v1/status");
        let headers = [("authorization", key.as_str()), forged];
        let answer = client
            .send("GET", "/v1/status", &headers, "")
            .await
            .unwrap();
        assert_eq!(answer.status, expected, "{ip}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_atomics_keys_are_created_only_if_the_configuration_says_so() {
    let app = started(setup(HERE).atomics(Atomics::Unsupported));
    let mut client = signing(&app.address, "none").await;
    let key = format!("Bearer {}", *recorded("admin").to_text());
    let headers = [("authorization", key.as_str())];
    let create = "/v1/key/create/one";
    let answer = client.send("PUT", create, &headers, "").await.unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    app.output()
        .wait_for("`keystore.spin.keyvalue.atomics: off`");
    let off = HERE.replace("{}", "{atomics: off}");
    let app = started(setup(&off).atomics(Atomics::Unsupported));
    for _ in 0..2 {
        assert_eq!(says(&app, "PUT", create).await.0, 200);
        assert_eq!(says(&app, "PUT", create).await.0, 400);
        assert!(is_there(&app, "one").await);
        assert_eq!(says(&app, "DELETE", "/v1/key/delete/one").await.0, 200);
        assert!(!is_there(&app, "one").await);
    }
}

/// Where keys are elsewhere nothing but deletes takes them.
#[tokio::test(flavor = "multi_thread")]
async fn without_atomics_signed_requests_are_remembered_all_the_same() {
    let Some((_bao, setup)) = over_openbao("").await else {
        return;
    };
    let app = started(setup.atomics(Atomics::Unsupported));
    assert_eq!(says(&app, "PUT", "/v1/key/create/one").await.0, 200);
    assert!(is_there(&app, "one").await);
    let headers = signed(&Signer::new(recorded("admin")), "GET", "/v1/status", b"");
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let mut client = signing(&app.address, "none").await;
    for expected in [200, 400] {
        let answer = client
            .send("GET", "/v1/status", &headers, "")
            .await
            .unwrap();
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    assert_eq!(says(&app, "DELETE", "/v1/key/delete/one").await.0, 502);
    app.output().wait_for("--no-default-features");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_lent_is_named_in_the_log() {
    let Some((_bao, setup)) = over_openbao("").await else {
        return;
    };
    let app = started(setup.variable("sealedge_keystore", "https://other.example"));
    assert_eq!(says(&app, "PUT", GENERATE).await.0, 502);
    let line = app.output().wait_for("allowed_outbound_hosts");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!(line["message"].is_string(), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_does_not_do_is_refused_by_its_fields() {
    let more = "tls: {key: a, cert: b, cloudflare: on}\nkeystore: {fs: {path: /keys}}\n";
    let app = started(setup(more));
    let mut client = signing(&app.address, "none").await;
    for path in ["/version", "/v1/status"] {
        let answer = client.call("GET", path, Value::Null).await;
        assert_eq!(answer.status, 500);
        assert_eq!(
            answer.message(),
            "the service is not configured: its log says why"
        );
    }
    for field in ["tls.key", "tls.cert", "tls.cloudflare", "keystore.fs"] {
        app.output().wait_for(field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_in_the_configuration_is_said_once() {
    let app = started(setup(&format!("{HERE}cache: {{expiry: {{any: 0s}}}}\n")));
    for _ in 0..3 {
        assert_eq!(says(&app, "GET", "/v1/status").await.0, 200);
    }
    let text = app.output().text();
    let warnings = text
        .lines()
        .filter(|line| line.contains("cache.expiry.any"));
    assert_eq!(warnings.count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_errors_are_lines_of_json_on_standard_output() {
    let app = started(setup(HERE));
    assert_eq!(says(&app, "PUT", "/v1/key/create/one").await.0, 200);
    assert_eq!(says(&app, "PUT", "/v1/key/generate/other").await.0, 404);
    let lines = app.output().lines(2);
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["request"]["path"], "/v1/key/create/one");
    assert_eq!(lines[0]["response"]["code"], 200);
    assert_eq!(lines[1]["response"]["code"], 404);
    assert_eq!(app.errors().text(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_ends_nothing() {
    let app = started(setup(HERE));
    let mut client = signing(&app.address, "admin").await;
    assert_eq!(
        client
            .call("PUT", "/v1/key/create/one", Value::Null)
            .await
            .status,
        200
    );
    let big = STANDARD.encode(vec![7; 700_000]);
    for (path, body, expected) in [
        (GENERATE, "{".to_owned(), 400),
        (GENERATE, json!({"context": big}).to_string(), 200),
        (GENERATE, json!({"context": big.repeat(2)}).to_string(), 400),
        (
            "/v1/key/encrypt/one",
            json!({"plaintext": big}).to_string(),
            200,
        ),
        ("/v1/key/decrypt/one", "x".repeat(2 << 20), 400),
        ("/v1/key/generate/%ff", String::new(), 400),
        ("/v1/key/generate/a:b", String::new(), 400),
        ("/v1/key/create/a:1:dead", String::new(), 400),
        ("//", String::new(), 404),
    ] {
        let sent = body.len();
        let answer = client.send("PUT", path, &[], body).await;
        let status = answer.map_or(0, |answer| answer.status);
        assert_eq!(status, expected, "{path} with {sent} bytes");
        client = signing(&app.address, "admin").await;
    }
    assert_eq!(app.troubles().text(), "");
}
