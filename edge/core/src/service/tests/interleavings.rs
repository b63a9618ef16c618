//! All orders in which readers, deletes, a create, kills and time come to copies of one key.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Waker};

use super::chest::{Chest, Turns};
use super::*;
use crate::config::{Seal, Tls, Unseal};
use crate::seal::NodeIdentity;

const ANY: Duration = Duration::from_secs(10);
const OFFLINE: Duration = Duration::from_secs(60);
const BURIAL: Duration = Duration::from_secs(120);
/// Shorter than `OFFLINE`, and longer than `BURIAL`.
const SHORT: Duration = Duration::from_secs(45);
const LONG: Duration = Duration::from_secs(130);
/// Longer than a burial only together, and one of them shorter than `OFFLINE`.
const HALVES: [Duration; 2] = [Duration::from_secs(61), Duration::from_millis(59_500)];

/// A key store elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Kms {
    /// What is there.
    value: Option<Vec<u8>>,
    /// What was there.
    dead: BTreeSet<Vec<u8>>,
    /// What of that was deleted when the burial may have ended already: a delete that took so long, and has no answer
    /// yet, promises nothing.
    late: BTreeSet<Vec<u8>>,
    /// When each was read last.
    read: BTreeMap<Vec<u8>, Time>,
    is_away: bool,
    /// Whether nobody hears that something was deleted.
    loses: bool,
}

/// The way of one instance to it.
struct Way {
    kms: Rc<RefCell<Kms>>,
    kept: Kept,
}

impl Way {
    async fn with<T: std::fmt::Debug>(
        &self,
        work: impl FnOnce(&mut Kms) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = self.kept.turns.done(|| {
            let kms = &mut *self.kms.borrow_mut();
            match kms.is_away {
                true => Err(Away::error()),
                false => work(kms),
            }
        });
        done.await
    }
}

impl Store for Way {
    async fn create(&self, _: &Name, value: &[u8]) -> Result<(), StoreError> {
        let create = |kms: &mut Kms| match kms.value {
            Some(_) => Err(StoreError::Exists),
            None => {
                kms.value = Some(value.to_vec());
                Ok(())
            }
        };
        self.with(create).await
    }

    async fn get(&self, _: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let get = |kms: &mut Kms| {
            let value = kms.value.clone().ok_or(StoreError::NotFound)?;
            kms.read.insert(value.clone(), self.kept.clock.now());
            Ok(Zeroizing::new(value))
        };
        self.with(get).await
    }

    async fn delete(&self, _: &Name) -> Result<(), StoreError> {
        let delete = |kms: &mut Kms| {
            let value = kms.value.take().ok_or(StoreError::NotFound)?;
            if self.kept.clock.elapsed() > BURIAL {
                kms.late.insert(value.clone());
            }
            kms.dead.insert(value);
            match kms.loses {
                true => Err(Away::error()),
                false => Ok(()),
            }
        };
        self.with(delete).await
    }

    async fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<String>, StoreError> {
        Err(Away::error())
    }

