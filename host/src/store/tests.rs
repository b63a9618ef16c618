//! What every store must do, run against each of them.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;
use sealedge_core::name::Name;
use tempfile::TempDir;

use super::{FsStore, KeyStore, MAX_VALUE, MemStore, Operation, Reason, StoreError};

/// A key's name.
pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|| panic!("{text} is no name"))
}

/// A fresh store of each kind, and the directory that the fs store lives in as long as it is held.
fn each_store(check: impl Fn(&dyn KeyStore)) {
    check(&MemStore::new());
    let directory = TempDir::new().unwrap();
    check(&FsStore::open(directory.path()).unwrap());
}

#[test]
fn a_key_is_kept_until_deleted() {
    each_store(|store| {
        let key = name("my-key");
        assert!(matches!(store.get(&key), Err(StoreError::NotFound)));
        assert!(matches!(store.delete(&key), Err(StoreError::NotFound)));
        store.create(&key, b"first").unwrap();
        assert_eq!(*store.get(&key).unwrap(), b"first");
        store.delete(&key).unwrap();
        assert!(matches!(store.get(&key), Err(StoreError::NotFound)));
        assert!(matches!(store.delete(&key), Err(StoreError::NotFound)));
        store.create(&key, b"second").unwrap();
        assert_eq!(*store.get(&key).unwrap(), b"second");
        store.status().unwrap();
    });
}

#[test]
fn a_key_is_never_overwritten() {
    each_store(|store| {
        let key = name("k");
        store.create(&key, b"first").unwrap();
        assert!(matches!(
            store.create(&key, b"second"),
            Err(StoreError::Exists)
        ));
        assert_eq!(*store.get(&key).unwrap(), b"first");
        assert_eq!(store.list("", None, 10).unwrap(), ["k"]);
    });
}

#[test]
fn values_of_every_length_are_opaque() {
    each_store(|store| {
        for (at, value) in [vec![], vec![0], vec![0xff; 4097], vec![b'\n'; MAX_VALUE]]
            .iter()
            .enumerate()
        {
            let key = name(&format!("k{at}"));
            store.create(&key, value).unwrap();
            assert!(*store.get(&key).unwrap() == *value, "{at}");
        }
        let too_long = store.create(&name("long"), &vec![0; MAX_VALUE + 1]);
        assert!(matches!(
            too_long,
            Err(StoreError::Failed {
                operation: Operation::Write,
                reason: Reason::TooLong,
                ..
            })
        ));
        assert!(matches!(
            store.get(&name("long")),
            Err(StoreError::NotFound)
        ));
    });
}

#[test]
fn a_listing_is_sorted_bytewise_and_cut() {
    each_store(|store| {
        for key in ["b", "a-2", "a_2", "B", "a", "a1", "_a"] {
            store.create(&name(key), b"x").unwrap();
        }
        assert_eq!(
            store.list("", None, 99).unwrap(),
            ["B", "_a", "a", "a-2", "a1", "a_2", "b"]
        );
        assert_eq!(
            store.list("a", None, 99).unwrap(),
            ["a", "a-2", "a1", "a_2"]
        );
        assert_eq!(store.list("a", Some("a-2"), 99).unwrap(), ["a1", "a_2"]);
        assert_eq!(store.list("a", Some("a-3"), 1).unwrap(), ["a1"]);
        assert_eq!(store.list("a", Some("b"), 99).unwrap(), [""; 0]);
        assert_eq!(store.list("b", Some("a"), 99).unwrap(), ["b"]);
        assert_eq!(store.list("", None, 0).unwrap(), [""; 0]);
        assert_eq!(store.list("c", None, 99).unwrap(), [""; 0]);
        assert_eq!(store.list("ä/", None, 99).unwrap(), [""; 0]);
    });
}

#[test]
fn racing_threads_have_one_winner() {
    each_store(|store| {
        for round in 0..20 {
            let key = name(&format!("k{round}"));
            let start = Barrier::new(8);
            let race = &|racer: u8| {
                start.wait();
                match store.create(&key, &[racer; 5000]) {
                    Ok(()) => Some(racer),
                    Err(StoreError::Exists) => None,
                    Err(error) => panic!("{error}"),
                }
            };
            let winners: Vec<u8> = thread::scope(|scope| {
                let racers = [0, 1, 2, 3, 4, 5, 6, 7].map(|racer| scope.spawn(move || race(racer)));
                racers
                    .into_iter()
                    .filter_map(|racer| racer.join().unwrap())
                    .collect()
            });
            assert_eq!(winners.len(), 1);
            assert!(*store.get(&key).unwrap() == [winners[0]; 5000]);
        }
        assert_eq!(store.list("k", None, 99).unwrap().len(), 20);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn walking_the_pages_gives_each_name_once(
        names in proptest::collection::btree_set("[abA_]{1,4}", 0..40),
        prefix in "[abA]{0,2}",
        limit in 1usize..12,
    ) {
        let names: BTreeSet<Name> = names.iter().filter_map(|text| Name::new(text)).collect();
        each_store(|store| {
            for name in &names {
                store.create(name, b"x").unwrap();
            }
            let expected: Vec<&str> = names.iter().map(Name::as_str).filter(|name| name.starts_with(&prefix)).collect();
            let mut walked = Vec::<String>::new();
            loop {
                let page = store.list(&prefix, walked.last().map(String::as_str), limit).unwrap();
                assert_eq!(page.len(), limit.min(expected.len() - walked.len()));
                if page.is_empty() {
                    break;
                }
                walked.extend(page);
            }
            assert_eq!(walked, expected);
        });
    }
}
