//! Many clients make, use and delete a few keys at once, and what they saw is checked afterwards.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealedge_core::crypto::RustCrypto;
use sealedge_core::key::{Cipher, Key};
use sealedge_core::time::Time;
use sealedge_tests::client::{Answer, Client, Credentials, for_admin, recorded};
use sealedge_tests::history::{Event, Violation, What, check};
use sealedge_tests::server::Server;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How long each run goes on, in seconds, if not 4.
const SECONDS: &str = "SEALEDGE_HISTORY_SECONDS";

const CLIENTS: usize = 12;
const NAMES: usize = 3;
const REQUESTS: usize = 150;

/// A small generator of numbers: a run that failed can be run again with its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        buffer.fill_with(|| self.roll(256) as u8);
    }
}

/// One name, the keys that it was or will be given, and all that was seen of it.
struct Subject {
    name: String,
    keys: Mutex<Vec<Arc<Made>>>,
    history: Mutex<Vec<Event>>,
}

/// A key that the test knows.
struct Made {
    number: usize,
    bytes: [u8; 32],
    key: Key,
    sealed: Vec<u8>,
}

impl Subject {
    fn new(name: String) -> Self {
        Self {
            name,
            keys: Mutex::default(),
            history: Mutex::default(),
        }
    }

    /// A new key. What may be asked about it is known before it can be there.
    fn make(&self, dice: &mut Dice) -> Arc<Made> {
        let mut bytes = [0; 32];
        dice.fill(&mut bytes);
        let mut random = |buffer: &mut [u8]| dice.fill(buffer);
        let now = Time::from_nanos(0).timestamp();
        let key = Key::import(&bytes, Cipher::Aes256, &mut random, now, None).unwrap();
        let sealed = key.encrypt(&RustCrypto, &mut random, b"x", b"").unwrap();
        let mut keys = self.keys.lock().unwrap();
        let number = keys.len();
        let made = Made {
            number,
            bytes,
            key,
            sealed,
        };
        keys.push(Arc::new(made));
        keys[number].clone()
    }

    /// One of the newest keys, if there is any.
    fn recent(&self, dice: &mut Dice) -> Option<Arc<Made>> {
        let back = usize::try_from(dice.roll(4)).unwrap();
        let keys = self.keys.lock().unwrap();
        keys.iter().nth_back(back).cloned()
    }

    /// Which key has sealed something. One that never was the test's own has no number.
    fn sealer(&self, ciphertext: &[u8]) -> usize {
        let keys = self.keys.lock().unwrap().clone();
        let opens = |made: &&Arc<Made>| made.key.decrypt(&RustCrypto, ciphertext, b"").is_ok();
        let sealer = keys.iter().rev().find(opens);
        sealer.map_or(usize::MAX, |made| made.number)
    }
}

/// Sends one request about a key: what was learned.
async fn ask(client: &mut Client, subject: &Subject, dice: &mut Dice) -> What {
    let name = &subject.name;
    match dice.roll(20) {
        0..=2 => {
            let made = subject.make(dice);
            let body = json!({"key": STANDARD.encode(made.bytes), "cipher": "AES256"});
            let path = format!("/v1/key/import/{name}");
            let answer = client.call("PUT", &path, body).await;
            match answer.status {
                200 => What::Created(made.number),
                400 if answer.message() == "key already exists" => What::Present,
                _ => panic!("{answer:?}"),
            }
        }
        3..=4 => {
            let path = format!("/v1/key/delete/{name}");
            let answer = client.call("DELETE", &path, Value::Null).await;
            absent(&answer).unwrap_or(What::Deleted)
        }
        5..=7 => {
            let path = format!("/v1/key/describe/{name}");
            let answer = client.call("GET", &path, Value::Null).await;
            absent(&answer).unwrap_or(What::Present)
        }
        8..=13 => {
            let path = format!("/v1/key/encrypt/{name}");
            let body = json!({"plaintext": STANDARD.encode("x")});
            let answer = client.call("PUT", &path, body).await;
            absent(&answer).unwrap_or_else(|| {
                let json = answer.json();
                let text = json["ciphertext"].as_str().unwrap();
                What::Used(subject.sealer(&STANDARD.decode(text).unwrap()))
            })
        }
        _ => {
            let Some(made) = subject.recent(dice) else {
                return Box::pin(ask(client, subject, dice)).await;
            };
            let path = format!("/v1/key/decrypt/{name}");
            let body = json!({"ciphertext": STANDARD.encode(&made.sealed)});
            let answer = client.call("PUT", &path, body).await;
            if answer.status == 400 {
                assert_eq!(
                    answer.message(),
                    "decryption failed: ciphertext is not authentic"
                );
                return What::NotUsed(made.number);
            }
            absent(&answer).unwrap_or(What::Used(made.number))
        }
    }
}

/// Whether there was no key. All else but success is unexpected here.
fn absent(answer: &Answer) -> Option<What> {
    match answer.status {
        200 => None,
        404 => Some(What::Absent),
        _ => panic!("{answer:?}"),
    }
}

