//! The fs store's files: their layout, what does not belong there, and a directory that comes and goes.

mod faults;
mod processes;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sealedge_core::store::Versioned;
use tempfile::TempDir;

use super::*;
use crate::store::tests::name;

/// The names in a directory, in order.
fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_key_is_one_file_of_its_name_with_the_value_and_nothing_else() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("new/parents/keys");
    let store = FsStore::open(&path).unwrap();
    store.create(&name("my-key"), b"value").unwrap();
    assert_eq!(files(&path), ["my-key"]);
    assert_eq!(fs::read(path.join("my-key")).unwrap(), b"value");
    assert_eq!(mode(&path.join("my-key")), 0o600);
    for directory in [
        path.as_path(),
        &home.path().join("new/parents"),
        &home.path().join("new"),
    ] {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
    store.delete(&name("my-key")).unwrap();
    assert_eq!(files(&path), [""; 0]);
}

#[test]
fn the_mode_of_a_directory_that_was_there_is_left_as_it_is() {
    let home = TempDir::new().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o750)).unwrap();
    FsStore::open(home.path()).unwrap();
    assert_eq!(mode(home.path()), 0o750);
}

#[test]
fn keys_that_kes_wrote_are_read() {
    let home = TempDir::new().unwrap();
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/keystore");
    let names = files(&vectors);
    for name in &names {
        fs::copy(vectors.join(name), home.path().join(name)).unwrap();
    }
    let store = FsStore::open(home.path()).unwrap();
    assert_eq!(
        store.list("", None, 99).unwrap(),
        [
            "vector-aes",
            "vector-chacha",
            "vector-created",
            "vector-old-aes",
            "vector-old-chacha"
        ]
    );
    for file in &names {
        assert_eq!(
            *store.get(&name(file)).unwrap(),
            fs::read(vectors.join(file)).unwrap(),
            "{file}"
        );
        assert!(matches!(
            store.create(&name(file), b"other"),
            Err(StoreError::Exists)
        ));
    }
    store.delete(&name("vector-old-aes")).unwrap();
    assert_eq!(
        store.list("vector-old", None, 99).unwrap(),
        ["vector-old-chacha"]
    );
}

/// Everything that can have a key's name without being a key. The socket's listener keeps it alive.
fn make_foreign_entries(home: &Path) -> (Vec<&'static str>, UnixListener) {
    fs::create_dir(home.join("directory")).unwrap();
    fs::write(home.join("directory/inner"), b"x").unwrap();
    symlink("regular", home.join("link")).unwrap();
    symlink("nowhere", home.join("dangling")).unwrap();
    mknodat(
        CWD,
        home.join("fifo"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let socket = UnixListener::bind(home.join("socket")).unwrap();
    (
        vec!["directory", "link", "dangling", "fifo", "socket"],
        socket,
    )
}

#[test]
fn what_is_no_regular_file_is_no_key() {
    let home = TempDir::new().unwrap();
    let store = FsStore::open(home.path()).unwrap();
    store.create(&name("regular"), b"value").unwrap();
    let (foreign, _socket) = make_foreign_entries(home.path());
    let before = files(home.path());
    assert_eq!(store.list("", None, 99).unwrap(), ["regular"]);
    for foreign in foreign {
        let answers = [
            store.get(&name(foreign)).map(drop),
            store.create(&name(foreign), b"x"),
            store.delete(&name(foreign)),
        ];
        for answer in answers {
            let Err(StoreError::Failed {
                path,
                reason: Reason::NotAFile,
                ..
            }) = answer
            else {
                panic!("{foreign}: {answer:?}");
            };
            assert_eq!(path, home.path().join(foreign));
        }
    }
    assert_eq!(files(home.path()), before);
}

#[test]
fn files_whose_names_are_no_key_names_are_ignored() {
    let home = TempDir::new().unwrap();
    for foreign in [
        ".hidden",
        "a.txt",
        "-a",
        "_",
        "lost+found",
        "a b",
        &"a".repeat(81),
    ] {
        fs::write(home.path().join(foreign), b"x").unwrap();
    }
    fs::write(home.path().join(OsString::from_vec(vec![b'a', 0xff])), b"x").unwrap();
    let store = FsStore::open(home.path()).unwrap();
    store.create(&name("key"), b"value").unwrap();
    assert_eq!(store.list("", None, 99).unwrap(), ["key"]);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 9);
}

#[test]
fn a_file_too_long_for_a_key_is_named() {
    let home = TempDir::new().unwrap();
    let store = FsStore::open(home.path()).unwrap();
    let file = fs::File::create(home.path().join("huge")).unwrap();
    file.set_len(MAX_VALUE as u64 + 1).unwrap();
    let error = store.get(&name("huge")).unwrap_err();
    assert!(matches!(
        error,
        StoreError::Failed {
            operation: Operation::Read,
            reason: Reason::TooLong,
            ..
        }
    ));
    assert!(
        error
            .to_string()
            .contains(home.path().join("huge").to_str().unwrap()),
        "{error}"
    );
    file.set_len(0).unwrap();
    assert_eq!(*store.get(&name("huge")).unwrap(), b"");
}

#[test]
fn a_directory_that_vanishes_fails_and_works_again_when_back() {
    let home = TempDir::new().unwrap();
    let (path, away) = (home.path().join("keys"), home.path().join("away"));
    let store = FsStore::open(&path).unwrap();
    store.create(&name("key"), b"value").unwrap();
    fs::rename(&path, &away).unwrap();
    let answers = [
        store.status(),
        store.get(&name("key")).map(drop),
        store.create(&name("new"), b"x"),
        store.delete(&name("key")),
        store.list("", None, 9).map(drop),
    ];
    for answer in answers {
        let Err(StoreError::Unreachable { path: named, .. }) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(named, path);
    }
    assert!(!path.exists());
    fs::rename(&away, &path).unwrap();
    store.status().unwrap();
    assert_eq!(*store.get(&name("key")).unwrap(), b"value");
    store.create(&name("new"), b"x").unwrap();
}

#[test]
fn a_replaced_value_is_another_file_with_the_owner_and_mode_of_the_old_one() {
    let home = TempDir::new().unwrap();
    let store = FsStore::open(home.path()).unwrap();
    let path = home.path().join("key");
    store.create(&name("key"), b"old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    // Who may not give files away has but its own.
    let owner = match std::os::unix::fs::chown(&path, Some(4711), Some(815)) {
        Ok(()) => (4711, 815),
        Err(_) => owner(&path),
    };
    let mut reader = fs::File::open(&path).unwrap();
    let version = store.read(&name("key")).unwrap().version;
    store.replace(&name("key"), b"new", &version).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!((mode(&path), self::owner(&path)), (0o640, owner));
    assert_eq!(files(home.path()), ["key"]);
    let mut seen = String::new();
    reader.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "old", "who had opened the file reads on in it");
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

#[test]
fn only_the_version_that_was_read_is_replaced() {
    let home = TempDir::new().unwrap();
    let store = FsStore::open(home.path()).unwrap();
    let key = name("key");
    store.create(&key, b"old").unwrap();
    let Versioned { value, version } = store.read(&key).unwrap();
    assert_eq!(*value, b"old");
    store.replace(&key, b"new", &version).unwrap();
    let late = store.replace(&key, b"late", &version);
    assert!(matches!(late, Err(StoreError::Changed)), "{late:?}");
    store.delete(&key).unwrap();
    let late = store.replace(&key, b"late", &version);
    assert!(matches!(late, Err(StoreError::NotFound)), "{late:?}");
    assert_eq!(files(home.path()), [""; 0]);
    let long = store.replace(&key, &vec![0; MAX_VALUE + 1], &version);
    assert!(
        matches!(
            long,
            Err(StoreError::Failed {
                reason: Reason::TooLong,
                ..
            })
        ),
        "{long:?}"
    );
}

#[test]
fn a_directory_that_should_be_there_is_not_made() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("keys");
    let error = FsStore::open_existing(&path).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(!path.exists());
    FsStore::open_existing(home.path()).unwrap();
}

#[test]
fn a_path_that_cannot_be_a_directory_is_refused() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("file");
    fs::write(&file, b"x").unwrap();
    for path in [file.clone(), file.join("below"), PathBuf::new()] {
        let error = FsStore::open(&path).map(drop).unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Failed {
                    operation: Operation::MakeDirectory,
                    ..
                }
            ),
            "{}: {error:?}",
            path.display()
        );
    }
}

