//! Packages of Python's registry that tests need: installed when they are needed first.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder with a package, `name==version`, and what it needs: installed below `cache`, unless it is
/// there. It appears whole or not at all, for tests run side by side.
///
/// # Errors
/// Why it can't be had.
pub fn package(cache: &Path, package: &str) -> Result<PathBuf, String> {
    let folder = cache.join(package);
    if folder.is_dir() {
        return Ok(folder);
    }
    std::fs::create_dir_all(cache).map_err(|reason| reason.to_string())?;
    let made = tempfile::tempdir_in(cache).map_err(|reason| reason.to_string())?;
    let installed = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(made.path())
        .arg(package)
        .output()
        .map_err(|reason| format!("python3: {reason}"))?;
    if !installed.status.success() {
        let said = String::from_utf8_lossy(&installed.stderr).into_owned();
        return Err(format!("pip can't install {package}: {said}"));
    }
    // Another test may have been faster.
    if std::fs::rename(made.path(), &folder).is_ok() {
        let _ = made.keep();
    }
    Ok(folder)
}

/// What can't be had is said, for its test is skipped; where CI is set that is a failure.
///
/// # Panics
/// In CI.
pub fn skipped(what: &str, why: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "there is no {what}: {why}"
    );
    eprintln!("skipped: there is no {what}: {why}");
}
