//! The service as a Cloudflare Worker: `tests/worker`, in the runtime that Cloudflare has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::CertificateParams;
use sealedge_tests::authority::Authority;
use sealedge_tests::client::Credentials;
use sealedge_tests::{front, node};

use super::stores;

#[test]
fn the_worker_serves_and_refuses_what_it_should() {
    let Some(node) = node::program() else { return };
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker");
    let root = tests.join("../..");
    let built = Command::new(env!("CARGO"))
        .current_dir(&root)
        .args(["run", "--quiet", "--package", "sealedge-worker-build"])
        .status()
        .unwrap();
    assert!(built.success());
    let installed = node::install(&tests, &root.join("target/node"));
    let mut run = Command::new(node);
    if let Some(bao) = stores::program() {
        run.env("SEALEDGE_BAO", bao);
    }
    if let Some(curl) = front::program("curl") {
        run.env("SEALEDGE_CURL", curl);
    }
    let authority = Authority::new("ours");
    let client = |of: &Authority| written(&of.issue(CertificateParams::default()));
    run.env("SEALEDGE_CA", authority.pem())
        .env("SEALEDGE_CLIENT", client(&authority))
        .env("SEALEDGE_OTHER", client(&Authority::new("other")));
    run.args(["--test", "--test-concurrency=1", "--test-timeout=240000"])
        .args(files(&tests))
        .env("SEALEDGE_NODE_MODULES", installed);
    let run = run.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
}

/// A certificate and its key, in base64.
fn written(credentials: &Credentials) -> String {
    let parts = [&*credentials.chain[0], &*credentials.key];
    parts.map(|part| STANDARD.encode(part)).join(" ")
}

fn files(tests: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(tests)
        .unwrap()
        .map(|file| file.unwrap().path());
    let files: Vec<PathBuf> = files
        .filter(|file| file.to_string_lossy().ends_with(".test.mjs"))
        .collect();
    assert!(!files.is_empty());
    files
}
