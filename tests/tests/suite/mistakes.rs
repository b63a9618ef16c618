//! A Vault that is there and does not do what the configuration wants, by somebody's mistake: it is said at
//! start, and nothing is harmed. And the README's way, by which none is made.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use sealedge_tests::client::{Client, for_admin};
use sealedge_tests::document::blocks;
use sealedge_tests::openbao::{AppRole, OpenBao};
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::stores::{POLICY, program};

const README: &str = include_str!("../../../README.md");

/// What a server says that finds a mistake.
const WARNING: &str = "warning: the key store can't be used: ";

fn config(bao: &OpenBao, role: &AppRole, settings: &str) -> String {
    for_admin(&format!(
        "vault: {{endpoint: 'http://{}', {settings}, approle: {{id: {}, secret: {}}}}}",
        bao.address, role.id, role.secret
    ))
}

fn start(config: &str) -> Server {
    Server::start(Path::new(crate::SEALEDGE), "", config)
}

async fn ask(server: &Server, method: &str, path: &str) -> (u16, Value) {
    let mut client = Client::admin(&server.address).await;
    let answer = client.call(method, path, Value::Null).await;
    let json = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, json)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_of_another_version_is_seen_before_anything_is_written() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    let role = bao.role("sealedge", POLICY, 3600).await;
    // More than it needs: it must not depend on rights that a write is refused.
    let all = r#"path "kv2/*" { capabilities = ["create", "read", "update", "delete", "list"] }"#;
    let able = bao.role("able", &format!("{POLICY}{all}"), 3600).await;
    for (role, engine, version, is) in [(&role, "kv", "v2", "v1"), (&able, "kv2", "v1", "v2")] {
        let server = start(&config(
            &bao,
            role,
            &format!("engine: {engine}, version: {version}"),
        ));
        let line = server.wait_for_error(WARNING);
        let said = format!("`{engine}` is KV {is}, and `keystore.vault.version` says {version}");
        assert!(line.contains(&said), "{line}");
        for (method, path) in [
            ("PUT", "/v1/key/create/k"),
            ("PUT", "/v1/key/generate/k"),
            ("GET", "/v1/key/list/*"),
        ] {
            assert_eq!(ask(&server, method, path).await.0, 502, "{path}");
        }
        let folders = if is == "v1" {
            ["", "data/"]
        } else {
            ["metadata/", "metadata/data/"]
        };
        for folder in folders {
            let path = format!("{engine}/{folder}?list=true");
            let (status, there) = bao.call("GET", &path, &Value::Null).await;
            assert_eq!(status, 404, "{there}");
        }
    }
    // Something else is none at all.
    let server = start(&config(&bao, &role, "engine: transit"));
    let line = server.wait_for_error(WARNING);
    assert!(
        line.contains("`transit` is an engine of the type transit"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_is_said_and_the_server_not_ready() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    let mut role = bao.role("sealedge", POLICY, 3600).await;
    role.secret = "made-later".to_owned();
    let config = config(&bao, &role, "engine: kv2, version: v2");
    let server = start(&config);
    let line = server.wait_for_error(WARNING);
    assert!(line.contains("auth/approle/login: status 400"), "{line}");
    assert!(
        line.contains("check what the service logs in with"),
        "{line}"
    );
    let (status, answer) = ask(&server, "GET", "/v1/ready").await;
    assert_eq!(
        (status, &answer["message"]),
        (502, &json!("key store is unavailable"))
    );
    server.wait_for_error("error: the key store does not answer: ");
    let (_, answer) = ask(&server, "GET", "/v1/status").await;
    assert_eq!(answer["keystore_unavailable"], true, "{answer}");
    // It is said again after a reload.
    let count = || server.errors().matches(WARNING).count();
    let before = count();
    server.reload("", &config);
    let begun = Instant::now();
    while count() == before {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{}",
            server.errors()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Once the operator has mended it nothing has to be restarted.
    let custom = json!({"secret_id": role.secret});
    bao.put("auth/approle/role/sealedge/custom-secret-id", &custom)
        .await;
    let begun = Instant::now();
    while ask(&server, "GET", "/v1/ready").await.0 != 200 {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{}",
            server.errors()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = count();
    server.reload("", &config);
    assert_eq!(ask(&server, "PUT", "/v1/key/create/k").await.0, 200);
    assert_eq!(count(), before, "{}", server.errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_url_of_https_for_a_server_of_http_is_known() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    let role = bao.role("sealedge", POLICY, 3600).await;
    let config = config(&bao, &role, "engine: kv2, version: v2");
    let server = start(&config.replace("http://", "https://"));
    let line = server.wait_for_error(" is away: ");
    assert!(
        line.contains("it does not speak TLS: is its URL one of http?"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_said_at_start() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    for (without, asked) in [
        (
            r#"path "kv2/metadata/*" { capabilities = ["list", "delete", "read", "patch"] }"#,
            "kv2/metadata",
        ),
        (
            r#"path "transit/encrypt/my-key" { capabilities = ["update"] }"#,
            "transit/encrypt/my-key",
        ),
        (
            r#"path "transit/decrypt/my-key" { capabilities = ["update"] }"#,
            "transit/decrypt/my-key",
        ),
    ] {
        assert!(POLICY.contains(without));
        let role = bao
            .role("sealedge", &POLICY.replace(without, ""), 3600)
            .await;
        let settings = "engine: kv2, version: v2, transit: {key: my-key}";
        let server = start(&config(&bao, &role, settings));
        let line = server.wait_for_error(WARNING);
        assert!(
            line.contains(asked) && line.contains("status 403"),
            "{line}"
        );
        assert!(
            line.contains("the login's policy (see the README)"),
            "{line}"
        );
        // The server is reached and lets the service in.
        assert_eq!(ask(&server, "GET", "/v1/ready").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_readme_sets_up_is_all_that_is_needed() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    let folder = tempfile::tempdir().unwrap();
    let ([v2, v1], [lines]) = (
        blocks(README, "hcl").try_into().unwrap(),
        blocks(README, "sh").try_into().unwrap(),
    );
    let (_, transit) = v2.split_once("path \"transit").unwrap();
    let policy_v1 = format!("{v1}path \"transit{transit}");
    let lines: &str = lines;
    for (namespace, version, policy) in [("two", "v2", v2), ("one", "v1", policy_v1.as_str())] {
        bao.put(&format!("sys/namespaces/{namespace}"), &json!({}))
            .await;
        fs::write(folder.path().join("sealedge.hcl"), policy).unwrap();
        let lines = lines.replace("-version=2", &format!("-version={}", &version[1..]));
        let said = bao.shell(&lines, folder.path(), namespace);
        let [.., id, secret] = said.as_slice() else {
            panic!("{said:?}")
        };
        let role = AppRole {
            id: id.trim().to_owned(),
            secret: secret.trim().to_owned(),
        };
        let settings = format!(
            "namespace: {namespace}, version: {version}, prefix: sealedge, transit: {{key: my-key}}"
        );
        let server = start(&config(&bao, &role, &settings));
        let line = server.wait_for_error("key store  ");
        let there = format!(
            "http://{}, engine kv ({version}), prefix sealedge, namespace {namespace}, transit key \
             transit/my-key",
            bao.address
        );
        assert!(line.ends_with(&there), "{line}");
        server.wait_for_error("values     encrypted by transit key my-key, not sealed");
        for (method, path) in [
            ("PUT", "/v1/key/create/k"),
            ("PUT", "/v1/key/generate/k"),
            ("GET", "/v1/key/list/*"),
            ("GET", "/v1/ready"),
            ("DELETE", "/v1/key/delete/k"),
        ] {
            let answer = ask(&server, method, path).await;
            assert_eq!(answer.0, 200, "{path}: {}", answer.1);
        }
        server.reload("", &config(&bao, &role, &settings));
        assert!(!server.errors().contains("warning"), "{}", server.errors());
    }
}

#[tokio::test]
async fn a_directory_that_is_made_is_said_to_be() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys").display().to_string();
    let config = for_admin(&format!("fs: {{path: '{keys}'}}"));
    for said in [", which was not there and is made: 0 keys", ": 1 key"] {
        let server = start(&config);
        let line = server.wait_for_error("key store  files in ");
        assert!(line.ends_with(&format!("{keys}{said}")), "{line}");
        if said.ends_with("0 keys") {
            assert_eq!(ask(&server, "PUT", "/v1/key/create/k").await.0, 200);
        }
    }
}
