//! Secrets that somebody gives in a wrong place: nothing that is printed has them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use sealedge_core::seal::NodeIdentity;
use sealedge_tests::server::write_certificate;
use tempfile::TempDir;

const API_KEY: &str = "kes:v1:AD9E7FSYWrMD+VjhI6q545cYT9YOyFxZb7UnjEepYDRc";

fn identity() -> NodeIdentity {
    NodeIdentity::generate(&mut |bytes| bytes.fill(3))
}

/// A folder with a certificate and a configuration whose key store is `keys`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    fs::create_dir(folder.path().join("keys")).unwrap();
    write_identity(folder.path(), identity().text());
    configure(folder.path(), "", "");
    folder
}

fn write_identity(folder: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;

    let path = folder.join("id");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The configuration, in which something is something else.
fn configure(folder: &Path, from: &str, to: &str) {
    let recipient = identity().recipient().to_string();
    let config = format!(
        "version: v1\naddress: 127.0.0.1:0\nadmin: {{identity: disabled}}\n\
         tls: {{key: server.key, cert: server.cert}}\nkeystore: {{fs: {{path: keys}}}}\n\
         seal: {{recipients: [{recipient}], unseal: {{file: id}}}}\n"
    );
    assert!(config.contains(from), "{from}");
    fs::write(folder.join("c.yml"), config.replacen(from, to, 1)).unwrap();
}

/// Runs the program, which ends by itself.
fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new("timeout")
        .arg("10")
        .arg(super::SEALEDGE)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}{err}")
}

#[test]
fn an_argument_that_is_a_secret_is_not_said_again() {
    let folder = folder();
    let mut hidden = 0;
    let text = identity().text().to_owned();
    for secret in [text.clone(), text.to_lowercase(), API_KEY.to_owned()] {
        let bare = secret.get(24..).unwrap();
        for given in [
            secret.clone(),
            format!(" {secret}"),
            format!("'{secret}'"),
            format!("./{secret}"),
            format!("identity={secret}"),
        ] {
            let given = given.as_str();
            for arguments in [
                &["seal", "of", given][..],
                &["seal", given],
                &["seal", "of", given, "extra"],
                &["seal", "new", given],
                &["seal", "rewrap", given, "--config", "c.yml"],
                &["seal", "rewrap", "--config", given],
                &["seal", "rewrap", "--config", "c.yml", "--before", given],
                &["seal", "rewrap", "--identity", given, "--config", "c.yml"],
                &["server", given],
                &["server", "--config", given],
                &["server", "--config", "c.yml", "--addr", given],
                &["identity", "of", given],
                &["key", "create", given],
                &["status"],
                &[given],
            ] {
                for json in [&[][..], &["--json"]] {
                    let arguments = [arguments, json].concat();
                    let variables = [("KES_SERVER", given), ("KES_API_KEY", API_KEY)];
                    let output = run(folder.path(), &arguments, &variables);
                    let printed = printed(&output);
                    assert!(!printed.contains(bare), "{arguments:?}: {printed}");
                    let code = output.status.code();
                    // The public identity of an API key may be asked for.
                    let is_asked = arguments.starts_with(&["identity", "of"]);
                    let is_refused = matches!(code, Some(1 | 2)) || is_asked && code == Some(0);
                    assert!(is_refused, "{arguments:?}: {code:?}");
                    hidden += usize::from(printed.contains("***"));
                }
            }
        }
    }
    assert!(hidden > 200, "{hidden}");
}

#[test]
fn a_configuration_with_a_secret_in_a_wrong_place_is_refused_without_it() {
    let folder = folder();
    let text = identity().text().to_owned();
    for (from, to) in [
        ("path: keys", "path: @"),
        ("key: server.key", "key: @"),
        ("file: id", "file: \"'@'\""),
        ("file: id", "file: '${@}'"),
        ("unseal:", "'@': 1, unseal:"),
        (
            "{fs: {path: keys}}",
            "{vault: {endpoint: 'http://@:8200', approle: {id: i, secret: s}}, '@': {}}",
        ),
        ("tls:", "keys: [{name: @}]\ntls:"),
        ("tls:", "policy: {@: {identities: [@]}}\ntls:"),
    ] {
        configure(folder.path(), from, &to.replace('@', &text));
        for arguments in [
            ["server", "--config", "c.yml"].as_slice(),
            &["seal", "rewrap", "--config", "c.yml", "--json"],
        ] {
            let output = run(folder.path(), arguments, &[]);
            assert_eq!(output.status.code(), Some(1), "{to}: {output:?}");
            let printed = printed(&output);
            assert!(!printed.contains(&text[24..]), "{to}: {printed}");
        }
    }
    let left = fs::read_dir(folder.path())
        .unwrap()
        .map(|it| it.unwrap().file_name());
    for name in left {
        assert!(!name.to_string_lossy().contains("SEALEDGE"), "{name:?}");
    }
}

#[test]
fn what_never_ends_is_no_identity() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for file in ["/dev/zero", "pipe"] {
        let begun = Instant::now();
        let output = run(folder.path(), &["seal", "of", file], &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            printed(&output).contains("it is no regular file"),
            "{output:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn an_identity_of_somebody_else_or_as_long_as_none_is_refused() {
    let folder = folder();
    write_identity(folder.path(), &" ".repeat((64 << 10) + 1));
    let output = run(folder.path(), &["server", "--config", "c.yml"], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        printed(&output).contains("it is longer than 64 KiB"),
        "{output:?}"
    );

    write_identity(folder.path(), identity().text());
    // Only root can give a file away.
    if std::os::unix::fs::chown(folder.path().join("id"), Some(4711), None).is_ok() {
        let output = run(folder.path(), &["server", "--config", "c.yml"], &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = printed(&output);
        assert!(
            said.contains("`id`: it belongs to the user 4711, "),
            "{said}"
        );
    }
}
