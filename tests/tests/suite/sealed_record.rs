//! Records made and opened by `tests/sealed_record.py`, which is written from `docs/sealed-record.md` alone.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sealedge_core::crypto::RustCrypto;
use sealedge_core::name::Name;
use sealedge_core::seal::{self, Header, NodeIdentity};
use sealedge_core::time::Time;
use sealedge_tests::pip;

use super::sealing::{identity, random};

/// Python's library of cryptography, which is all that the script uses.
const LIBRARY: &str = "cryptography==48.0.0";

/// The library's folder, if it can be had.
fn library() -> Option<PathBuf> {
    pip::package(Path::new(env!("CARGO_TARGET_TMPDIR")), LIBRARY)
        .inspect_err(|why| pip::skipped(LIBRARY, why))
        .ok()
}

fn script(library: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/sealed_record.py"))
        .args(arguments)
        .env("PYTHONPATH", library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse its arguments before it reads.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn arguments<'a>(verb: &'a str, node: &'a NodeIdentity, name: &'a str) -> Vec<&'a str> {
    vec![verb, "--identity", node.text(), "--name", name]
}

#[test]
fn python_opens_what_rust_seals_and_the_reverse() {
    let Some(library) = library() else { return };
    let (one, two) = (identity(), identity());
    let recipients = [one.recipient().clone(), two.recipient().clone()];
    let name = Name::new("my-key").unwrap();
    let header = Header {
        name: name.clone(),
        sealed_at: Time::from_nanos(1_764_000_000_000_000_000),
    };
    let value = b"what is stored of a key";
    let record = seal::seal(&RustCrypto, &mut random, value, &header, &recipients, &one).unwrap();
    let signer = one.recipient().to_string();
    for node in [&one, &two] {
        let mut opening = arguments("open", node, "my-key");
        opening.extend(["--signer", &signer]);
        let opened = script(&library, &opening, record.as_bytes());
        assert!(opened.status.success(), "{opened:?}");
        assert_eq!(opened.stdout, value);
    }

    let texts = recipients.each_ref().map(ToString::to_string);
    let mut making = arguments("make", &two, "my-key");
    for recipient in &texts {
        making.extend(["--recipient", recipient]);
    }
    let made = script(&library, &making, value);
    assert!(made.status.success(), "{made:?}");
    let opened = seal::open(&RustCrypto, &made.stdout, &name, &one, &recipients).unwrap();
    assert_eq!(&**opened.plaintext, value);
    assert_eq!(opened.signer, two.recipient().fingerprint());
}

#[test]
fn python_refuses_what_rust_refuses() {
    let Some(library) = library() else { return };
    let (one, other) = (identity(), identity());
    let header = Header {
        name: Name::new("my-key").unwrap(),
        sealed_at: Time::from_nanos(1),
    };
    let recipients = [one.recipient().clone()];
    let record = seal::seal(&RustCrypto, &mut random, b"v", &header, &recipients, &one).unwrap();
    let signer = one.recipient().to_string();
    let stranger = other.recipient().to_string();
    let cut = &record[..record.len() - 1];
    for (node, name, signer, record) in [
        (&other, "my-key", &signer, record.as_str()),
        (&one, "other-key", &signer, &record),
        (&one, "my-key", &stranger, &record),
        (&one, "my-key", &signer, cut),
    ] {
        let mut opening = arguments("open", node, name);
        opening.extend(["--signer", signer]);
        let refused = script(&library, &opening, record.as_bytes());
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.starts_with("refused: "), "{said}");
        assert!(refused.stdout.is_empty());
    }
}