    async fn status(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What comes to pass. A number is the instance in which it does.
#[derive(Clone, Copy)]
enum Part {
    Read(usize),
    Delete(usize),
    /// Deletes, and then creates another key of that name.
    Renew(usize),
    /// This part is killed wherever it is.
    Kill(usize),
    /// Time passes.
    Pass(Duration),
}

type Instance = Rc<Service<Machine<Way>>>;

/// What all instances have in common.
#[derive(Clone)]
struct Common {
    node: Rc<NodeIdentity>,
    fake: Fake,
    chest: Rc<RefCell<Chest>>,
    kms: Rc<RefCell<Kms>>,
    /// What was gone when a delete was answered.
    gone: Rc<RefCell<BTreeSet<Vec<u8>>>>,
}

impl Common {
    fn instance(&self, turns: &Rc<Turns>) -> Instance {
        let kept = Kept {
            chest: self.chest.clone(),
            clock: self.fake.clone(),
            turns: turns.clone(),
        };
        let machine = Machine {
            fake: self.fake.clone(),
            store: Way {
                kms: self.kms.clone(),
                kept: kept.clone(),
            },
            copies: Some(kept),
            trusts: Cell::default(),
        };
        Rc::new(Service::new(config(&self.node), machine))
    }

    /// What an instance finds that starts so much later; the key store may be away then.
    fn found(&self, later: Duration, is_away: bool) -> Option<Vec<u8>> {
        let fake = Fake::default();
        fake.pass(self.fake.elapsed() + later);
        let apart = Self {
            fake,
            chest: Rc::new(RefCell::new(self.chest.borrow().clone())),
            kms: Rc::new(RefCell::new(Kms {
                is_away,
                ..self.kms.borrow().clone()
            })),
            ..self.clone()
        };
        let instance = apart.instance(&Turns::open());
        let mut read = pin!(read(&instance));
        match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(found) => found,
            Poll::Pending => panic!("nothing keeps it waiting"),
        }
    }

    /// All that instances share.
    fn state(&self) -> String {
        let time = self.fake.elapsed();
        format!("{:?}{:?}{:?}{time:?}", self.chest, self.kms, self.gone)
    }

    /// What holds at any moment.
    fn check(&self) {
        let kms = self.kms.borrow().clone();
        let there = self.found(Duration::ZERO, false);
        assert!(there == kms.value || there.is_some_and(|it| self.may_be_found(&it)));
        for later in [Duration::ZERO, SHORT, OFFLINE] {
            if let Some(value) = self.found(later, true) {
                assert!(kms.value.as_ref() == Some(&value) || self.may_be_found(&value));
                let age = (self.fake.now().after(later)).since(kms.read[&value]);
                assert!(age < OFFLINE);
            }
        }
    }

    /// Whether it may be found though it is not there any more.
    fn may_be_found(&self, value: &Vec<u8>) -> bool {
        self.kms.borrow().late.contains(value) && !self.gone.borrow().contains(value)
    }
}

fn config(node: &Rc<NodeIdentity>) -> Config {
    Config {
        address: String::new(),
        admin: None,
        tls: Tls::default(),
        auth: Auth::default(),
        api: BTreeMap::new(),
        policies: BTreeMap::new(),
        cache: CacheExpiry {
            any: ANY,
            unused: ANY,
            offline: OFFLINE,
        },
        log: LogSettings::default(),
        keys: Vec::new(),
        keystore: Keystore::Memory,
        seal: Some(Seal {
            recipients: vec![node.recipient().clone()],
            signers: vec![node.recipient().clone()],
            unseal: Unseal::Identity(node.text().parse().unwrap()),
            // To seal it all would take the time of many orders.
            accept_unsealed: true,
        }),
        is_for_development: false,
    }
}

fn name() -> Name {
    Name::new("k").unwrap()
}

fn value(seed: u8) -> Vec<u8> {
    let key = Key::create(
        &mut |bytes| bytes.fill(seed),
        jiff::Timestamp::UNIX_EPOCH,
        None,
    );
    key.to_stored().as_bytes().to_vec()
}

async fn read(instance: &Instance) -> Option<Vec<u8>> {
    let now = instance.platform.now();
    let key = instance.key(&name(), now).await.ok()?;
    Some(key.to_stored().as_bytes().to_vec())
}

async fn act(part: Part, instance: Instance, common: Common) {
    match part {
        Part::Read(_) => {
            let mut dead = common.kms.borrow().dead.clone();
            dead.retain(|value| !common.may_be_found(value));
            if let Some(value) = read(&instance).await {
                assert!(!dead.contains(&value));
            }
        }
        Part::Delete(_) | Part::Renew(_) => {
            let deleted = instance.delete_key(&name()).await;
            if !matches!(deleted, Ok(()) | Err(Error::NotFound(_))) {
                return;
            }
            // What the platform has done by now.
            instance.forget(&name());
            let dead = common.kms.borrow().dead.clone();
            common.gone.borrow_mut().extend(dead);
            if matches!(part, Part::Renew(_)) {
                let store = instance.platform.store();
                let _ = store.create(&name(), &value(2)).await;
            }
        }
        Part::Kill(_) | Part::Pass(_) => {}
    }
}

struct Actor {
    part: Part,
    /// `None` before it begins, and when it has ended.
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
    is_over: bool,
}

struct Play {
    common: Common,
    turns: Vec<Rc<Turns>>,
    instances: Vec<Instance>,
    actors: Vec<Actor>,
}

impl Play {
    fn new(node: &Rc<NodeIdentity>, parts: &[Part], loses: bool) -> Self {
        let common = Common {
            node: node.clone(),
            fake: Fake::default(),
            chest: Rc::default(),
            kms: Rc::new(RefCell::new(Kms {
                value: Some(value(1)),
                loses,
                ..Kms::default()
            })),
            gone: Rc::default(),
        };
        let turns: Vec<_> = (0..3).map(|_| Rc::<Turns>::default()).collect();
        let instances = turns.iter().map(|it| common.instance(it)).collect();
        let actors = parts.iter().map(|part| Actor {
            part: *part,
            work: None,
            is_over: false,
        });
        Self {
            actors: actors.collect(),
            common,
            turns,
            instances,
        }
    }

