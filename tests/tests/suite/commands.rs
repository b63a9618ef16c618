//! The command line's cases, which are data: `tests/cmd`.
//!
//! After a change that is meant, `TRYCMD=overwrite` in the environment rewrites them.

use std::path::Path;

/// The beginnings of the variables that the command line looks at.
const OURS: [&str; 3] = ["KES_", "MINIO_KES_", "MINIO_KMS_KES_"];

/// Runs every case with the program `sealedge` and compares what it prints and how it ends.
///
/// # Panics
/// If a case fails, or if the environment would change what the cases do.
pub fn check(sealedge: &Path) {
    for (name, _) in std::env::vars_os() {
        let ours = name
            .to_str()
            .is_some_and(|name| OURS.iter().any(|ours| name.starts_with(ours)));
        assert!(
            !ours,
            "{} is set: the cases need an environment without it",
            name.display()
        );
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cmd");
    trycmd::TestCases::new()
        .register_bin("sealedge", sealedge)
        .env("COLUMNS", "100")
        .case(format!("{folder}/*.trycmd"))
        .case(format!("{folder}/*.toml"));
}
