//! Servers that are killed at any moment, and key directories that lose what a server needs of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sealedge_core::key::Key;
use sealedge_core::name::Name;
use sealedge_tests::client::{Answer, Client, Error, for_admin};
use sealedge_tests::server::{Server, write_certificate};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How many times a server is killed, if not 12.
const ROUNDS: &str = "SEALEDGE_CRASH_ROUNDS";

fn config(keys: &Path) -> String {
    for_admin(&format!("fs: {{path: '{}'}}", keys.display()))
}

fn serve(keys: &Path) -> Server {
    Server::start(Path::new(crate::SEALEDGE), "", &config(keys))
}

/// Sends a request that means one of a key's operations. An error is a server that is gone.
async fn ask(client: &mut Client, what: &str, name: &str, body: &Value) -> Result<Answer, Error> {
    let method = if what == "delete" { "DELETE" } else { "PUT" };
    let path = format!("/v1/key/{what}/{name}");
    client.send(method, &path, &[], body.to_string()).await
}

async fn names(client: &mut Client) -> Vec<String> {
    let mut names = Vec::new();
    let mut token = "*".to_owned();
    while !token.is_empty() {
        let path = format!("/v1/key/list/{token}");
        let page = client.call("GET", &path, Value::Null).await.json();
        names.extend(serde_json::from_value::<Vec<String>>(page["names"].clone()).unwrap());
        token = page["continue_at"].as_str().unwrap_or_default().to_owned();
    }
    names
}

/// What a client may rely on after the server's end.
enum Promise {
    /// The key is there and opens what it has sealed, if that is known.
    Kept(Option<Value>),
    /// A delete was not answered.
    Unsure,
    /// It is not there.
    Gone,
}

/// Makes keys, uses each and deletes some, until the server is gone: what was promised of each.
async fn write(client: &mut Client, prefix: &str) -> Vec<(String, Promise)> {
    let mut promises = Vec::new();
    for count in 0.. {
        let name = format!("{prefix}-{count}");
        let Ok(answer) = ask(client, "create", &name, &Value::Null).await else {
            break;
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        promises.push((name.clone(), Promise::Kept(None)));
        let Ok(answer) = ask(client, "generate", &name, &json!({})).await else {
            break;
        };
        promises[count].1 = Promise::Kept(Some(answer.json()));
        if count % 3 == 0 {
            promises[count].1 = Promise::Unsure;
            let Ok(answer) = ask(client, "delete", &name, &Value::Null).await else {
                break;
            };
            assert_eq!(answer.status, 200, "{answer:?}");
            promises[count].1 = Promise::Gone;
        }
    }
    promises
}

/// Asks for the keys of such a writer before they are there, so as to see them come, until it is told to
/// stop: how many came.
async fn watch(client: &mut Client, prefix: &str, stop: &AtomicBool) -> usize {
    let (mut next, mut came) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        // One may be gone again already. The one after it is then not to be deleted.
        for count in [next, next + 1] {
            let name = format!("{prefix}-{count}");
            let answer = ask(client, "generate", &name, &json!({})).await.unwrap();
            if answer.status == 200 {
                (next, came) = (count + 1, came + 1);
                break;
            }
            // It is never there in part.
            assert_eq!(answer.status, 404, "{name}: {answer:?}");
        }
    }
    came
}

/// A moment in the next 60 ms that nobody chose.
fn any_moment() -> Duration {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    Duration::from_micros(u64::try_from(now / 1000 % 60_000).unwrap())
}