#[test]
fn a_sweep_takes_what_dead_processes_left_and_nothing_else() {
    let home = TempDir::new().unwrap();
    let directory = calls::open_directory(home.path()).unwrap();
    let live = Temporary::create(&OsCalls, &directory).unwrap();
    let live_name = files(home.path()).remove(0);
    fs::write(home.path().join(".sealedge-tmp-dead"), b"x").unwrap();
    fs::create_dir(home.path().join(".sealedge-tmp-directory")).unwrap();
    fs::write(home.path().join("key"), b"x").unwrap();
    fs::write(home.path().join(".other"), b"x").unwrap();
    let store = FsStore::open(home.path()).unwrap();
    let left = files(home.path());
    assert!(
        left.contains(&live_name) && !left.contains(&".sealedge-tmp-dead".to_owned()),
        "{left:?}"
    );
    assert_eq!(store.list("", None, 9).unwrap(), ["key"]);
    live.link(&name("linked")).unwrap();
    drop(live);
    assert_eq!(
        files(home.path()),
        [".other", ".sealedge-tmp-directory", "key", "linked"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_lies_in_the_directory_the_keys_are_listed_and_read(
        entries in proptest::collection::btree_map(entry_name(), any::<Vec<u8>>(), 0..12),
    ) {
        let home = TempDir::new().unwrap();
        for (file, content) in &entries {
            fs::write(home.path().join(file), content).unwrap();
        }
        let store = FsStore::open(home.path()).unwrap();
        let keys: Vec<_> = entries.keys().filter_map(|file| Name::new(file.to_str()?)).collect();
        let names: Vec<_> = keys.iter().map(Name::as_str).collect();
        prop_assert_eq!(store.list("", None, 99).unwrap(), names);
        for key in keys {
            prop_assert_eq!(&*store.get(&key).unwrap(), &entries[OsStr::new(key.as_str())]);
        }
    }
}

/// What a file system takes as a name: any bytes but `/` and NUL; often a key's name.
fn entry_name() -> impl Strategy<Value = OsString> {
    let byte = any::<u8>().prop_filter("no part of a name", |byte| !b"/\0".contains(byte));
    let bytes = proptest::collection::vec(byte, 1..100);
    prop_oneof![bytes, "[A-Za-z0-9_.-]{1,90}".prop_map(String::into_bytes)]
        .prop_filter("a directory", |bytes| bytes != b"." && bytes != b"..")
        .prop_map(OsString::from_vec)
}
