//! What the program says about a configuration that it can't use, and one as large as they come.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sealedge::private_key;
use sealedge_core::seal::NodeIdentity;
use sealedge_tests::client::{Client, Credentials, for_admin, recorded};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::Value;
use tempfile::TempDir;

const VALID: &str = "version: v1
address: 127.0.0.1:0
admin: {identity: disabled}
tls: {key: {folder}/server.key, cert: {folder}/server.cert}
keystore: {mem: {}}
";

/// A folder with a server's certificate and this configuration.
fn folder_with(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let here = folder.path().display().to_string();
    fs::write(
        folder.path().join("config.yml"),
        config.replace("{folder}", &here),
    )
    .unwrap();
    folder
}

/// What the program says before it ends with exit code 1; `{folder}` stands for its folder.
fn refused(folder: &TempDir) -> String {
    let output = Command::new(super::SEALEDGE)
        .args(["server", "--config", "config.yml"])
        .env_remove("SEALEDGE_NOT_SET")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let here = folder.path().display().to_string();
    String::from_utf8(output.stderr)
        .unwrap()
        .replace(&here, "{folder}")
}

fn refused_with(change: impl FnOnce(&str) -> String) -> String {
    refused(&folder_with(&change(VALID)))
}

#[test]
fn what_is_wrong_in_the_file_is_said_with_its_line() {
    let head = "error: the configuration config.yml can't be used:\n";
    for (from, to, problem) in [
        (
            "keystore:",
            "polcy: {}\nkeystore:",
            "line 5: polcy: unknown field `polcy`; did you mean `policy`?",
        ),
        (
            "version: v1",
            "version: v2",
            "line 1: version: write `version: v1`, the only version there is",
        ),
        (
            "address: 127.0.0.1:0",
            "address: ${SEALEDGE_NOT_SET}",
            "line 2: address: the variable `SEALEDGE_NOT_SET` is not set",
        ),
    ] {
        let said = refused_with(|valid| valid.replace(from, to));
        assert_eq!(said, format!("{head}         {problem}\n"));
    }
    let store = "gcp: {secretmanager: {project_id: p}}";
    let problem = "line 5: keystore.gcp.secretmanager: this key store is not supported yet; use `fs`, `mem`, `vault`";
    assert_eq!(
        refused_with(|valid| valid.replace("mem: {}", store)),
        format!("{head}         {problem}\n")
    );
}

#[test]
fn what_is_wrong_is_said_in_json_on_request() {
    let folder = folder_with(
        &VALID
            .replace("v1", "v2")
            .replace("127.0.0.1:0", "${SEALEDGE_NOT_SET}"),
    );
    let output = Command::new(super::SEALEDGE)
        .args(["server", "--json", "--config", "config.yml"])
        .env_remove("SEALEDGE_NOT_SET")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stderr).unwrap();
    let message = "the configuration config.yml can't be used: \
         line 1: version: write `version: v1`, the only version there is; \
         line 2: address: the variable `SEALEDGE_NOT_SET` is not set";
    assert_eq!(said, serde_json::json!({ "message": message }));
}

#[test]
fn a_server_that_waits_at_its_start_ends_when_it_is_told_to() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = NodeIdentity::generate(&mut |bytes| bytes.fill(4));
    let seal = format!(
        "seal: {{recipients: [{}], unseal: {{vault: {{endpoint: 'http://{}', transit: {{key: k}}, \
         approle: {{id: i, secret: s}}, identity: 'vault:v1:abc'}}}}}}\n",
        node.recipient(),
        silent.local_addr().unwrap()
    );
    let folder = folder_with(&format!("{VALID}{seal}"));
    let server = Command::new(super::SEALEDGE)
        .args(["server", "--config", "config.yml"])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // From now on it waits for an answer.
    let asked = silent.accept().unwrap();
    let begun = Instant::now();
    let id = server.id().to_string();
    assert!(Command::new("kill").arg(&id).status().unwrap().success());
    let ended = server.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{ended:?}");
    drop(asked);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.ends_with("stopped before it has started\n"), "{said}");
}

#[test]
fn a_node_that_is_no_recipient_says_so_once_at_its_start() {
    let [node, other] = [5, 6].map(|seed| NodeIdentity::generate(&mut |bytes| bytes.fill(seed)));
    let seal = |recipient: &NodeIdentity| {
        let recipient = recipient.recipient();
        let unseal = format!("unseal: {{identity: {}}}", node.text());
        for_admin("mem: {}") + &format!("seal: {{recipients: [{recipient}], {unseal}}}\n")
    };
    let program = Path::new(super::SEALEDGE);
    let count = |server: &Server| server.errors().matches("so it creates no keys").count();
    let server = Server::start(program, "", &seal(&other));
    let line = server.wait_for_error("so it creates no keys");
    assert!(line.starts_with("warning: this node, "), "{line}");
    assert!(line.contains("`seal.recipients`"), "{line}");
    assert_eq!(count(&server), 1);
    let server = Server::start(program, "", &seal(&node));
    assert_eq!(count(&server), 0);
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let folder = folder_with(VALID);
    let config = folder.path().join("config.yml");
    fs::remove_file(&config).unwrap();
    let missing =
        "error: can't read the configuration config.yml: No such file or directory (os error 2)\n";
    assert_eq!(refused(&folder), missing);
    fs::create_dir(&config).unwrap();
    let directory =
        "error: can't read the configuration config.yml: Is a directory (os error 21)\n";
    assert_eq!(refused(&folder), directory);
    fs::remove_dir(&config).unwrap();
    fs::write(&config, b"version: v1\n# \xff\n").unwrap();
    let said = refused(&folder);
    assert!(
        said.starts_with("error: can't read the configuration config.yml: "),
        "{said}"
    );
}

