//! Builds the guest in release mode, makes a component of it and precompiles that for any machine of
//! the target's architecture, so that the program needs no other file and starts in milliseconds.

#[path = "src/guest/engine.rs"]
mod engine;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("..");
    for part in ["edge", "wit", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(part).display());
    }
    println!("cargo::rerun-if-changed=src/guest/engine.rs");
    println!("cargo::rerun-if-changed=build.rs");

    build("guest", &[], &root)?;
    if env::var_os("CARGO_FEATURE_FAULTS").is_some() {
        build("guest-with-faults", &["--features", "faults"], &root)?;
    }
    println!("cargo::rustc-env=SEALEDGE_COMMIT={}", commit(&root));
    Ok(())
}

/// Leaves `{name}.wasm`, the component, and `{name}.cwasm`, its code, in the output folder.
fn build(name: &str, options: &[&str], root: &Path) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let module = compile(name, options, root, &out)?;
    let component = wit_component::ComponentEncoder::default()
        .module(&module)?
        .validate(true)
        .encode()?;
    let mut settings = engine::settings();
    // Naming the target turns the build machine's own CPU features off.
    settings.target(&env::var("TARGET")?)?;
    let code = wasmtime::Engine::new(&settings)?.precompile_component(&component)?;
    fs::write(out.join(format!("{name}.wasm")), component)?;
    fs::write(out.join(format!("{name}.cwasm")), code)?;
    Ok(())
}

fn compile(
    name: &str,
    options: &[&str],
    root: &Path,
    out: &Path,
) -> Result<Vec<u8>, Box<dyn Error>> {
    const TARGET: &str = "wasm32-unknown-unknown";
    // A folder of its own: the one in use is locked by the cargo that runs this script. It lies
    // beside the output folders of all builds, so that they share it.
    let folder = out.ancestors().nth(4).unwrap_or(out).join(name);
    let mut cargo = Command::new(env::var("CARGO")?);
    // A clean environment: a lint's wrapper or a coverage flag must not leak into the guest.
    for (variable, _) in env::vars_os() {
        let text = variable.to_string_lossy();
        let is_of_cargo =
            text.starts_with("CARGO") && text != "CARGO_HOME" && !text.starts_with("CARGO_NET");
        if is_of_cargo || text.starts_with("RUSTC") || text == "RUSTFLAGS" || text == "CLIPPY_ARGS"
        {
            cargo.env_remove(&variable);
        }
    }
    // What P-256 is made of are products of 64 bits by 64: a sealed key opens in less than half the time.
    let flags = [
        "--cfg",
        "cpubits=\"64\"",
        "-Ctarget-feature=+wide-arithmetic",
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    if env::var("PROFILE")? == "release" {
        // As one unit: 6 % off a call, for which nobody who develops wants to wait.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "fat");
        cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    }
    let status = cargo
        .current_dir(root)
        .args([
            "build",
            "--release",
            "--package",
            "sealedge-component",
            "--target",
            TARGET,
        ])
        .args(options)
        .arg("--target-dir")
        .arg(&folder)
        .status()?;
    if !status.success() {
        return Err("the guest does not build: cargo has said why above".into());
    }
    let module = folder.join(TARGET).join("release/sealedge_component.wasm");
    Ok(fs::read(module)?)
}

/// The version control revision that is being built, or `unknown`.
fn commit(root: &Path) -> String {
    let head = root.join(".git/logs/HEAD");
    if head.exists() {
        println!("cargo::rerun-if-changed={}", head.display());
    }
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
