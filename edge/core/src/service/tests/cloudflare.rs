//! Clients whose certificates Cloudflare tells of.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

use super::*;
use crate::auth::cloudflare::Told;
use crate::certificate::identity_of;

/// A certificate that Cloudflare has verified.
fn told(certificate: &[u8]) -> Told {
    Told {
        presented: "1".into(),
        verified: "SUCCESS".into(),
        revoked: "0".into(),
        certificate: format!(":{}:", STANDARD.encode(certificate)),
        chain: String::new(),
    }
}

fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_after = date_time_ymd(2040, 1, 1);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

struct Worker {
    service: Service<Machine<Away, true>>,
    fake: Fake,
}

impl Worker {
    /// One of which this client is the admin. If it `verifies` certificates, no authority has issued any.
    fn new(admin: &[u8], verifies: bool) -> Self {
        let identity = identity_of(admin).unwrap();
        let fake = Fake::default();
        let mut config = configured("keystore: {mem: {}}\n");
        config.admin = Some(identity);
        config.tls.verify_clients = verifies;
        let machine = Machine {
            fake: fake.clone(),
            store: Away,
            trusts: Cell::default(),
            copies: None,
        };
        let service = Service::new(config, machine);
        Self { service, fake }
    }

    fn who(&self, told: &Told) -> Principal {
        let client = self.service.client_told(told, "192.0.2.1", self.fake.now());
        assert_eq!(client.ip(), "192.0.2.1");
        client.principal()
    }
}

fn is_client(principal: Principal, certificate: &[u8]) -> bool {
    matches!(principal, Principal::Client { identity, .. } if Some(identity) == identity_of(certificate))
}

#[test]
fn the_client_is_whose_certificate_was_shown() {
    let one = certificate(|_| {});
    for by in [one.clone(), certificate(|_| {})] {
        // Whether it is judged anew or remembered, known or a stranger.
        let worker = Worker::new(&by, false);
        for _ in 0..2 {
            assert!(is_client(worker.who(&told(&one)), &one));
        }
        let nobody = Told::default();
        assert_eq!(worker.who(&nobody), Principal::Nobody);
        let not_shown = Told {
            presented: "0".into(),
            ..told(&one)
        };
        assert_eq!(worker.who(&not_shown), Principal::Nobody);
    }
}

#[test]
fn what_can_not_be_read_is_nobodys() {
    let one = certificate(|_| {});
    let worker = Worker::new(&one, false);
    for certificate in ["", "::", ":AAAA:", "AAAA", "certificate"] {
        let told = Told {
            certificate: certificate.into(),
            ..told(&one)
        };
        assert_eq!(worker.who(&told), Principal::Unreadable, "{certificate}");
    }
    let chain = Told {
        chain: "x".into(),
        ..told(&one)
    };
    assert_eq!(worker.who(&chain), Principal::Unreadable);
    let authority = certificate(|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(worker.who(&told(&authority)), Principal::Nobody);
}

#[test]
fn a_revoked_one_is_never_trusted_even_if_it_was() {
    let one = certificate(|_| {});
    for verifies in [false, true] {
        let worker = Worker::new(&one, verifies);
        worker.service.platform.trusts.set(true);
        assert!(is_client(worker.who(&told(&one)), &one));
        let revoked = Told {
            revoked: "1".into(),
            ..told(&one)
        };
        assert_eq!(worker.who(&revoked), Principal::Untrusted);
    }
}

#[test]
fn while_they_are_verified_both_cloudflare_and_the_authorities_have_to_trust_it() {
    let one = certificate(|_| {});
    let worker = Worker::new(&one, true);
    assert_eq!(worker.who(&told(&one)), Principal::Untrusted);
    worker.service.platform.trusts.set(true);
    assert!(is_client(worker.who(&told(&one)), &one));
    for (verified, revoked) in [("FAILED:x", "0"), ("NONE", "0"), ("", "0"), ("SUCCESS", "")] {
        let told = Told {
            verified: verified.into(),
            revoked: revoked.into(),
            ..told(&one)
        };
        assert_eq!(worker.who(&told), Principal::Untrusted, "{verified}");
    }
}

#[test]
fn a_certificate_is_judged_anew_after_a_minute() {
    let one = certificate(|_| {});
    let worker = Worker::new(&one, true);
    worker.service.platform.trusts.set(true);
    assert!(is_client(worker.who(&told(&one)), &one));
    worker.service.platform.trusts.set(false);
    worker.fake.pass(Duration::from_secs(59));
    assert!(is_client(worker.who(&told(&one)), &one));
    worker.fake.pass(Duration::from_secs(1));
    assert_eq!(worker.who(&told(&one)), Principal::Untrusted);
}

#[test]
fn strangers_are_not_remembered_and_not_more_are_than_there_is_room_for() {
    let one = certificate(|_| {});
    let worker = Worker::new(&one, false);
    let remembered = || worker.service.judged.len();
    worker.who(&told(&certificate(|_| {})));
    assert_eq!(remembered(), 0);
    worker.who(&told(&one));
    assert_eq!(remembered(), 1);
    // The same certificate by texts that differ.
    for length in 0..5000 {
        let mut other = told(&one);
        other.certificate.push_str(&" ".repeat(length));
        worker.who(&other);
        assert!(remembered() <= 1024);
    }
}

proptest! {
    #[test]
    fn whatever_is_told_is_somebody_or_nobody(fields: [String; 5]) {
        let [presented, verified, revoked, certificate, chain] = fields;
        let worker = Worker::new(&self::certificate(|_| {}), false);
        worker.who(&Told { presented, verified, revoked, certificate: certificate.clone(), chain: chain.clone() });
        let shown = Told { certificate, chain, ..told(b"") };
        let is_client = matches!(worker.who(&shown), Principal::Client { .. });
        prop_assert!(!is_client);
    }
}
