//! KES's own client for Go, over every call that it has: `tests/go`.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use sealedge_core::certificate::identity_of;
use sealedge_core::identity::Identity;
use sealedge_tests::client::recorded;
use sealedge_tests::server::Server;

#[test]
fn the_go_client_can_do_all_that_it_can_do() {
    if is_missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let identity = write_client_certificate(folder.path());
    let server = server(&identity);
    let mut run = go_test(&server.address, &server.folder.path().join("server.cert"));
    run.env("SEALEDGE_CERTIFICATE", folder.path().join("client.cert"))
        .env("SEALEDGE_PRIVATE_KEY", folder.path().join("client.key"))
        .env("SEALEDGE_CERTIFICATE_IDENTITY", identity.to_string());
    succeed(run, &server);
}

/// The same through a proxy, all that one client does: each has a proxy of its own.
#[test]
fn the_go_client_does_not_know_a_proxy_from_a_server() {
    if is_missing() {
        return;
    }
    let server = server(&recorded("ops").identity());
    let proxy = super::local_proxy::proxy("admin", &server, &[]);
    let mut run = go_test(&proxy.address, &proxy.folder.path().join("proxy.cert"));
    // These have several clients, or one that leaves its log unread until the proxy gives it up.
    run.args([
        "-skip",
        "TestIdentities|TestPolicyByAPIKey|TestAuditLogAfterALoss",
    ]);
    succeed(run, &server);
}

/// Whether Go is not installed, which is reported, and an error where everything has to be.
fn is_missing() -> bool {
    match Command::new("go").arg("version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "go is not installed");
            eprintln!("skipped: go is not installed");
            true
        }
        version => {
            assert!(version.unwrap().status.success());
            false
        }
    }
}

fn server(certificate: &Identity) -> Server {
    let server = Server::start(Path::new(super::SEALEDGE), "", &config(certificate));
    std::fs::write(server.keys().join("corrupt"), "no key").unwrap();
    server
}

/// The client's tests, at this address, whose certificate is in a file.
fn go_test(address: &str, trusted: &Path) -> Command {
    let mut run = Command::new("go");
    run.args(["test", "-count=1", "./..."])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/go"))
        .env("SSL_CERT_FILE", trusted)
        .env("SEALEDGE_ADDRESS", address)
        .env("SEALEDGE_ADMIN_KEY", recorded("admin").to_text().as_str())
        .env("SEALEDGE_APP_KEY", recorded("app").to_text().as_str());
    run
}

fn succeed(mut run: Command, server: &Server) {
    let run = run.output().unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{output}{errors}{}", server.errors());
}

fn config(certificate: &Identity) -> String {
    format!(
        "admin: {{identity: {}}}
policy:
  my-app:
    allow:
    - /v1/key/create/my-app*
    - /v1/key/generate/my-app*
    - /v1/key/decrypt/my-app*
    deny:
    - /v1/key/generate/my-app-no
    identities: [{}]
  by-certificate:
    allow:
    - /v1/key/create/certified
    - /v1/key/generate/certified
    - /v1/key/encrypt/certified
    - /v1/key/decrypt/certified
    - /v1/key/hmac/certified
    identities: [{certificate}]
log: {{audit: on}}
keystore: {{fs: {{path: \"{{folder}}/keys\"}}}}
",
        recorded("admin").identity(),
        recorded("app").identity(),
    )
}

/// Writes the key and certificate of a client that no API key makes; its identity.
fn write_client_certificate(folder: &Path) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("client.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("client.cert"), certificate.pem()).unwrap();
    identity_of(certificate.der()).unwrap()
}
