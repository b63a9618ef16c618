//! Builds components as a manifest says, and compiles them: once in a process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use super::manifest::Resolved;

static BUILT: Mutex<Option<HashMap<PathBuf, Result<Component, String>>>> = Mutex::new(None);

/// The component of a manifest.
///
/// # Errors
/// It does not build, or is none.
pub(super) fn component(manifest: &Resolved) -> Result<Component, String> {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let built = built.get_or_insert_default();
    let made = built.entry(manifest.source.clone()).or_insert_with(|| {
        if let Some((command, folder)) = &manifest.build {
            build(command, folder)?;
        }
        let engine = Engine::new(Config::new().concurrency_support(false));
        let component = engine.and_then(|it| Component::from_file(&it, &manifest.source));
        component.map_err(|reason| format!("{}: {reason:?}", manifest.source.display()))
    });
    made.clone()
}

fn build(command: &str, folder: &Path) -> Result<(), String> {
    // The cargo that runs the tests, and not whichever is on the PATH.
    let own = command.strip_prefix("cargo ");
    let command = own.map_or(command.into(), |rest| format!("\"$CARGO\" {rest}"));
    let built = Command::new("sh")
        .args(["-c", &command])
        .current_dir(folder)
        .env("CARGO", env!("CARGO"))
        // The manifest has the path of what is built.
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .map_err(|reason| reason.to_string())?;
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    built.status.success().then_some(()).ok_or(said)
}
