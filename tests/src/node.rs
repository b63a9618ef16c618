//! Node, and packages of its registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::front;

/// The oldest that runs what is tested, and the tools for that.
const OLDEST: [u32; 2] = [20, 11];

/// The machine's Node, or a newer one of our own if that is too old, as a distribution's may be; `None` if Node or
/// npm is not installed, which is said.
///
/// # Panics
/// In CI, if they are not installed; if there is no newer one.
pub fn program() -> Option<PathBuf> {
    // Several tests may want to install it.
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

fn find() -> Option<PathBuf> {
    let (node, _) = (front::program("node")?, front::program("npm")?);
    Some(if is_old(&node) { newer() } else { node })
}

fn is_old(node: &Path) -> bool {
    let said = Command::new(node).arg("--version").output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let version = said.trim().trim_start_matches('v').split('.');
    version.map(|part| part.parse::<u32>().unwrap()).lt(OLDEST)
}

/// There is a package for each platform, and npm installs the one for this.
fn newer() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = install(
        &tests.join("worker/node"),
        &tests.join("../target/newer-node"),
    );
    let mut packages = fs::read_dir(installed.join("node_modules")).unwrap();
    let program = packages.find_map(|package| {
        let program = package.unwrap().path().join("bin/node");
        program.is_file().then_some(program)
    });
    program.expect("npm has no Node for this platform")
}

/// Installs what the lock file in `wanted` says into `folder`, without running anything of it: that folder.
///
/// # Panics
/// If it can't be had.
pub fn install(wanted: &Path, folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    for file in ["package.json", "package-lock.json"] {
        fs::copy(wanted.join(file), folder.join(file)).unwrap();
    }
    let installed = Command::new("npm")
        .current_dir(folder)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .status()
        .unwrap();
    assert!(installed.success());
    folder.canonicalize().unwrap()
}
