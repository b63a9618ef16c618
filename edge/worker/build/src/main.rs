//! Builds the Worker: `wrangler dev` and `wrangler deploy` run this, and bundle what it leaves in
//! `target/worker`. With the argument `constant` it builds what a benchmark compares the Worker with.
//!
//! It is cargo, and wasm-bindgen as a library in the version of the lock file, so that nothing has to be
//! installed or downloaded but what cargo gets.

use std::env;
use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use wasm_bindgen_cli_support::Bindgen;

/// What becomes part of the Worker, if it is there. It holds no secrets: those are `${NAME}`.
const CONFIGURATION: &str = "sealedge.yml";

const TARGET: &str = "wasm32-unknown-unknown";

/// The settings of the compiler, in the workspace's `Cargo.toml`.
const PROFILE: &str = "worker";

/// Something to build.
struct Made {
    /// What cargo is to build, and where that is among what is built.
    cargo: &'static [&'static str],
    module: &'static str,
    /// What it is called, and its folder in `target`.
    name: &'static str,
    folder: &'static str,
    /// Its JavaScript in the project, and what that is called in `folder`.
    scripts: &'static [(&'static str, &'static str)],
    /// Whether it has a configuration.
    is_configured: bool,
}

const SERVICE: Made = Made {
    cargo: &["--lib"],
    module: "sealedge_worker.wasm",
    name: "sealedge",
    folder: "worker",
    scripts: &[
        ("edge/worker/entry.mjs", "entry.mjs"),
        ("edge/worker/http.mjs", "http.mjs"),
    ],
    is_configured: true,
};

const CONSTANT: Made = Made {
    cargo: &["--example", "constant"],
    module: "examples/constant.wasm",
    name: "constant",
    folder: "constant",
    scripts: &[("benches/worker/constant.mjs", "entry.mjs")],
    is_configured: false,
};

fn main() -> Result<(), Box<dyn Error>> {
    let made = match env::args().nth(1).as_deref() {
        None => SERVICE,
        Some("constant") => CONSTANT,
        Some(_) => return Err("the argument is `constant`, or there is none".into()),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../..")
        .canonicalize()?;
    let folder = root.join("target").join(made.folder);
    // Whoever bundles it meanwhile, or builds it a second time, sees no file that is half written.
    let out = folder.with_extension(process::id().to_string());
    let module = compile(&root, &made)?;
    fs::create_dir_all(&out)?;
    Bindgen::new()
        .input_path(module)
        .out_name(made.name)
        .web(true)?
        .omit_default_module_path(true)
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .reset_state_function(true)
        .generate(&out)?;
    for (from, to) in made.scripts {
        fs::copy(root.join(from), out.join(to))?;
    }
    if made.is_configured {
        fs::write(out.join("configuration.mjs"), configuration(&root)?)?;
    }
    fs::create_dir_all(&folder)?;
    for file in fs::read_dir(&out)? {
        let file = file?;
        fs::rename(file.path(), folder.join(file.file_name()))?;
    }
    fs::remove_dir(&out)?;
    Ok(())
}

/// The module as the compiler makes it.
fn compile(root: &Path, made: &Made) -> Result<PathBuf, Box<dyn Error>> {
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .env("SEALEDGE_COMMIT", commit(root))
        .args(["build", "--profile", PROFILE])
        .args(["--package", "sealedge-worker"])
        .args(["--target", TARGET])
        .args(made.cargo)
        .status()?;
    if !status.success() {
        return Err("the Worker does not build: cargo has said why above".into());
    }
    let folder = root.join(folder).join(TARGET).join(PROFILE);
    Ok(folder.join(made.module))
}

/// The configuration as a module, if there is one to make part of the Worker.
fn configuration(root: &Path) -> Result<String, Box<dyn Error>> {
    let text = match fs::read_to_string(root.join(CONFIGURATION)) {
        Ok(text) => serde_json::to_string(&text)?,
        Err(why) if why.kind() == ErrorKind::NotFound => "undefined".to_owned(),
        Err(why) => return Err(format!("{CONFIGURATION}: {why}").into()),
    };
    Ok(format!("export default {text};\n"))
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
