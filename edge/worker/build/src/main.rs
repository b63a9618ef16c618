//! Builds the Worker: `wrangler dev` and `wrangler deploy` run this, and bundle what it leaves in
//! `target/worker`.
//!
//! It is cargo, and wasm-bindgen as a library in the version of the lock file, so that nothing has to be
//! installed or downloaded but what cargo gets.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasm_bindgen_cli_support::Bindgen;

const TARGET: &str = "wasm32-unknown-unknown";

/// The settings of the compiler, in the workspace's `Cargo.toml`.
const PROFILE: &str = "worker";

/// What the Worker begins with, and what makes calls into wasm of its own.
const ENTRY: &str = "entry.mjs";

fn main() -> Result<(), Box<dyn Error>> {
    let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = worker.join("../..").canonicalize()?;
    let out = root.join("target/worker");
    let module = compile(&root)?;
    fs::create_dir_all(&out)?;
    Bindgen::new()
        .input_path(module)
        .out_name("sealedge")
        .web(true)?
        .omit_default_module_path(true)
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .reset_state_function(true)
        .generate(&out)?;
    fs::copy(worker.join(ENTRY), out.join(ENTRY))?;
    Ok(())
}

/// The module as the compiler makes it.
fn compile(root: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .env("SEALEDGE_COMMIT", commit(root))
        .args(["build", "--profile", PROFILE])
        .args(["--package", "sealedge-worker"])
        .args(["--target", TARGET])
        .status()?;
    if !status.success() {
        return Err("the Worker does not build: cargo has said why above".into());
    }
    let folder = root.join(folder).join(TARGET).join(PROFILE);
    Ok(folder.join("sealedge_worker.wasm"))
}

/// The version control revision that is being built, or `unknown`.
fn commit(root: &Path) -> String {
    let git = Command::new("git")
        .current_dir(root)
        .args(["rev-parse", "HEAD"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