/// Works on a server and kills it meanwhile, watched through one beside it: what was promised, and how many
/// keys the other one saw come.
async fn work_and_kill(
    server: Server,
    beside: &Server,
    round: usize,
) -> (Vec<(String, Promise)>, usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let (mut writers, mut watchers) = (JoinSet::new(), JoinSet::new());
    for at in 0..4 {
        let (writes, watches) = (format!("key-{round}-{at}"), format!("key-{round}-{at}"));
        let mut writer = Client::admin(&server.address).await;
        let mut watcher = Client::admin(&beside.address).await;
        let stop = stop.clone();
        watchers.spawn(async move { watch(&mut watcher, &watches, &stop).await });
        writers.spawn(async move { write(&mut writer, &writes).await });
    }
    tokio::time::sleep(any_moment()).await;
    server.signal("KILL");
    let promises = writers.join_all().await.into_iter().flatten().collect();
    stop.store(true, Ordering::Relaxed);
    let came = watchers.join_all().await.into_iter().sum();
    assert_eq!(server.wait().0, None, "it was not killed");
    (promises, came)
}

async fn assert_kept(client: &mut Client, name: &str, promise: &Promise) {
    let (what, body, expected) = match promise {
        Promise::Kept(Some(dek)) => ("decrypt", json!({"ciphertext": dek["ciphertext"]}), 200),
        Promise::Kept(None) => ("generate", json!({}), 200),
        Promise::Gone => ("generate", json!({}), 404),
        Promise::Unsure => return,
    };
    let answer = ask(client, what, name, &body).await.unwrap();
    assert_eq!(answer.status, expected, "{what} {name}: {answer:?}");
    if let Promise::Kept(Some(dek)) = promise {
        assert_eq!(answer.json()["plaintext"], dek["plaintext"], "{name}");
    }
}

