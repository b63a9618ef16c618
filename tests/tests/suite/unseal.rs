//! A node whose identity a key management service unwraps.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealedge_core::seal::NodeIdentity;
use sealedge_tests::client::{Client, for_admin};
use sealedge_tests::openbao::OpenBao;
use sealedge_tests::server::Server;
use serde_json::{Value, json};

use super::sealing::identity;
use super::stores::program;

/// A role that may do no more than a node needs.
const POLICY: &str = r#"path "transit/decrypt/my-key" { capabilities = ["update"] }"#;

/// A configuration over files, for a node whose identity OpenBao unwraps: of this text.
async fn config(bao: &OpenBao, node: &NodeIdentity, text: &str) -> String {
    let plaintext = json!({"plaintext": STANDARD.encode(text)});
    let wrapped = bao.put("transit/encrypt/my-key", &plaintext).await;
    let wrapped = wrapped["data"]["ciphertext"].as_str().unwrap();
    let role = bao.role("node", POLICY, 60).await;
    for_admin("fs: {path: '{folder}/keys'}")
        + &format!(
            "keys: [{{name: configured}}]
seal:
  recipients: [{}]
  unseal:
    vault:
      endpoint: http://{}
      transit: {{key: my-key}}
      approle: {{id: {}, secret: {}}}
      identity: {wrapped}
",
            node.recipient(),
            bao.address,
            role.id,
            role.secret
        )
}

async fn status(client: &mut Client, method: &str, path: &str) -> u16 {
    client.call(method, path, Value::Null).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_unsealed_at_start_and_then_needs_nobody() {
    let Some(program) = program() else { return };
    let mut bao = OpenBao::start(&program).await;
    let node = identity();
    let config = config(&bao, &node, node.text()).await;
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
    bao.kill();
    for _ in 0..10 {
        // Every instance of the service has the identity.
        let mut client = Client::admin(&server.address).await;
        assert_eq!(status(&mut client, "GET", "/v1/ready").await, 200);
        assert_eq!(
            status(&mut client, "GET", "/v1/key/describe/configured").await,
            200
        );
    }
    let stored = fs::read_to_string(server.keys().join("configured")).unwrap();
    assert!(stored.starts_with("sealedge:v1:"), "{stored}");
    assert!(!server.errors().contains(" error: "), "{}", server.errors());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_kms_is_away_waits_for_it_and_never_goes_on_unsealed() {
    let Some(program) = program() else { return };
    let mut bao = OpenBao::start(&program).await;
    let node = identity();
    let config = config(&bao, &node, node.text()).await;
    bao.kill();
    let server = Server::start(Path::new(crate::SEALEDGE), "", &config);
    let line = server.wait_for_error("this node is not unsealed yet: ");
    assert!(line.contains(&bao.address), "{line}");
    let mut client = Client::admin(&server.address).await;
    assert_eq!(status(&mut client, "GET", "/v1/ready").await, 504);
    let answer = client.call("GET", "/v1/status", Value::Null).await.json();
    assert_eq!(answer["keystore_unreachable"], true, "{answer}");
    let begun = Instant::now();
    assert_eq!(status(&mut client, "PUT", "/v1/key/create/k").await, 502);
    assert!(begun.elapsed() < Duration::from_secs(12));
    assert_eq!(fs::read_dir(server.keys()).unwrap().count(), 0);

    bao.restart().await;
    let begun = Instant::now();
    while status(&mut client, "GET", "/v1/ready").await != 200 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{}",
            server.errors()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.wait_for_error("this node is unsealed");
    let begun = Instant::now();
    while status(&mut client, "PUT", "/v1/key/create/k").await != 200 {
        // Another instance may try a little later.
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{}",
            server.errors()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        status(&mut client, "GET", "/v1/key/describe/configured").await,
        200
    );
    for name in ["configured", "k"] {
        let stored = fs::read_to_string(server.keys().join(name)).unwrap();
        assert!(stored.starts_with("sealedge:v1:"), "{stored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_identity_keeps_the_server_from_its_start() {
    let Some(program) = program() else { return };
    let bao = OpenBao::start(&program).await;
    let node = identity();
    let folder = tempfile::tempdir().unwrap();
    sealedge_tests::server::write_certificate(folder.path());
    let right = config(&bao, &node, node.text()).await;
    for (config, why) in [
        (
            config(&bao, &node, "something else").await,
            "an identity begins with",
        ),
        (
            right.replace("key: my-key", "key: other-key"),
            "permission denied",
        ),
    ] {
        let program = Path::new(crate::SEALEDGE);
        let mut command = Server::command(program, folder.path(), "", &config);
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains(why) && said.contains("seal.unseal"), "{said}");
        assert!(!said.contains("something"), "{said}");
    }
}
