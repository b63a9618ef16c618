//! Sealed values in a key store: who can open them, who can't, and what nobody can plant.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use sealedge_core::seal::NodeIdentity;
use sealedge_tests::client::{Client, for_admin, recorded};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A node's identity of its own.
pub fn identity() -> NodeIdentity {
    NodeIdentity::generate(&mut random)
}

/// The system's random bytes.
pub fn random(buffer: &mut [u8]) {
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(buffer)
        .unwrap();
}

/// The section `seal` of this node, for the recipients.
pub fn section(node: &NodeIdentity, recipients: &[&NodeIdentity], more: &str) -> String {
    let recipients = recipients.iter().map(|it| it.recipient().to_string());
    let recipients: Vec<_> = recipients.collect();
    let recipients = recipients.join(", ");
    let identity = node.text();
    format!("seal: {{recipients: [{recipients}], unseal: {{identity: {identity}}}{more}}}\n")
}

/// A server over the keys in a folder, with this section.
fn start(keys: &Path, seal: &str) -> Server {
    let config = for_admin(&format!("fs: {{path: '{}'}}", keys.display())) + seal;
    Server::start(Path::new(crate::SEALEDGE), "", &config)
}

async fn call(server: &Server, method: &str, path: &str, body: Value) -> (u16, Value) {
    let mut client = Client::admin(&server.address).await;
    let answer = client.call(method, path, body).await;
    (
        answer.status,
        serde_json::from_slice(&answer.body).unwrap_or_default(),
    )
}

/// A key is created, and a DEK of it: its plaintext and its ciphertext.
async fn created(server: &Server, name: &str) -> (Value, Value) {
    let create = format!("/v1/key/create/{name}");
    assert_eq!(call(server, "PUT", &create, Value::Null).await.0, 200);
    let generate = format!("/v1/key/generate/{name}");
    let (status, dek) = call(server, "PUT", &generate, Value::Null).await;
    assert_eq!(status, 200, "{dek}");
    (
        dek["plaintext"].clone(),
        json!({"ciphertext": dek["ciphertext"]}),
    )
}

async fn decrypt(server: &Server, name: &str, ciphertext: &Value) -> (u16, Value) {
    let path = format!("/v1/key/decrypt/{name}");
    call(server, "PUT", &path, ciphertext.clone()).await
}

/// A request for a key that can't be opened, and the line that says why.
async fn refused(server: &Server, name: &str, why: &str) {
    let describe = format!("/v1/key/describe/{name}");
    let (status, answer) = call(server, "GET", &describe, Value::Null).await;
    assert_eq!(
        (status, &answer["message"]),
        (502, &json!("failed to read key"))
    );
    let line = server.wait_for_error(&format!("failed to read key: '{name}': "));
    assert!(line.contains(why), "{line}");
}

#[tokio::test]
async fn only_recipients_open_a_key_and_only_that_of_a_signer() {
    let (one, two, other) = (identity(), identity(), identity());
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path();
    let server = start(keys, &section(&one, &[&one, &two], ""));
    let (plaintext, ciphertext) = created(&server, "k").await;
    let stored = fs::read_to_string(keys.join("k")).unwrap();
    assert!(stored.starts_with("sealedge:v1:"), "{stored}");

    // Another node.
    let second = start(keys, &section(&two, &[&one, &two], ""));
    assert_eq!(
        decrypt(&second, "k", &ciphertext).await.1["plaintext"],
        plaintext
    );

    // A node that is no recipient says for whom it is.
    let third = start(keys, &section(&other, &[&other], &signers(&[&one])));
    refused(&third, "k", &one.recipient().fingerprint().to_string()).await;
    // And one that trusts others.
    let fourth = start(keys, &section(&two, &[&two], ""));
    refused(&fourth, "k", "no allowed signer").await;
    // And one that knows of no sealing.
    let fifth = start(keys, "");
    refused(&fifth, "k", "configure `seal`").await;

    // What somebody writes who can write there: an unsealed key, a moved one, one of a stranger.
    let plain = tempfile::tempdir().unwrap();
    created(&start(plain.path(), ""), "p").await;
    fs::copy(plain.path().join("p"), keys.join("p")).unwrap();
    refused(&server, "p", "not sealed").await;
    fs::copy(keys.join("k"), keys.join("moved")).unwrap();
    refused(&server, "moved", "belongs to the name `k`").await;
    let strangers = start(plain.path(), &section(&other, &[&other, &one], ""));
    created(&strangers, "s").await;
    fs::copy(plain.path().join("s"), keys.join("s")).unwrap();
    refused(&server, "s", "no allowed signer").await;
    let mut flipped = stored.into_bytes();
    let at = flipped.len() / 2;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    fs::write(keys.join("flipped"), flipped).unwrap();
    refused(&server, "flipped", "damaged or forged").await;
    // A secret is in no log.
    for server in [&server, &second, &third] {
        assert!(!server.errors().contains("IDENTITY"), "{}", server.errors());
    }
}

