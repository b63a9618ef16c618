//! The pool over instances that a test plays.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use wasmtime::format_err;

use super::*;
use crate::admission::Admission;
use crate::guest::types::{self, Body, ContentType, Operation, Response, Store, Tls};
use crate::limits::Limits;
use crate::operation::Keeper;
use crate::outside::Outside;
use crate::store::MemStore;

/// An instance whose configuration is a number, the status of all its answers.
#[derive(Default)]
struct Played {
    /// How many were made before it.
    number: usize,
    in_force: Option<u16>,
    proposed: Option<u16>,
    has_forgotten: bool,
}

impl Instance for Played {
    /// A document is a number, and may go on: `not N` makes instance N refuse it, `twice` has it read
    /// in vain the first time, as if the instance had died after it.
    fn configure(&mut self, document: &str) -> Result<Result<Settings, Vec<String>>, Trap> {
        let (status, more) = document.split_once(' ').unwrap_or((document, ""));
        if self.in_force.is_some() && more == format!("not {}", self.number) {
            return Ok(Err(vec!["refused".to_owned()]));
        }
        let status = Some(status.parse().unwrap());
        if self.in_force.is_none() {
            self.in_force = status;
        } else if more != "twice" || self.has_forgotten {
            self.proposed = status;
        } else {
            self.has_forgotten = true;
        }
        Ok(Ok(settings()))
    }

    fn adopt(&mut self) -> Result<bool, Trap> {
        // Long enough for others to be asked.
        std::thread::sleep(Duration::from_millis(20));
        let proposed = self.proposed.take();
        self.in_force = proposed.or(self.in_force);
        Ok(proposed.is_some())
    }

    fn start(&mut self, _call: u64, request: &Request) -> Result<Option<Finished>, Trap> {
        if request.line == "GET /die" {
            return Err(format_err!("as it was told").into());
        }
        Ok(Some(Finished::Response(Response {
            asks_for_signature: false,
            status: self.in_force.unwrap(),
            content_type: ContentType::None,
            body: Vec::new(),
        })))
    }

    fn prepare(&mut self, _call: u64) -> Result<Option<Finished>, Trap> {
        Ok(None)
    }

    fn in_store(&mut self, _call: u64, _what: &StoreOperation) -> Result<Option<Finished>, Trap> {
        Ok(None)
    }

    fn node(&mut self) -> Result<Option<String>, Trap> {
        Ok(None)
    }

    fn authenticate(&mut self, _: &[Vec<u8>], _: &str, _: bool) -> Result<Vec<u8>, Trap> {
        Ok(Vec::new())
    }

    fn lost(&mut self, _request: &Request) -> Result<(), Trap> {
        Ok(())
    }

    fn resume(&mut self, _io: u64, _outcome: &Outcome) -> Result<Option<(u64, Finished)>, Trap> {
        Ok(None)
    }

    fn kept(&mut self, _name: &str) -> Result<Option<types::KeptKey>, Trap> {
        Ok(None)
    }

    fn forget(&mut self, _name: &str) -> Result<(), Trap> {
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Trap> {
        Ok(())
    }

    fn take_counters(&mut self) -> Result<Vec<u64>, Trap> {
        Ok(Vec::new())
    }

    fn begun(&mut self) -> Vec<(u64, Operation)> {
        Vec::new()
    }

    fn cancelled(&mut self) -> Vec<u64> {
        Vec::new()
    }
}

fn settings() -> Settings {
    Settings {
        address: String::new(),
        tls: Tls {
            key: String::new(),
            certificate: String::new(),
            password: None,
            authorities: None,
            verify_clients: false,
            certificate_optional: false,
        },
        store: Store::Memory,
        values: String::new(),
        clients: String::new(),
        outside: types::Outside {
            destinations: Vec::new(),
            files: Vec::new(),
        },
        credential_headers: Vec::new(),
        audit_log: false,
        error_log: false,
        warnings: Vec::new(),
    }
}

/// Four instances under this configuration.
fn pool(document: &str) -> Arc<Pool> {
    let made = AtomicUsize::new(0);
    let make = move || {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let played = Played {
            number,
            ..Played::default()
        };
        Ok(Box::new(played) as Box<dyn Instance>)
    };
    let keeper = Keeper::Here(Arc::new(MemStore::new()));
    let machine = Arc::new(Machine::new().unwrap());
    machine.set_logs(&settings());
    let operations = Operations::new(keeper, Outside::default(), machine.clone(), 1);
    let Ok(pool) = Pool::new(4, Box::new(make), document.to_owned(), machine, operations) else {
        panic!("no pool");
    };
    pool
}

fn request(path: &str) -> Request {
    Request {
        line: format!("GET {path}"),
        arrived: 0,
        client: Vec::new(),
        presented: None,
        audited: false,
        body: Body::None,
    }
}

async fn ask(pool: &Arc<Pool>, path: &str) -> Result<u16, Lost> {
    let accounts = Admission::new(&Limits::default()).accounts(b"client", [127, 0, 0, 1].into());
    let Ok(admitted) = accounts.admit(0) else {
        panic!("not let in");
    };
    let answer = pool.serve(request(path), None, admitted, |_, _| Ok(()));
    let answer = answer.await;
    answer.map(|(finished, _)| match finished {
        Finished::Response(response) => response.status,
        _ => panic!("no response"),
    })
}

/// What each instance answers.
fn all(pool: &Arc<Pool>) -> Vec<u16> {
    let slots = pool.slots.iter().enumerate();
    let answers = slots.map(|(index, slot)| {
        let answer = pool.enter(index, locked(slot), |instance| {
            instance.start(0, &request("/"))
        });
        match answer {
            Ok((Some(Finished::Response(response)), _slot)) => response.status,
            _ => panic!("no answer"),
        }
    });
    answers.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_one_request_is_judged_anew_all_are() {
    let pool = pool("1");
    let newest = Arc::new(AtomicU64::new(1));
    let stop = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (pool, newest, stop) = (pool.clone(), newest.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let seen = newest.load(Ordering::SeqCst);
                    let status = u64::from(ask(&pool, "/").await.unwrap());
                    assert!(status >= seen, "{status} after {seen}");
                    newest.fetch_max(status, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for document in ["2", "3", "4", "5"] {
        let pool = pool.clone();
        let reconfigured = tokio::task::spawn_blocking(move || pool.reconfigure(document, || {}));
        assert!(reconfigured.await.unwrap().is_ok());
    }
    stop.store(true, Ordering::SeqCst);
    for asker in askers {
        asker.await.unwrap();
    }
    assert_eq!(all(&pool), [5; 4]);
}

#[tokio::test]
async fn a_configuration_that_one_instance_refuses_is_in_force_in_none() {
    let pool = pool("1");
    let mut was_done = false;
    let refused = pool.reconfigure("2 not 2", || was_done = true);
    assert!(matches!(refused, Err(StartError::Configuration(_))));
    assert!(!was_done);
    assert_eq!(all(&pool), [1; 4]);
    assert!(pool.reconfigure("3", || was_done = true).is_ok());
    assert!(was_done);
    assert_eq!(all(&pool), [3; 4]);
}

#[tokio::test]
async fn instances_that_die_come_back_under_the_configuration_in_force() {
    let pool = pool("1");
    assert!(pool.reconfigure("2 twice", || {}).is_ok());
    assert_eq!(all(&pool), [2; 4]);
    for _ in 0..8 {
        assert_eq!(ask(&pool, "/die").await, Err(Lost));
    }
    assert_eq!(all(&pool), [2; 4]);
}