#[test]
fn a_private_key_or_certificate_that_cannot_be_used() {
    let folder = folder_with(VALID);
    let file = |name: &str| folder.path().join(name);
    let key = fs::read(file("server.key")).unwrap();

    fs::remove_file(file("server.key")).unwrap();
    assert_eq!(
        refused(&folder),
        "error: tls.key: {folder}/server.key: No such file or directory (os error 2)\n"
    );
    fs::write(file("server.key"), "no key").unwrap();
    assert_eq!(
        refused(&folder),
        "error: tls.key: {folder}/server.key: no private key in it (PEM is expected)\n"
    );
    let other = tempfile::tempdir().unwrap();
    write_certificate(other.path());
    fs::copy(other.path().join("server.key"), file("server.key")).unwrap();
    assert_eq!(
        refused(&folder),
        "error: tls.key: {folder}/server.key: it is not the key of tls.cert: {folder}/server.cert\n"
    );

    fs::write(file("server.key"), key).unwrap();
    fs::write(file("server.cert"), "no certificate").unwrap();
    assert_eq!(
        refused(&folder),
        "error: tls.cert: {folder}/server.cert: no certificate in it (PEM is expected)\n"
    );
}

#[test]
fn an_encrypted_private_key_needs_its_password() {
    let encrypt = |folder: &TempDir| {
        let file = folder.path().join("server.key");
        let pem = private_key::encrypt(&fs::read(&file).unwrap(), "correct horse").unwrap();
        fs::write(&file, pem.as_bytes()).unwrap();
    };
    let folder = folder_with(VALID);
    encrypt(&folder);
    assert_eq!(
        refused(&folder),
        "error: tls.key: {folder}/server.key: it is encrypted: set tls.password\n"
    );
    for (password, works) in [("battery staple", false), ("correct horse", true)] {
        let tls = format!("  password: {password}\n");
        if works {
            let folder = tempfile::tempdir().unwrap();
            write_certificate(folder.path());
            encrypt(&folder);
            let config = for_admin("mem: {}");
            Server::start_in(Path::new(super::SEALEDGE), folder, &tls, &config);
            continue;
        }
        let cert = "cert: {folder}/server.cert";
        let folder = folder_with(&VALID.replace(cert, &format!("{cert}, password: {password}")));
        encrypt(&folder);
        assert_eq!(
            refused(&folder),
            "error: tls.key: {folder}/server.key: the password is wrong, or the private key is damaged\n"
        );
    }
}

#[tokio::test]
async fn ten_thousand_policies_are_no_burden() {
    let mut config = for_admin("mem: {}");
    config.push_str("policy:\n");
    let identity = |at: u32| format!("{at:064x}");
    for at in 0..10_000 {
        writeln!(config, "  policy-{at}:\n    allow:").unwrap();
        for rule in 0..10 {
            writeln!(config, "    - /v1/key/generate/team-{at}-{rule}*").unwrap();
        }
        let last = if at == 9_999 {
            recorded("app").identity().to_string()
        } else {
            identity(at)
        };
        writeln!(config, "    identities: [{last}]").unwrap();
    }
    let server = Server::start(Path::new(super::SEALEDGE), "", &config);
    let mut admin = Client::admin(&server.address).await;
    let mut app = Client::connect(&server.address, Some(&Credentials::of(&recorded("app"))))
        .await
        .unwrap();
    for (name, want) in [("team-9999-9", 200), ("team-0-0", 403)] {
        let create = format!("/v1/key/create/{name}");
        assert_eq!(admin.call("PUT", &create, Value::Null).await.status, 200);
        let generate = format!("/v1/key/generate/{name}");
        assert_eq!(app.call("PUT", &generate, Value::Null).await.status, want);
    }
    let read = "/v1/policy/read/policy-9999";
    let allow = admin.call("GET", read, Value::Null).await.json()["allow"].clone();
    assert_eq!(allow.as_object().unwrap().len(), 10);
}

#[test]
fn a_certificate_that_clients_will_refuse_is_warned_of() {
    for (from, to, said) in [
        (2010, 2020, "has expired (Jan  1 00:00:00 2020"),
        (4000, 4096, "is not valid before Jan  1 00:00:00 4000"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("server.key"), key.serialize_pem()).unwrap();
        fs::write(folder.path().join("server.cert"), certificate.pem()).unwrap();
        let config = "admin: {identity: disabled}\nkeystore: {mem: {}}\n";
        let server = Server::start_in(Path::new(super::SEALEDGE), folder, "", config);
        let warning = server.wait_for_error("warning: tls.cert");
        assert!(warning.contains(said), "{warning}");
        let client = Command::new(super::SEALEDGE)
            .arg("status")
            .env("KES_SERVER", &server.address)
            .env("KES_API_KEY", recorded("admin").to_text().as_str())
            .env("SSL_CERT_FILE", server.folder.path().join("server.cert"))
            .output()
            .unwrap();
        let refused = String::from_utf8_lossy(&client.stderr).into_owned();
        assert!(refused.contains("is not trusted"), "{refused}");
        assert!(refused.contains("check the clock"), "{refused}");
    }
}
