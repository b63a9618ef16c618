//! The service as a Cloudflare Worker: `tests/worker`, in the runtime that Cloudflare has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sealedge_tests::front::program;

#[test]
fn the_worker_serves_and_refuses_what_it_should() {
    let (Some(node), Some(npm)) = (program("node"), program("npm")) else {
        return;
    };
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker");
    let root = tests.join("../..");
    let built = Command::new(env!("CARGO"))
        .current_dir(&root)
        .args(["run", "--quiet", "--package", "sealedge-worker-build"])
        .status()
        .unwrap();
    assert!(built.success());
    let installed = install(&npm, &tests, &root.join("target/node"));
    let run = Command::new(node)
        .args(["--test", "--test-timeout=120000"])
        .arg(tests.join("worker.test.mjs"))
        .env("SEALEDGE_NODE_MODULES", installed)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}");
}

/// Installs what the lock file says, beside what is built: the folder that has it.
fn install(npm: &Path, tests: &Path, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    for file in ["package.json", "package-lock.json"] {
        fs::copy(tests.join(file), folder.join(file)).unwrap();
    }
    let installed = Command::new(npm)
        .current_dir(folder)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .status()
        .unwrap();
    assert!(installed.success());
    folder.to_owned()
}