fn signers(of: &[&NodeIdentity]) -> String {
    let signers: Vec<_> = of.iter().map(|it| it.recipient().to_string()).collect();
    format!(", signers: [{}]", signers.join(", "))
}

#[tokio::test]
async fn who_could_not_open_it_again_seals_nothing() {
    let (one, two) = (identity(), identity());
    for (recipients, more, why) in [
        (vec![&two], String::new(), "not among `seal.recipients`"),
        (vec![&one], signers(&[&two]), "not among `seal.signers`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path(), &section(&one, &recipients, &more));
        let (status, answer) = call(&server, "PUT", "/v1/key/create/k", Value::Null).await;
        assert_eq!(
            (status, &answer["message"]),
            (502, &json!("failed to create key"))
        );
        let line = server.wait_for_error("failed to create key: 'k': ");
        assert!(line.contains(why), "{line}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn values_that_are_not_sealed_are_read_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let before = start(folder.path(), "");
    let (plaintext, ciphertext) = created(&before, "old").await;
    before.wait_for_error("values     not sealed: whoever reads the key store has the keys");
    drop(before);
    let node = identity();
    let server = start(
        folder.path(),
        &section(&node, &[&node], ", accept_unsealed: on"),
    );
    server.wait_for_error("seal.accept_unsealed: whoever can write to the key store");
    let line = server.wait_for_error("values     sealed");
    let fingerprint = node.recipient().fingerprint();
    let said =
        format!("sealed; those that are not sealed are read too; this node is {fingerprint}");
    assert!(line.ends_with(&said), "{line}");
    assert_eq!(
        decrypt(&server, "old", &ciphertext).await.1["plaintext"],
        plaintext
    );
    created(&server, "new").await;
    let stored = fs::read_to_string(folder.path().join("new")).unwrap();
    assert!(stored.starts_with("sealedge:v1:"), "{stored}");
}

/// A folder with a configuration whose identity is in the file `identity`.
fn with_identity_file(node: &NodeIdentity) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let file = folder.path().join("identity");
    fs::write(&file, format!("{}\n", node.text())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

fn by_file(node: &NodeIdentity) -> String {
    let admin = recorded("admin").identity();
    format!(
        "admin: {{identity: {admin}}}
seal: {{recipients: [{}], unseal: {{file: '{{folder}}/identity'}}}}
keystore: {{fs: {{path: '{{folder}}/keys'}}}}
",
        node.recipient()
    )
}

#[tokio::test]
async fn the_identity_may_be_in_a_file_that_nobody_else_can_read() {
    let node = identity();
    let folder = with_identity_file(&node);
    let program = Path::new(crate::SEALEDGE);
    let server = Server::start_in(program, folder, "", &by_file(&node));
    created(&server, "k").await;
    let stored = fs::read_to_string(server.keys().join("k")).unwrap();
    assert!(stored.starts_with("sealedge:v1:"), "{stored}");
    // It can't come from elsewhere while the server runs.
    let other = for_admin("fs: {path: '{folder}/keys'}") + &section(&node, &[&node], "");
    server.configure("", &other);
    server.signal("HUP");
    server.wait_for_error("seal.unseal: restart the server to change it");
}

#[test]
fn an_identity_that_can_not_be_used_is_named_at_start() {
    let node = identity();
    let recipient = node.recipient().to_string();
    for (content, mode, why) in [
        (Some(node.text()), 0o640, "others can read it"),
        (
            Some("something"),
            0o600,
            "an identity begins with `SEALEDGE-IDENTITY-1`",
        ),
        (
            Some(recipient.as_str()),
            0o600,
            "this is a public recipient",
        ),
        (None, 0o600, "No such file"),
    ] {
        let folder = with_identity_file(&node);
        let file = folder.path().join("identity");
        fs::remove_file(&file).unwrap();
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        let program = Path::new(crate::SEALEDGE);
        let mut command: Command = Server::command(program, folder.path(), "", &by_file(&node));
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains(why) && said.contains("seal.unseal"), "{said}");
        assert!(!said.contains("SEALEDGE-IDENTITY-1Q"), "{said}");
    }
}
