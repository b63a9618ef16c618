//! Races, kills and limits of real processes. Each test runs this test binary again with itself as the only test
//! and the store's directory in an environment variable, and is the child there.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

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

#[test]
fn racing_processes_have_one_winner_for_each_name() {
    if let Some(home) = child_directory() {
        return race(&home);
    }
    let home = TempDir::new().unwrap();
    let keys = home.path().join("keys");
    let mut racers: Vec<_> = (0..6)
        .map(|_| {
            start_child(
                "racing_processes_have_one_winner_for_each_name",
                home.path(),
            )
        })
        .collect();
    while files(home.path())
        .iter()
        .filter(|file| file.starts_with("ready"))
        .count()
        < racers.len()
    {
        let running = |racer: &mut Child| racer.try_wait().unwrap().is_none();
        assert!(racers.iter_mut().all(running), "a racer gave up");
        thread::sleep(Duration::from_millis(1));
    }
    fs::write(home.path().join("go"), b"").unwrap();
    let mut winners = BTreeMap::new();
    for racer in racers {
        let id = racer.id();
        let output = racer.wait_with_output().unwrap();
        assert!(output.status.success());
        for won in reported(&String::from_utf8(output.stdout).unwrap()) {
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

fn race(home: &Path) {
    let store = FsStore::open(&home.join("keys")).unwrap();
    let id = std::process::id();
    fs::write(home.join(format!("ready{id}")), b"").unwrap();
    while !home.join("go").exists() {
        assert!(home.exists(), "the parent is gone");
    }
    for key in (0..50).map(|at| name(&format!("key{at}"))) {
        match store.create(&key, &value_of(&key, id)) {
            Ok(()) => println!("\nreport {key}"),
            Err(StoreError::Exists) => {}
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
