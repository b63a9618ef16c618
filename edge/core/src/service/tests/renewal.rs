//! Keys that are not sealed as the configuration wants them, in a store of the service's own.

use std::collections::BTreeMap;
use std::future::pending;

use super::*;
use crate::seal::{Header, NodeIdentity, Recipient, is_sealed, open, seal};
use crate::store::Renew;

type Values = BTreeMap<Name, Vec<u8>>;

/// A key store that works, and what comes between a read and a replace.
#[derive(Clone, Default)]
struct Own {
    values: Rc<RefCell<Values>>,
    between: Rc<Cell<Between>>,
    /// Whether others can reach it, too.
    is_shared: bool,
}

#[derive(Clone, Copy, Default)]
enum Between {
    #[default]
    Nothing,
    Delete,
    Replace,
    Failure,
    Silence,
}

impl Store for Own {
    async fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        self.values
            .borrow_mut()
            .insert(name.clone(), value.to_vec());
        Ok(())
    }

    async fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let value = self.values.borrow().get(name).cloned();
        value.map(Zeroizing::new).ok_or(StoreError::NotFound)
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let removed = self.values.borrow_mut().remove(name);
        removed.map(drop).ok_or(StoreError::NotFound)
    }

    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<String>, StoreError> {
        Err(Away::error())
    }

    async fn status(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn renewing(&self) -> Option<&impl Renew> {
        (!self.is_shared).then_some(self)
    }
}

impl Renew for Own {
    async fn replace(&self, name: &Name, old: &[u8], value: &[u8]) -> Result<(), StoreError> {
        match self.between.get() {
            Between::Nothing => {}
            Between::Delete => drop(self.values.borrow_mut().remove(name)),
            Between::Replace => {
                self.values
                    .borrow_mut()
                    .insert(name.clone(), b"another".to_vec());
            }
            Between::Failure => return Err(StoreError::Failed("on purpose".into())),
            Between::Silence => pending().await,
        }
        match self.values.borrow_mut().get_mut(name) {
            Some(there) if there == old => *there = value.to_vec(),
            _ => return Err(StoreError::Changed),
        }
        Ok(())
    }
}

fn node(seed: u8) -> NodeIdentity {
    NodeIdentity::generate(&mut |bytes| bytes.fill(seed))
}

fn name() -> Name {
    Name::new("k").unwrap()
}

fn recipients(seeds: &[u8]) -> Vec<Recipient> {
    seeds
        .iter()
        .map(|seed| node(*seed).recipient().clone())
        .collect()
}

fn key() -> Zeroizing<String> {
    Key::create(
        &mut |bytes| bytes.fill(9),
        jiff::Timestamp::UNIX_EPOCH,
        None,
    )
    .to_stored()
}

/// A record of the key by the first node.
fn record(recipients: &[Recipient]) -> Vec<u8> {
    let header = Header {
        name: name(),
        sealed_at: Time::from_nanos(7),
    };
    let random = &mut |buffer: &mut [u8]| buffer.fill(3);
    let record = seal(
        &RustCrypto,
        random,
        key().as_bytes(),
        &header,
        recipients,
        &node(1),
    );
    record.unwrap().into_bytes()
}

/// Another start of node 1, with these recipients, over what is there.
fn start(store: &Own, seeds: &[u8], more: &str) -> Stage<Own> {
    let recipients = recipients(seeds)
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let signers = self::recipients(&[1, 2])
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    let config = configured(&format!(
        "keystore: {{mem: {{}}}}\nseal: {{recipients: [{}], signers: [{}], unseal: {{identity: {}}}{more}}}\n",
        recipients.join(", "),
        signers.join(", "),
        node(1).text()
    ));
    Stage::with_config(Fake::default(), store.clone(), config)
}

fn holding(value: &[u8]) -> Own {
    let store = Own::default();
    store.values.borrow_mut().insert(name(), value.to_vec());
    store
}

impl Own {
    fn value(&self) -> Option<Vec<u8>> {
        self.values.borrow().get(&name()).cloned()
    }

    /// Who can open what is there.
    fn opens(&self, seed: u8) -> bool {
        let value = self.value().unwrap();
        let opened = open(&RustCrypto, &value, &name(), &node(seed), &recipients(&[1]));
        opened.is_ok_and(|it| *it.plaintext == *key().as_bytes())
    }
}

#[test]
fn a_read_seals_for_the_recipients_of_the_configuration() {
    for (before, now) in [(&[1][..], &[1, 2][..]), (&[1, 2], &[1]), (&[1, 3], &[1, 2])] {
        let store = holding(&record(&recipients(before)));
        let stage = start(&store, now, "");
        assert_eq!(stage.status(GENERATE), 200);
        for seed in 1..=3 {
            assert_eq!(
                store.opens(seed),
                now.contains(&seed),
                "{before:?} {now:?} {seed}"
            );
        }
        // That is as wanted then.
        let renewed = store.value();
        assert_eq!(start(&store, now, "").status(GENERATE), 200);
        assert_eq!(store.value(), renewed);
        assert_eq!(stage.fake.lines(), [""; 0]);
    }
}

#[test]
fn what_is_not_sealed_is_sealed_where_that_is_accepted() {
    let store = holding(key().as_bytes());
    assert_eq!(start(&store, &[1], "").status(GENERATE), 502);
    assert_eq!(store.value().unwrap(), key().as_bytes());
    assert_eq!(
        start(&store, &[1], ", accept_unsealed: on").status(GENERATE),
        200
    );
    assert!(is_sealed(&store.value().unwrap()) && store.opens(1));
}

#[test]
fn nobody_is_overtaken_and_no_key_comes_back() {
    let store = holding(&record(&recipients(&[1])));
    store.between.set(Between::Replace);
    let stage = start(&store, &[1, 2], "");
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(store.value().unwrap(), b"another");
    assert_eq!(stage.fake.lines(), [""; 0]);

    let store = holding(&record(&recipients(&[1])));
    store.between.set(Between::Delete);
    let stage = start(&store, &[1, 2], "");
    assert_eq!(stage.status(GENERATE), 200);
    assert_eq!(store.value(), None);
    assert_eq!(stage.fake.lines(), [""; 0]);
}

#[test]
fn a_renewal_that_fails_or_hangs_is_said_and_changes_no_answer() {
    let line = "'k' is not sealed as the configuration wants it, and can't be sealed anew: ";
    for (between, why) in [
        (Between::Failure, "on purpose"),
        (Between::Silence, "there is no answer in 1s"),
    ] {
        let old = record(&recipients(&[1]));
        let store = holding(&old);
        store.between.set(between);
        let stage = start(&store, &[1, 2], "");
        assert_eq!(stage.status(GENERATE), 200);
        assert_eq!(stage.fake.lines(), [format!("{line}{why}")]);
        assert_eq!(store.value().unwrap(), old);
    }
}

#[test]
fn a_node_that_is_no_recipient_and_a_store_that_others_reach_are_left_alone() {
    let old = record(&recipients(&[1, 2]));
    for (is_shared, now) in [(false, &[2, 3][..]), (true, &[1])] {
        let store = Own {
            is_shared,
            ..holding(&old)
        };
        let stage = start(&store, now, "");
        assert_eq!(stage.status(GENERATE), 200);
        assert_eq!(store.value().unwrap(), old);
        assert_eq!(stage.fake.lines(), [""; 0]);
    }
}