    fn step(&mut self, number: usize) {
        let Some(actor) = self.actors.get_mut(number) else {
            return;
        };
        let at = match actor.part {
            Part::Read(at) | Part::Delete(at) | Part::Renew(at) => at,
            Part::Kill(other) => {
                actor.is_over = true;
                let killed = &mut self.actors[other];
                (killed.work, killed.is_over) = (None, true);
                return;
            }
            Part::Pass(time) => {
                actor.is_over = true;
                return self.common.fake.pass(time);
            }
        };
        let (generation, time) = (
            self.instances[at].cache.generation(),
            self.common.fake.elapsed(),
        );
        self.turns[at].note(number, &format!("{generation:?}{time:?}"));
        self.turns[at].actor.set(number);
        self.turns[at].has_turn.set(actor.work.is_some());
        let work = actor.work.get_or_insert_with(|| {
            Box::pin(act(
                actor.part,
                self.instances[at].clone(),
                self.common.clone(),
            ))
        });
        if work
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            (actor.work, actor.is_over) = (None, true);
        }
        // Whoever has ended in between waits for nothing.
        self.turns[at].has_turn.set(false);
    }

    /// All that decides what can become of it.
    fn state(&self) -> String {
        let begun = self.actors.iter().map(|it| (it.work.is_some(), it.is_over));
        let heard = self.turns.iter().map(|it| it.log.borrow().clone());
        let memory = self.instances.iter().map(|it| {
            let key = it
                .kept(&name())
                .map(|(value, read)| (value.to_string(), read));
            (
                it.cache.generation(),
                key,
                it.is_away.get(),
                it.is_tried.get(),
            )
        });
        let (begun, heard): (Vec<_>, Vec<_>) = (begun.collect(), heard.collect());
        let memory: Vec<_> = memory.collect();
        format!("{}{begun:?}{heard:?}{memory:?}", self.common.state())
    }

    /// What an instance has in its memory that has deleted something.
    fn check_memory(&self) {
        let gone = self.common.gone.borrow();
        let held = self.instances[0].kept(&name());
        let held = held.map(|(value, _)| value.as_bytes().to_vec());
        assert!(held.is_none_or(|value| !gone.contains(&value)));
    }
}

/// Plays all orders: how many states there are.
fn play(parts: &[Part], loses: bool) -> usize {
    let node = Rc::new(NodeIdentity::generate(&mut |bytes| bytes.fill(1)));
    let (mut seen, mut checked) = (BTreeSet::new(), BTreeSet::new());
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    while let Some(mut order) = orders.pop() {
        let mut play = Play::new(&node, parts, loses);
        for actor in &order {
            play.step(*actor);
        }
        while seen.insert(play.state()) {
            if checked.insert(play.common.state()) {
                play.common.check();
            }
            play.check_memory();
            let actors = play.actors.iter().enumerate();
            let busy = actors.filter(|(_, actor)| !actor.is_over);
            let mut busy: Vec<usize> = busy.map(|(number, _)| number).collect();
            let Some(next) = busy.pop() else { break };
            orders.extend(busy.into_iter().map(|other| [&*order, &[other]].concat()));
            play.step(next);
            order.push(next);
        }
    }
    seen.len()
}

#[test]
fn no_copy_brings_a_deleted_key_back_in_any_order_and_with_any_kill() {
    let (renew, kill) = (Part::Renew(0), Part::Kill(0));
    let parts = [renew, Part::Read(0), Part::Read(1), kill];
    assert!(play(&parts, false) > 10_000);
    // What is lost is not deleted, as far as anybody knows, and nothing is created.
    assert!(play(&parts, true) > 1_000);
}

#[test]
fn nor_does_one_whose_reader_or_delete_takes_long() {
    let (renew, kill) = (Part::Renew(0), Part::Kill(0));
    for (reader, time) in [(0, SHORT), (1, SHORT), (0, LONG), (1, LONG)] {
        let parts = [renew, Part::Read(reader), Part::Pass(time), kill];
        assert!(play(&parts, false) > 1_000);
    }
    let [one, other] = HALVES.map(Part::Pass);
    assert!(play(&[renew, Part::Read(1), one, other, kill], false) > 1_000);
}

#[test]
fn no_delete_ends_the_burial_of_another_one() {
    let parts = [
        Part::Renew(0),
        Part::Delete(1),
        Part::Read(2),
        Part::Kill(1),
    ];
    assert!(play(&parts, false) > 10_000);
}