/// One round with names of its own, so that its history is short: what was seen of each.
async fn round(address: &str, round: usize, seed: u64) -> Vec<Vec<Event>> {
    let name = |at| Arc::new(Subject::new(format!("round-{round}-{at}")));
    let subjects: Vec<Arc<Subject>> = (0..NAMES).map(name).collect();
    let clock = Instant::now();
    let credentials = Credentials::of(&recorded("admin"));
    let mut clients = JoinSet::new();
    for at in 0..CLIENTS {
        let connected = if at % 2 == 0 {
            Client::connect(address, Some(&credentials)).await
        } else {
            Client::connect_http2(address, Some(&credentials)).await
        };
        let mut client = connected.unwrap();
        let subjects = subjects.clone();
        let mut dice = Dice(seed + (round * CLIENTS + at) as u64 * 0x9e37_79b9);
        clients.spawn(async move {
            for _ in 0..REQUESTS {
                let subject = &subjects[usize::try_from(dice.roll(NAMES as u64)).unwrap()];
                let now = || u64::try_from(clock.elapsed().as_nanos()).unwrap();
                let begun = now();
                let what = ask(&mut client, subject, &mut dice).await;
                let ended = now();
                subject
                    .history
                    .lock()
                    .unwrap()
                    .push(Event { begun, ended, what });
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let histories = subjects
        .iter()
        .map(|subject| subject.history.lock().unwrap().clone());
    histories.collect()
}

async fn run(keystore: &str) {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        eprintln!("with one processor there is one instance: this shows less than it could");
    }
    let server = Server::start(Path::new(crate::SEALEDGE), "", &for_admin(keystore));
    let seconds = std::env::var(SECONDS).map_or(4, |text| text.parse().unwrap());
    let seed = 1 + u64::from(std::process::id());
    let begun = Instant::now();
    let mut seen = Vec::new();
    for count in 0.. {
        for history in round(&server.address, count, seed).await {
            let violations = check(&history);
            assert!(
                violations.is_empty(),
                "seed {seed}: {violations:#?} in {history:#?}"
            );
            seen.extend(history.into_iter().map(|event| event.what));
        }
        if begun.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    // What never happened was not tested.
    for kind in [
        |what: &What| matches!(what, What::Created(_)),
        |what: &What| matches!(what, What::Deleted),
        |what: &What| matches!(what, What::Used(_)),
        |what: &What| matches!(what, What::NotUsed(_)),
        |what: &What| matches!(what, What::Present),
        |what: &What| matches!(what, What::Absent),
    ] {
        let count = seen.iter().filter(|what| kind(what)).count();
        assert!(count > 20, "{count} of {}", seen.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_deleted_key_is_used_while_files_keep_the_keys() {
    run("fs: {path: '{folder}/keys'}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_deleted_key_is_used_while_memory_keeps_the_keys() {
    run("mem: {}").await;
}

/// A history written down: what was learned from when to when.
fn history(events: &[(What, u64, u64)]) -> Vec<Event> {
    let event = |(what, begun, ended): &(What, u64, u64)| Event {
        begun: *begun,
        ended: *ended,
        what: *what,
    };
    events.iter().map(event).collect()
}

#[test]
fn a_good_history_passes() {
    use What::*;

    for good in [
        history(&[(Absent, 0, 9), (Created(0), 10, 20), (Used(0), 30, 40)]),
        // Used while its create and its delete went on, and twice while one instance had not forgotten it.
        history(&[
            (Created(0), 10, 20),
            (Used(0), 11, 12),
            (Deleted, 30, 50),
            (Absent, 31, 32),
            (Used(0), 40, 41),
        ]),
        // A create that had to wait for the delete, and who lost against it.
        history(&[
            (Created(0), 0, 1),
            (Created(1), 5, 20),
            (Deleted, 6, 30),
            (Present, 4, 40),
            (NotUsed(0), 21, 25),
        ]),
        history(&[
            (Created(1), 0, 100),
            (Created(0), 20, 30),
            (Deleted, 5, 10),
            (Deleted, 1, 22),
        ]),
    ] {
        assert_eq!(check(&good), []);
    }
}

#[test]
fn a_bad_history_is_found_out() {
    use What::*;

    let made = (Created(0), 10, 20);
    let remade = [made, (Deleted, 30, 40), (Created(1), 50, 60)];
    let with = |event| history(&[remade.as_slice(), &[event]].concat());
    for (bad, wrong) in [
        (with((Used(0), 41, 45)), 3),
        (with((Used(0), 61, 65)), 3),
        (with((Used(1), 25, 35)), 3),
        (with((Used(9), 25, 35)), 3),
        (with((Present, 41, 49)), 3),
        (with((NotUsed(0), 41, 49)), 3),
        (with((NotUsed(1), 61, 65)), 3),
        (with((NotUsed(0), 21, 29)), 3),
        (with((Absent, 21, 29)), 3),
        (with((Absent, 61, 65)), 3),
        (with((Created(2), 70, 80)), 3),
        (with((Deleted, 41, 49)), 3),
        // The old key after the new one's create, whose delete came between and had not ended.
        (
            history(&[
                made,
                (Deleted, 15, 90),
                (Created(1), 50, 60),
                (Used(0), 61, 70),
            ]),
            3,
        ),
        (history(&[(Deleted, 1, 5), made]), 0),
    ] {
        let events: Vec<Event> = check(&bad).iter().map(|it: &Violation| it.event).collect();
        assert_eq!(events, [bad[wrong]], "{bad:?}");
    }
}
