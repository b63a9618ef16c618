mod cache_entry;
mod page;

use super::*;
use crate::crypto::{Crypto, RustCrypto, TAG_LENGTH};
use crate::key::Secret;
use crate::name::Name;
use crate::time::Time;
use format::Stanza;
use p256::ecdsa::Signature;
use prop::collection::vec;
use proptest::prelude::*;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors");
const SECRET: &[u8] = b"a key that nobody may see";

fn identity(seed: u8) -> NodeIdentity {
    NodeIdentity::generate(&mut |bytes| bytes.fill(seed))
}

fn recipients(identities: &[&NodeIdentity]) -> Vec<Recipient> {
    identities.iter().map(|it| it.recipient().clone()).collect()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn header(text: &str) -> Header {
    Header {
        name: name(text),
        sealed_at: Time::from_nanos(1_795_564_800_123_456_789),
    }
}

/// Different bytes at each call, the same in every run.
fn counter() -> impl FnMut(&mut [u8]) {
    let mut count = 0;
    move |bytes| {
        count += 1;
        bytes.fill(count);
    }
}

fn sealed_for(identities: &[&NodeIdentity], by: &NodeIdentity) -> String {
    let recipients = recipients(identities);
    let header = header("my-key");
    seal(
        &RustCrypto,
        &mut counter(),
        SECRET,
        &header,
        &recipients,
        by,
    )
    .unwrap()
}

/// What `node` finds in a value under the name `my-key`, if it trusts only `signer`.
fn opened(value: &[u8], node: &NodeIdentity, signer: &NodeIdentity) -> Result<Opened, CannotOpen> {
    let signers = recipients(&[signer]);
    open(&RustCrypto, value, &name("my-key"), node, &signers)
}

fn refusal(value: &[u8], node: &NodeIdentity, signer: &NodeIdentity) -> CannotOpen {
    let Err(refusal) = opened(value, node, signer) else {
        panic!("it opens");
    };
    assert!(!refusal.to_string().is_empty());
    refusal
}

/// The text of a record that was changed before it was signed.
fn signed(mut record: Vec<u8>, signer: &NodeIdentity) -> String {
    let signature = signature::sign(signer.signing(), &record).unwrap();
    record.extend_from_slice(&signature);
    format::encode(&record)
}

/// The bytes before the signature, the prefix included.
fn unsigned(text: &str) -> Vec<u8> {
    let mut record = format::decode(text.as_bytes()).unwrap();
    record.truncate(record.len() - 64);
    record
}

/// A record with these stanzas, whose content key is 32 times 7: what [`seal`] does not write.
fn crafted(info: &[u8], stanzas: &[Stanza<'_>], signer: &NodeIdentity) -> String {
    let mut record = info.to_vec();
    record.push(stanzas.len() as u8);
    for stanza in stanzas {
        format::write_stanza(&mut record, stanza);
    }
    format::write_length(&mut record, SECRET.len() + TAG_LENGTH);
    let mut content = SECRET.to_vec();
    RustCrypto
        .aes256_gcm_seal(&[7; 32], &[0; 12], &record, &mut content)
        .unwrap();
    record.extend_from_slice(&content);
    signed(record, signer)
}

fn info(signer: &NodeIdentity) -> Vec<u8> {
    format::begin(1, 1, &header("my-key"), 1, signer.recipient().fingerprint())
}

/// The key of [`crafted`] records, wrapped.
fn wrapped(node: &NodeIdentity, info: &[u8]) -> Vec<u8> {
    let key = Secret::copy_of(&[7; 32]).unwrap();
    hpke::wrap(
        &key,
        node.recipient().opening().unwrap(),
        info,
        &mut counter(),
    )
    .unwrap()
}

#[test]
fn every_recipient_opens_it_and_nobody_else() {
    let [a, b, stranger] = [1, 2, 3].map(identity);
    let text = sealed_for(&[&a, &b], &a);
    assert!(text.starts_with("sealedge:v1:") && text.is_ascii());
    let mut fingerprints = [&a, &b].map(|node| node.recipient().fingerprint());
    fingerprints.sort();
    for node in [&a, &b] {
        let opened = opened(text.as_bytes(), node, &a).unwrap();
        assert_eq!(*opened.plaintext, SECRET);
        assert_eq!(opened.header, header("my-key"));
        assert_eq!(opened.signer, a.recipient().fingerprint());
        assert_eq!(opened.recipients, fingerprints);
    }
    let refusal = refusal(text.as_bytes(), &stranger, &a);
    let node = stranger.recipient().fingerprint();
    let recipients = fingerprints.to_vec();
    assert_eq!(refusal, CannotOpen::NotForThisNode { node, recipients });
    for fingerprint in fingerprints {
        assert!(refusal.to_string().contains(&fingerprint.to_string()));
    }
}

#[test]
fn only_under_its_name() {
    let a = identity(1);
    let text = sealed_for(&[&a], &a);
    let signers = recipients(&[&a]);
    let moved = open(&RustCrypto, text.as_bytes(), &name("other"), &a, &signers);
    assert_eq!(moved.err(), Some(CannotOpen::OtherName(name("my-key"))));
}

#[test]
fn only_by_an_allowed_signer() {
    let [a, stranger] = [1, 2].map(identity);
    let text = sealed_for(&[&a], &stranger);
    let fingerprint = stranger.recipient().fingerprint();
    assert_eq!(
        refusal(text.as_bytes(), &a, &a),
        CannotOpen::Stranger(fingerprint)
    );
    // In the name of another, and with no signature at all.
    let record = unsigned(&sealed_for(&[&a], &a));
    let forged = CannotOpen::Forged(a.recipient().fingerprint());
    assert_eq!(
        refusal(signed(record.clone(), &stranger).as_bytes(), &a, &a),
        forged
    );
    assert_eq!(refusal(format::encode(&record).as_bytes(), &a, &a), forged);
}

#[test]
fn one_flipped_bit_anywhere_is_found() {
    let a = identity(1);
    let text = sealed_for(&[&a], &a);
    let record = format::decode(text.as_bytes()).unwrap();
    for bit in 12 * 8..record.len() * 8 {
        let mut record = record.clone();
        record[bit / 8] ^= 1 << (bit % 8);
        refusal(format::encode(&record).as_bytes(), &a, &a);
    }
    for bit in 0..text.len() * 8 {
        let mut text = text.clone().into_bytes();
        text[bit / 8] ^= 1 << (bit % 8);
        refusal(&text, &a, &a);
    }
}

#[test]
fn no_part_of_it_opens_and_nothing_may_follow() {
    let a = identity(1);
    let text = sealed_for(&[&a], &a);
    let record = format::decode(text.as_bytes()).unwrap();
    for length in 0..text.len() {
        refusal(&text.as_bytes()[..length], &a, &a);
    }
    for length in 12..record.len() {
        refusal(format::encode(&record[..length]).as_bytes(), &a, &a);
    }
    refusal(
        format::encode(&[&record[..], &[0]].concat()).as_bytes(),
        &a,
        &a,
    );
    for more in ["=", "==", "\n", " ", "A", "AA", "\0"] {
        refusal(format!("{text}{more}").as_bytes(), &a, &a);
        refusal(format!("{more}{text}").as_bytes(), &a, &a);
    }
}

#[test]
fn the_other_signature_of_the_pair_is_refused() {
    let a = identity(1);
    let record = unsigned(&sealed_for(&[&a], &a));
    let signature = signature::sign(a.signing(), &record).unwrap();
    let low = Signature::from_slice(&signature).unwrap();
    let (r, s) = low.split_scalars();
    let high = Signature::from_scalars(r, -s).unwrap();
    let with = |signature: &Signature| {
        let all = [&record[..], &signature.to_bytes()[..]].concat();
        opened(format::encode(&all).as_bytes(), &a, &a).is_ok()
    };
    assert!(with(&low) && !with(&high));
}

#[test]
fn identifiers_of_later_versions_are_named() {
    let a = identity(1);
    let good = unsigned(&sealed_for(&[&a], &a));
    let version_at = 12 + 4 + 1 + "my-key".len() + 8;
    let suite_at = version_at + 4 + 16 + 1 + 16;
    for (at, what, id) in [
        (12, "content algorithm", 0x0201),
        (14, "signature algorithm", 0x0201),
        (version_at, "key version", 0x0200_0001),
        (suite_at, "recipient algorithm", 0x0201),
    ] {
        let mut record = good.clone();
        record[at] = 2;
        let refusal = refusal(signed(record, &a).as_bytes(), &a, &a);
        assert_eq!(refusal, CannotOpen::Unknown(what, id));
    }
}

#[test]
fn stanzas_that_are_not_ours_may_be_of_any_suite_and_size() {
    let a = identity(1);
    let info = info(&a);
    let key = wrapped(&a, &info);
    let ours = a.recipient().fingerprint();
    for (before, size) in [(true, 0), (true, 1665), (false, 1), (false, 65_535)] {
        let foreign = Stanza {
            recipient: Fingerprint(if before { [0; 16] } else { [0xff; 16] }),
            suite: 0xfffe,
            wrapped: &vec![9; size],
        };
        let ours = Stanza {
            recipient: ours,
            suite: 1,
            wrapped: &key,
        };
        let stanzas = if before {
            [foreign, ours]
        } else {
            [ours, foreign]
        };
        let opened = opened(crafted(&info, &stanzas, &a).as_bytes(), &a, &a).unwrap();
        assert_eq!(*opened.plaintext, SECRET);
        assert_eq!(opened.recipients.len(), 2);
    }
}

#[test]
fn stanzas_are_in_order_and_none_is_twice() {
    let [a, b] = [1, 2].map(identity);
    let info = info(&a);
    let keys = [&a, &b].map(|node| wrapped(node, &info));
    let stanza = |at: usize| Stanza {
        recipient: [&a, &b][at].recipient().fingerprint(),
        suite: 1,
        wrapped: &keys[at],
    };
    let orders = [[0, 1], [1, 0], [0, 0]].map(|order| {
        let text = crafted(&info, &order.map(stanza), &a);
        opened(text.as_bytes(), &a, &a).is_ok()
    });
    assert_eq!(orders.into_iter().filter(|opens| *opens).count(), 1);
    assert!(!orders[2]);
    let nobody = refusal(crafted(&info, &[], &a).as_bytes(), &a, &a);
    assert!(matches!(nobody, CannotOpen::Damaged(_)));
    let twice = sealed_for(&[&a, &b, &a], &a);
    assert_eq!(twice, sealed_for(&[&b, &a], &a));
}

#[test]
fn a_wrapped_key_belongs_to_one_header() {
    let a = identity(1);
    let info = info(&a);
    let later = Header {
        sealed_at: Time::from_nanos(1),
        ..header("my-key")
    };
    let elsewhere = format::begin(1, 1, &later, 1, a.recipient().fingerprint());
    for (from, opens) in [(&info, true), (&elsewhere, false)] {
        let key = wrapped(&a, from);
        let stanza = Stanza {
            recipient: a.recipient().fingerprint(),
            suite: 1,
            wrapped: &key,
        };
        let text = crafted(&info, &[stanza], &a);
        assert_eq!(opened(text.as_bytes(), &a, &a).is_ok(), opens);
    }
}

#[test]
fn what_does_not_decrypt_though_it_is_signed() {
    let a = identity(1);
    let info = info(&a);
    for wrapped in [vec![], vec![4; 64], vec![4; 65], vec![4; 113], vec![4; 114]] {
        let stanza = Stanza {
            recipient: a.recipient().fingerprint(),
            suite: 1,
            wrapped: &wrapped,
        };
        let text = crafted(&info, &[stanza], &a);
        assert_eq!(refusal(text.as_bytes(), &a, &a), CannotOpen::NotAuthentic);
    }
    let mut record = unsigned(&sealed_for(&[&a], &a));
    *record.last_mut().unwrap() ^= 1;
    assert_eq!(
        refusal(signed(record, &a).as_bytes(), &a, &a),
        CannotOpen::NotAuthentic
    );
}

#[test]
fn as_much_as_fits_and_no_more() {
    let a = identity(1);
    let many: Vec<_> = (1..=65)
        .map(|seed| identity(seed).recipient().clone())
        .collect();
    let header = header("my-key");
    let seal = |plaintext: &[u8], recipients: &[Recipient]| {
        seal(
            &RustCrypto,
            &mut counter(),
            plaintext,
            &header,
            recipients,
            &a,
        )
    };
    let longest = vec![5; MAX_PLAINTEXT];
    let text = seal(&longest, &many[..MAX_RECIPIENTS]).unwrap();
    assert_eq!(*opened(text.as_bytes(), &a, &a).unwrap().plaintext, longest);
    assert_eq!(
        seal(b"", &many).err(),
        Some(CannotSeal::TooManyRecipients(65))
    );
    assert_eq!(seal(b"", &[]).err(), Some(CannotSeal::NoRecipient));
    let too_long = seal(&vec![5; MAX_PLAINTEXT + 1], &many[..1]);
    assert_eq!(too_long.err(), Some(CannotSeal::TooLong(MAX_PLAINTEXT + 1)));
    let endless = format!("sealedge:v1:{}", "A".repeat(200_000));
    let refusal = refusal(endless.as_bytes(), &a, &a);
    assert_eq!(refusal, CannotOpen::Damaged("it is too long"));
}

#[test]
fn what_kes_stores_is_not_sealed() {
    let a = identity(1);
    let mut values = vec![
        b"vault:v1:c2VjcmV0".to_vec(),
        b"{\"bytes\":\"\"}".to_vec(),
        vec![],
    ];
    for file in std::fs::read_dir(format!("{VECTORS}/keystore")).unwrap() {
        values.push(std::fs::read(file.unwrap().path()).unwrap());
    }
    assert!(values.len() > 5);
    for value in values {
        assert!(!is_sealed(&value));
        assert_eq!(refusal(&value, &a, &a), CannotOpen::NotSealed);
    }
    for value in ["sealedge:v2:AAAA", "sealedge:v1", "sealedge:v10:AAAA"] {
        assert!(is_sealed(value.as_bytes()));
        assert_eq!(refusal(value.as_bytes(), &a, &a), CannotOpen::LaterFormat);
    }
}

/// Bytes that look like a record as far as they go: each part may be right.
fn nearly_a_record() -> impl Strategy<Value = Vec<u8>> {
    let a = identity(1);
    let info = info(&a);
    let fingerprint = a.recipient().fingerprint().0.to_vec();
    let stanza = (
        prop_oneof![Just(fingerprint), vec(any::<u8>(), 16)],
        any::<u16>(),
        vec(any::<u8>(), 0..200),
    )
        .prop_map(|(id, suite, wrapped)| {
            [
                &id[..],
                &suite.to_be_bytes(),
                &(wrapped.len() as u16).to_be_bytes(),
                &wrapped,
            ]
            .concat()
        });
    (
        0..=info.len(),
        any::<u8>(),
        vec(stanza, 0..4),
        vec(any::<u8>(), 0..200),
    )
        .prop_map(move |(kept, count, stanzas, rest)| {
            let count = [if count < 128 {
                stanzas.len() as u8
            } else {
                count
            }];
            [&info[..kept], &count, &stanzas.concat(), &rest].concat()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sealed_opens(
        plaintext in vec(any::<u8>(), 0..600),
        text in "[A-Za-z0-9]{1,80}",
        nanos: u64,
        seeds in vec(1u8..9, 1..6),
        signer in 1u8..9,
    ) {
        let nodes: Vec<_> = seeds.iter().map(|seed| identity(*seed)).collect();
        let signer = identity(signer);
        let header = Header { name: name(&text), sealed_at: Time::from_nanos(nanos) };
        let all = recipients(&nodes.iter().collect::<Vec<_>>());
        let text = seal(&RustCrypto, &mut counter(), &plaintext, &header, &all, &signer).unwrap();
        for node in &nodes {
            let signers = recipients(&[&signer]);
            let opened = open(&RustCrypto, text.as_bytes(), &header.name, node, &signers).unwrap();
            prop_assert_eq!(&*opened.plaintext, &plaintext);
            prop_assert_eq!(&opened.header, &header);
        }
        let secret = signer.cache_secret();
        let entry = cache::seal(&RustCrypto, &mut counter(), &plaintext, &header, secret).unwrap();
        let (found, content) = cache::open(&RustCrypto, &entry, &header.name, secret).unwrap();
        prop_assert_eq!(found, header);
        prop_assert_eq!(&*content, &plaintext);
    }
}

proptest! {
    #[test]
    fn any_value_is_refused(
        bytes: Vec<u8>,
        text in "(sealedge:v1:)?[A-Za-z0-9_-]{0,300}",
        record in nearly_a_record(),
    ) {
        let a = identity(1);
        prop_assert!(opened(&bytes, &a, &a).is_err());
        prop_assert!(opened(text.as_bytes(), &a, &a).is_err());
        prop_assert!(opened(format::encode(&record).as_bytes(), &a, &a).is_err());
        // Signed, so that it is read to its end. It could only open with the right key wrapped.
        prop_assert!(opened(signed(record, &a).as_bytes(), &a, &a).is_err());
        let entry = [b"sealedge-cache:v1:", bytes.as_slice()].concat();
        for entry in [bytes.as_slice(), &entry] {
            let name = name("my-key");
            prop_assert!(cache::open(&RustCrypto, entry, &name, a.cache_secret()).is_err());
        }
    }
}
