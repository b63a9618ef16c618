//! Races, kills and limits of real processes. Each test runs this test binary again with itself as the only test
//! and the store's directory in an environment variable, and is the child there.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

const DIRECTORY: &str = "SEALEDGE_TEST_STORE";

/// The directory to work on, in the child.
fn child_directory() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

/// The arguments that make this binary run one test of this module.
fn only(test: &str) -> [String; 3] {
    let module = module_path!().split_once("::").unwrap().1;
    [
        format!("{module}::{test}"),
        "--exact".to_owned(),
        "--nocapture".to_owned(),
    ]
}

fn start_child(test: &str, directory: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(only(test))
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The names on the complete lines `report <name>` of a child's output.
fn reported(output: &str) -> impl Iterator<Item = &str> {
    output
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n')?.strip_prefix("report "))
}

/// Long enough to be written in more than one page.
fn value_of(name: &Name, writer: u32) -> Vec<u8> {
    format!("{name} by {writer}\n").repeat(500).into_bytes()
}

/// Runs a test in so many processes at once: their ids and what they said.
fn race(test: &str, home: &Path, racers: usize) -> Vec<(u32, String)> {
    let mut racers: Vec<_> = (0..racers).map(|_| start_child(test, home)).collect();
    let is_ready = |file: &&String| file.starts_with("ready");
    while files(home).iter().filter(is_ready).count() < racers.len() {
        let running = |racer: &mut Child| racer.try_wait().unwrap().is_none();
        assert!(racers.iter_mut().all(running), "a racer gave up");
        thread::sleep(Duration::from_millis(1));
    }
    fs::write(home.join("go"), b"").unwrap();
    let ended = racers.into_iter().map(|racer| {
        let id = racer.id();
        let output = racer.wait_with_output().unwrap();
        assert!(output.status.success());
        (id, String::from_utf8(output.stdout).unwrap())
    });
    ended.collect()
}

/// In a racer: the store and its own id, when all are ready.
fn wait_for_others(home: &Path) -> (FsStore, u32) {
    let store = FsStore::open(&home.join("keys")).unwrap();
    let id = std::process::id();
    fs::write(home.join(format!("ready{id}")), b"").unwrap();
    while !home.join("go").exists() {
        assert!(home.exists(), "the parent is gone");
    }
    (store, id)
}

#[test]
fn racing_processes_have_one_winner_for_each_name() {
    if let Some(home) = child_directory() {
        return create_all(&home);
    }
    let home = TempDir::new().unwrap();
    let keys = home.path().join("keys");
    let mut winners = BTreeMap::new();
    for (id, told) in race(
        "racing_processes_have_one_winner_for_each_name",
        home.path(),
        6,
    ) {
        for won in reported(&told) {
            assert_eq!(
                winners.insert(won.to_owned(), id),
                None,
                "{won} has two winners"
            );
        }
    }
    let store = FsStore::open(&keys).unwrap();
    assert_eq!(
        store.list("", None, 99).unwrap(),
        winners.keys().cloned().collect::<Vec<_>>()
    );
    assert_eq!(winners.len(), 50);
    for (won, winner) in winners {
        assert!(
            *store.get(&name(&won)).unwrap() == value_of(&name(&won), winner),
            "{won}"
        );
    }
    assert_eq!(files(&keys).len(), 50);
}

fn create_all(home: &Path) {
    let (store, id) = wait_for_others(home);
    for key in (0..50).map(|at| name(&format!("key{at}"))) {
        match store.create(&key, &value_of(&key, id)) {
            Ok(()) => println!("\nreport {key}"),
            Err(StoreError::Exists) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn of_racing_replaces_of_one_version_exactly_one_succeeds() {
    const TEST: &str = "of_racing_replaces_of_one_version_exactly_one_succeeds";
    if let Some(home) = child_directory() {
        return replace_often(&home);
    }
    let home = TempDir::new().unwrap();
    let store = FsStore::open(&home.path().join("keys")).unwrap();
    store.create(&name("key"), b"first").unwrap();
    // What was replaced, and by what.
    let mut replaced = BTreeMap::new();
    for (_, told) in race(TEST, home.path(), 6) {
        for done in reported(&told) {
            let (old, new) = done.split_once(' ').unwrap();
            let twice = replaced.insert(old.to_owned(), new.to_owned());
            assert_eq!(twice, None, "{old} was replaced twice");
        }
    }
    let count = replaced.len();
    assert!(count >= 200, "{count}");
    let mut value = "first".to_owned();
    while let Some(next) = replaced.remove(&value) {
        value = next;
    }
    assert_eq!(replaced, BTreeMap::new(), "replaced what was never there");
    assert_eq!(*store.get(&name("key")).unwrap(), value.as_bytes());
    assert_eq!(files(&home.path().join("keys")), ["key"]);
}

/// Until 200 of its own replaces, or those of others before them, are done.
fn replace_often(home: &Path) {
    let (store, id) = wait_for_others(home);
    for at in 0..200 {
        let there = store.read(&name("key")).unwrap();
        let new = format!("{id}-{at}");
        match store.replace(&name("key"), new.as_bytes(), &there.version) {
            Ok(()) => println!("\nreport {} {new}", str::from_utf8(&there.value).unwrap()),
            Err(StoreError::Changed) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_deleted_key_does_not_come_back_by_a_replace() {
    const TEST: &str = "a_deleted_key_does_not_come_back_by_a_replace";
    const KEYS: usize = 300;
    if let Some(home) = child_directory() {
        let (store, id) = wait_for_others(&home);
        let keys: Vec<_> = (0..KEYS).map(|at| name(&format!("key{at}"))).collect();
        // One of them deletes.
        if fs::File::create_new(home.join("deleter")).is_ok() {
            return delete_all(&store, &keys);
        }
        let replaces = keys.iter().map(|key| replace_until_gone(&store, key, id));
        println!("\nreport {}", replaces.sum::<usize>());
        return;
    }
    let home = TempDir::new().unwrap();
    let store = FsStore::open(&home.path().join("keys")).unwrap();
    for at in 0..KEYS {
        store.create(&name(&format!("key{at}")), b"first").unwrap();
    }
    let told = race(TEST, home.path(), 4);
    let replaces = told.iter().flat_map(|(_, told)| reported(told));
    let replaces: usize = replaces.map(|count| count.parse::<usize>().unwrap()).sum();
    assert!(replaces >= KEYS, "{replaces}");
    assert_eq!(files(&home.path().join("keys")), [""; 0]);
}

fn delete_all(store: &FsStore, keys: &[Name]) {
    for key in keys {
        let first = store.read(key).unwrap().version;
        let begun = Instant::now();
        while store.read(key).unwrap().version == first {
            assert!(begun.elapsed() < Duration::from_secs(20), "{key} rests");
        }
        store.delete(key).unwrap();
        let back = store.read(key).err();
        assert!(matches!(back, Some(StoreError::NotFound)), "{key} is back");
    }
}

/// How often it was replaced.
fn replace_until_gone(store: &FsStore, key: &Name, id: u32) -> usize {
    let begun = Instant::now();
    let mut replaces = 0;
    loop {
        // The deleter takes its time, but one that has come back stays for ever.
        assert!(begun.elapsed() < Duration::from_secs(20), "{key} stays");
        let new = format!("{id}-{replaces}");
        let done = store
            .read(key)
            .and_then(|there| store.replace(key, new.as_bytes(), &there.version));
        match done {
            Ok(()) => replaces += 1,
            Err(StoreError::Changed) => {}
            Err(StoreError::NotFound) => return replaces,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_killed_process_leaves_whole_keys_only() {
    if let Some(home) = child_directory() {
        return create_for_ever(&home);
    }
    let home = TempDir::new().unwrap();
    let mut left_over = 0;
    for round in 0..30 {
        let mut child = start_child("a_killed_process_leaves_whole_keys_only", home.path());
        let id = child.id();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut told = String::new();
        while reported(&told).next().is_none() {
            assert_ne!(
                output.read_line(&mut told).unwrap(),
                0,
                "the child ended by itself"
            );
        }
        // The moment of the kill wanders over the steps of a create.
        thread::sleep(Duration::from_micros(round * 370));
        child.kill().unwrap();
        child.wait().unwrap();
        output.read_to_string(&mut told).unwrap();

        left_over += files(home.path())
            .iter()
            .filter(|file| file.starts_with(temporary::PREFIX))
            .count();
        let store = FsStore::open(home.path()).unwrap();
        let keys = store.list("", None, usize::MAX).unwrap();
        assert_eq!(files(home.path()), keys, "the temporaries are swept");
        for told in reported(&told) {
            assert!(keys.contains(&told.to_owned()), "{told} was reported");
        }
        for key in keys.iter().map(|key| name(key)) {
            assert!(*store.get(&key).unwrap() == value_of(&key, id), "{key}");
            store.delete(&key).unwrap();
        }
    }
    assert_ne!(left_over, 0, "no kill came between the steps of a create");
}

fn create_for_ever(home: &Path) {
    let store = FsStore::open(home).unwrap();
    for at in 0u64.. {
        let key = name(&format!("key{at}"));
        store
            .create(&key, &value_of(&key, std::process::id()))
            .unwrap();
        println!("\nreport {key}");
    }
}

#[test]
fn a_write_over_the_limit_on_file_sizes_leaves_nothing() {
    const TEST: &str = "a_write_over_the_limit_on_file_sizes_leaves_nothing";
    if let Some(home) = child_directory() {
        let store = FsStore::open(&home).unwrap();
        let error = store.create(&name("key"), b"value").unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Failed {
                    operation: Operation::Write,
                    ..
                }
            ),
            "{error:?}"
        );
        println!("\nreport {error}");
        return;
    }
    let home = TempDir::new().unwrap();
    // The shell ignores the signal that would end the process, and so do those that it starts.
    let output = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; ulimit -f 0; exec "$0" "$@""#])
        .arg(env::current_exe().unwrap())
        .args(only(TEST))
        .env(DIRECTORY, home.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let error = reported(&told).next().unwrap_or_else(|| panic!("{told}"));
    assert!(
        output.status.success() && error.contains("ulimit -f"),
        "{error}"
    );
    assert_eq!(files(home.path()), [""; 0]);
}