/// Every file that has a key's name is a key.
fn assert_whole(keys: &Path) {
    for file in fs::read_dir(keys).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().and_then(Name::new).is_some() {
            let key = Key::from_stored(&fs::read(file.path()).unwrap());
            assert!(key.is_ok(), "{}", file.path().display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_a_server_is_killed_its_promises_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    let beside = serve(&keys);
    let rounds = std::env::var(ROUNDS).map_or(12, |text| text.parse().unwrap());
    let (mut kept, mut gone, mut came) = (0, 0, 0);
    for round in 0..rounds {
        let (promises, watched) = work_and_kill(serve(&keys), &beside, round).await;
        came += watched;
        assert_whole(&keys);
        let again = serve(&keys);
        let mut client = Client::admin(&again.address).await;
        for (name, promise) in &promises {
            assert_kept(&mut client, name, promise).await;
            kept += usize::from(matches!(promise, Promise::Kept(_)));
            gone += usize::from(matches!(promise, Promise::Gone));
        }
        // What the killed one had not finished is swept, so that there is nothing but keys.
        let files = fs::read_dir(&keys).unwrap().count();
        assert_eq!(files, names(&mut client).await.len());
    }
    assert!(
        kept > rounds && gone > 0 && came > rounds,
        "{kept} {gone} {came}"
    );
}

#[tokio::test]
async fn a_directory_that_was_replaced_is_the_one_that_is_used() {
    let home = tempfile::tempdir().unwrap();
    let (keys, away) = (home.path().join("keys"), home.path().join("away"));
    let server = serve(&keys);
    let mut client = Client::admin(&server.address).await;
    let create = async |client: &mut Client, name: &str| {
        let answer = ask(client, "create", name, &Value::Null).await.unwrap();
        answer.status
    };
    assert_eq!(create(&mut client, "first").await, 200);
    fs::rename(&keys, &away).unwrap();

    fs::write(&keys, "a file").unwrap();
    assert_eq!(create(&mut client, "second").await, 502);
    server.wait_for_error("error: failed to create key: ");
    let answer = ask(&mut client, "generate", "first", &json!({}))
        .await
        .unwrap();
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(fs::read(&keys).unwrap(), b"a file");

    fs::remove_file(&keys).unwrap();
    fs::create_dir(&keys).unwrap();
    assert_eq!(create(&mut client, "second").await, 200);
    assert_eq!(names(&mut client).await, ["second"]);
    assert_eq!(fs::read_dir(&away).unwrap().count(), 1);
}

/// A server to whom something was done with its key directory first, `$KEYS` in a shell, in a view of the
/// file systems that is its own. `None` if this user may make none, which is said.
fn serve_after(keys: &Path, script: &str) -> Option<Server> {
    let views: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let view = |options: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(options).env("KEYS", keys);
        command
    };
    let works = |options: &&&[&str]| {
        let mut command = view(options);
        command.args(["sh", "-c", script]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let Some(options) = views.iter().find(works) else {
        eprintln!("not shown: this user may mount nothing, and mode bits prove little");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    // The program that others may look at: below, at its view.
    let program = Path::new(crate::SEALEDGE_WITH_FAULTS);
    let plain = Server::command(program, folder.path(), "", &config(keys));
    let mut command = view(options);
    let script = format!(r#"{script} && exec "$0" "$@""#);
    command
        .args(["sh", "-c", &script])
        .arg(plain.get_program())
        .args(plain.get_args());
    Some(Server::run(command, folder))
}

/// The key directory as such a server sees it.
fn seen_by(server: &Server, keys: &Path) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", server.id()));
    root.join(keys.strip_prefix("/").unwrap())
}

#[tokio::test]
async fn a_directory_that_can_t_be_written_to_serves_what_is_there() {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    let before = serve(&keys);
    let mut client = Client::admin(&before.address).await;
    ask(&mut client, "create", "first", &Value::Null)
        .await
        .unwrap();
    drop(before);
    let read_only = r#"mount --bind "$KEYS" "$KEYS" && mount -o remount,bind,ro "$KEYS""#;
    let Some(server) = serve_after(&keys, read_only) else {
        return;
    };
    let mut client = Client::admin(&server.address).await;
    for (what, name, status) in [
        ("create", "second", 502),
        ("delete", "first", 502),
        ("generate", "second", 404),
        ("generate", "first", 200),
    ] {
        let answer = ask(&mut client, what, name, &json!({})).await.unwrap();
        assert_eq!(answer.status, status, "{what} {name}: {answer:?}");
    }
    server.wait_for_error("error: failed to create key: ");
    server.wait_for_error("error: failed to delete key: ");
    assert_eq!(names(&mut client).await, ["first"]);
}

/// Fills a file system until a create fails, which happens soon. What was created is there and opens,
/// and what was deleted makes room.
async fn a_full_file_system_keeps_what_it_has(limit: &str) {
    let home = tempfile::tempdir().unwrap();
    let keys = home.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let small = format!(r#"mount -t tmpfs -o {limit} tmpfs "$KEYS""#);
    let Some(server) = serve_after(&keys, &small) else {
        return;
    };
    let mut client = Client::admin(&server.address).await;
    let mut created = Vec::new();
    loop {
        let name = format!("key-{:02}", created.len());
        let answer = ask(&mut client, "create", &name, &Value::Null)
            .await
            .unwrap();
        if answer.status != 200 {
            assert_eq!(answer.status, 502, "{answer:?}");
            break;
        }
        created.push(name);
        assert!(created.len() < 50, "it is never full");
    }
    assert!(!created.is_empty());
    server.wait_for_error("No space left on device");
    assert_eq!(names(&mut client).await, created);
    let directory = seen_by(&server, &keys);
    assert_whole(&directory);
    let files = fs::read_dir(&directory).unwrap().count();
    assert_eq!(files, created.len(), "something else is left");
    for name in &created {
        let answer = ask(&mut client, "generate", name, &json!({}))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
    for (what, name) in [("delete", created[0].as_str()), ("create", "another")] {
        let answer = ask(&mut client, what, name, &Value::Null).await.unwrap();
        assert_eq!(answer.status, 200, "{what} {name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_file_system_without_room_for_bytes_keeps_what_it_has() {
    a_full_file_system_keeps_what_it_has("size=64k").await;
}

#[tokio::test]
async fn a_file_system_without_room_for_files_keeps_what_it_has() {
    a_full_file_system_keeps_what_it_has("nr_inodes=12").await;
}
