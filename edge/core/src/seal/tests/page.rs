//! The vectors of `docs/sealed-record.md`.

use std::collections::HashMap;
use std::fmt::Write;

use super::*;
use crate::crypto::conformance::hex;

const PAGE: &str = include_str!("../../../../../docs/sealed-record.md");

/// The block of vectors: `name = value` in each line.
fn vectors() -> HashMap<&'static str, &'static str> {
    let (_, block) = PAGE.split_once("```vectors\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .collect()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Gives out what the page says was drawn, in this order.
fn drawn(values: &[&str]) -> impl FnMut(&mut [u8]) + use<> {
    let mut values: Vec<_> = values.iter().rev().map(|value| hex(value)).collect();
    move |bytes| bytes.copy_from_slice(&values.pop().unwrap())
}

#[test]
fn identities_of_the_page() {
    let page = vectors();
    for who in ["alice", "bob"] {
        let value = |what: &str| page[format!("{who} {what}").as_str()];
        let identity = NodeIdentity::generate(&mut drawn(&[value("seed")]));
        assert_eq!(identity.text(), value("identity"));
        assert_eq!(digits(&identity.opening().to_bytes()), value("opening key"));
        assert_eq!(digits(&identity.signing().to_bytes()), value("signing key"));
        assert_eq!(
            digits(identity.cache_secret().expose()),
            value("cache secret")
        );
        let recipient = identity.recipient();
        assert_eq!(recipient.to_string(), value("recipient"));
        assert_eq!(recipient.fingerprint().to_string(), value("fingerprint"));
    }
}

#[test]
fn records_of_the_page() {
    let page = vectors();
    let [alice, bob]: [NodeIdentity; 2] =
        ["alice identity", "bob identity"].map(|who| page[who].parse().unwrap());
    let value = hex(page["value"]);
    let header = Header {
        name: name(page["name"]),
        sealed_at: Time::from_nanos(page["sealed at"].parse().unwrap()),
    };
    let all = recipients(&[&alice, &bob]);
    // Each HPKE draws what RFC 9180's vectors call ikmE.
    let mut random = drawn(&["content key", "first ikmE", "second ikmE"].map(|what| page[what]));
    let record = seal(&RustCrypto, &mut random, &value, &header, &all, &alice).unwrap();
    assert_eq!(record, page["record"]);
    for (record, signer) in [("record", &alice), ("made elsewhere", &bob)] {
        for node in [&alice, &bob] {
            let signers = recipients(&[signer]);
            let record = page[record].as_bytes();
            let opened = open(&RustCrypto, record, &header.name, node, &signers).unwrap();
            assert_eq!(*opened.plaintext, value);
        }
    }

    let mut random = drawn(&[page["salt"]]);
    let secret = alice.cache_secret();
    let entry = cache::seal(&RustCrypto, &mut random, &value, &header, secret).unwrap();
    assert_eq!(digits(&entry), page["cache entry"]);
}
