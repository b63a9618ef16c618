//! The command line's cases, which are data: `tests/cmd`.
//!
//! After a change that is meant, `TRYCMD=overwrite` in the environment rewrites them.

use std::path::Path;

use sealedge_tests::client::recorded;
use sealedge_tests::server::Server;

/// The beginnings of the variables that the command line looks at.
const OURS: [&str; 3] = ["KES_", "MINIO_KES_", "MINIO_KMS_KES_"];

/// Runs the cases that need no server, and compares what the program prints and how it ends.
#[test]
fn the_command_line_does_what_its_cases_say() {
    cases()
        .case(format!("{FOLDER}/*.trycmd"))
        .case(format!("{FOLDER}/*.toml"));
}

/// Runs the cases against a server, as its admin.
#[test]
fn the_command_line_does_what_its_cases_say_with_a_server() {
    let admin = recorded("admin");
    let app = "3ecfcdf38fcbe141ae26a1030f81e96b753365a46760ae6b578698a97c59fd22";
    let config = format!(
        "admin: {{identity: {}}}
policy:
  my-app:
    allow: [/v1/key/create/my-app*, /v1/key/generate/my-app*]
    deny: [/v1/key/generate/my-app-internal*]
    identities: [{app}]
  other: {{}}
keystore: {{mem: {{}}}}
",
        admin.identity()
    );
    let server = Server::start(Path::new(super::SEALEDGE), "", &config);
    cases()
        .env("KES_SERVER", &server.address)
        .env("KES_API_KEY", admin.to_text().as_str())
        .case(format!("{FOLDER}/server/*.trycmd"));
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cmd");

/// Cases of the program `sealedge`, which would do something else under variables of ours.
fn cases() -> trycmd::TestCases {
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
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("sealedge", Path::new(super::SEALEDGE))
        .env("COLUMNS", "100");
    cases
}
