//! The command line's cases, which are data: `tests/cmd`.
//!
//! After a change that is meant, `TRYCMD=overwrite` in the environment rewrites them.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use sealedge_tests::client::recorded;
use sealedge_tests::server::Server;

/// The beginnings of the variables that the command line looks at.
const OURS: [&str; 4] = ["KES_", "MINIO_KES_", "MINIO_KMS_KES_", "SEALEDGE_"];

/// Runs the cases that need no server, and compares what the program prints and how it ends.
#[test]
fn the_command_line_does_what_its_cases_say() {
    if has_run_without_ours("commands::the_command_line_does_what_its_cases_say") {
        return;
    }
    cases()
        .case(format!("{FOLDER}/*.trycmd"))
        .case(format!("{FOLDER}/*.toml"));
}

/// Runs the cases against a server, as its admin.
#[test]
fn the_command_line_does_what_its_cases_say_with_a_server() {
    if has_run_without_ours("commands::the_command_line_does_what_its_cases_say_with_a_server") {
        return;
    }
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

/// A message goes through the pipe as the shell would have it, to its last byte.
#[test]
fn a_message_on_standard_input_is_encrypted_and_decrypted() {
    let admin = recorded("admin");
    let config = format!(
        "admin: {{identity: {}}}\nkeys: [{{name: piped}}]\nkeystore: {{mem: {{}}}}\n",
        admin.identity()
    );
    let server = Server::start(Path::new(super::SEALEDGE), "", &config);
    let ask = |arguments: &[&str], input: &[u8]| {
        let mut command = Command::new(super::SEALEDGE);
        command
            .args(["-k", "--json", "key"])
            .args(arguments)
            .env("MINIO_KES_SERVER", &server.address)
            .env("MINIO_KES_API_KEY", admin.to_text().as_str());
        said(command, input)
    };
    let plaintext = |json: &[u8]| -> String {
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        json["plaintext"].as_str().unwrap().to_owned()
    };
    let message = b"\xff\0 two\nlines\n";
    let context = "Y29udGV4dA==";

    let encrypted = ask(&["encrypt", "piped", "-", context], message);
    let decrypted = ask(&["decrypt", "piped", "-", context], &encrypted);
    assert_eq!(plaintext(&decrypted), "/wAgdHdvCmxpbmVzCg==");

    let dek = ask(&["dek", "piped", "-"], b"Y29u\r\ndGV4dA==\n");
    let decrypted = ask(&["decrypt", "piped", "-", context], &dek);
    assert_eq!(plaintext(&decrypted), plaintext(&dek));

    let key = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
    assert_eq!(ask(&["import", "imported", "-"], key), b"");
}

/// What a program that succeeds says to an input.
fn said(mut command: Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cmd");

fn cases() -> trycmd::TestCases {
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("sealedge", Path::new(super::SEALEDGE))
        .env("COLUMNS", "100");
    cases
}

/// The program goes by variables that this terminal may have, since `--dev` says to set them. If it has,
/// the test runs in a process without them; whether that was so.
fn has_run_without_ours(test: &str) -> bool {
    let is_ours = |name: &OsString| {
        let name = name.to_string_lossy();
        OURS.iter().any(|ours| name.starts_with(ours))
    };
    let names = std::env::vars_os().map(|(name, _)| name);
    let ours: Vec<OsString> = names.filter(is_ours).collect();
    if ours.is_empty() {
        return false;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", test]);
    for name in ours {
        again.env_remove(name);
    }
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
    true
}
