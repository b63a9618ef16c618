//! `server --dev`: what it prints works as it is printed.

use std::net::TcpListener;
use std::process::{Command, Output};

use sealedge_tests::front;
use sealedge_tests::server::Server;

fn start() -> Server {
    let mut command = Command::new(super::SEALEDGE);
    command.args(["server", "--dev", "--addr", "127.0.0.1:0"]);
    Server::run(command, tempfile::tempdir().unwrap())
}

/// All that the server prints when it starts.
fn printed(server: &Server) -> String {
    for _ in 0..1000 {
        let output = server.output();
        if output.contains(" status -k\n") {
            return output;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no whole banner: {}", server.output());
}

fn refused(arguments: &[&str]) -> String {
    let output = Command::new(super::SEALEDGE)
        .args(["server", "--dev"])
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Runs lines in a fresh shell, as if pasted.
fn paste(lines: &[&str]) -> Output {
    let mut command = Command::new("sh");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().contains("KES_") {
            command.env_remove(name);
        }
    }
    command.arg("-c").arg(lines.join("\n")).output().unwrap()
}

#[test]
fn the_printed_commands_work_when_pasted() {
    let server = start();
    let banner = printed(&server);
    let (_, commands) = banner.split_once("another terminal:\n").unwrap();
    let commands: Vec<&str> = commands.lines().filter(|line| !line.is_empty()).collect();
    let [export, create, generate, dek, status] = commands.as_slice() else {
        panic!("{banner}")
    };
    assert!(export.trim().starts_with("export KES_SERVER="), "{banner}");

    let said = |command: &str| {
        let output = paste(&[export, command]);
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    if front::program("curl").is_none() {
        return;
    }
    assert_eq!(said(create), "");
    for dek in [said(generate), said(dek)] {
        assert!(
            dek.contains("plaintext") && dek.contains("ciphertext"),
            "{dek}"
        );
    }
    let status = said(status);
    assert!(status.contains(&server.address), "{status}");

    // All together, as they are; the key is there already.
    let output = paste(&commands);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("key already exists"), "{said}");
}

#[test]
fn there_is_nothing_to_reload() {
    let server = start();
    server.signal("HUP");
    server.wait_for_error("SIGHUP: nothing to reload, for --dev has no configuration file");
}

#[test]
fn the_banner_shows_the_identity_of_the_key() {
    let server = start();
    let banner = printed(&server);
    let word_after = |label: &str| {
        let (_, rest) = banner.split_once(label).unwrap();
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let key: sealedge_core::api_key::ApiKey = word_after("API key").parse().unwrap();
    assert_eq!(key.identity().to_string(), word_after("Identity"));
    // No two runs share a key.
    let other = printed(&start());
    assert!(!other.contains(&word_after("API key")), "{other}");
}

#[test]
fn only_this_machine_may_reach_it() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7373", ":7373"] {
        assert_eq!(
            refused(&["--addr", address]),
            format!(
                "error: --dev listens on this machine alone and not on {address}: leave --addr \
                 out, or write a configuration (--config)\n"
            )
        );
    }
}

#[test]
fn a_port_in_use_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let message = refused(&["--addr", &address]);
    let want = format!("error: can't listen on {address}: ");
    assert!(message.starts_with(&want), "{message}");
    let advice = " (stop the other server or choose another address by --addr)\n";
    assert!(message.ends_with(advice), "{message}");
}
