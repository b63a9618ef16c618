//! All orders of the requests of several nodes to one KV engine of version 2.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::engine::Engine;
use super::server::Server;
use super::*;
use crate::outgoing::Fault;
use crate::time::Time;

const NAME: &str = "a";

/// The world of one node, whose requests are done when it is its turn.
#[derive(Clone, Default)]
struct Node(Rc<Inner>);

#[derive(Default)]
struct Inner {
    server: Server,
    has_turn: RefCell<bool>,
    /// All that it has asked and heard.
    heard: RefCell<String>,
}

impl World for Node {
    fn now(&self) -> Time {
        Time::from_nanos(1_795_000_000_000_000_000)
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }

    async fn sleep(&self, _: Duration) {}

    async fn fetch(&self, request: Request) -> Result<Response, Fault> {
        // To log in, and to look at the engine, changes nothing for anybody else.
        let is_login = request.path.ends_with("/login") || request.path.contains("/mounts/");
        poll_fn(|_| match is_login || self.0.has_turn.replace(false) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        let response = self.0.server.serve(&request).1?;
        let body = String::from_utf8_lossy(&response.body);
        *self.0.heard.borrow_mut() += &format!("{} {body}\n", request.path);
        Ok(response)
    }

    async fn file(&self, _: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        Err("there is none".into())
    }

    fn log_error(&self, _: &str) {}
}

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// As `seal rewrap --before now` replaces a value: it is read anew if it was changed, so often at most.
    Replace(&'static str, usize),
    /// As `seal rewrap` does: what another one has replaced is as it should be.
    Seal(&'static str, usize),
    /// Deletes the key, and creates another one.
    Renew,
}

/// What came of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    Nothing,
    Replaced,
    Deleted,
    Created,
}

/// Values are the key, and who has replaced it last.
async fn replace(
    store: &Vault<Node>,
    by: &str,
    attempts: usize,
    is_again: bool,
    replaced: &RefCell<String>,
) -> Done {
    let a = name(NAME);
    for _ in 0..attempts {
        let Ok(there) = store.read(&a).await else {
            return Done::Nothing;
        };
        let text = String::from_utf8(there.value.to_vec()).unwrap();
        let (key, last) = text.split_once(" by ").unwrap();
        let is_done = last == by || last != "nobody" && !is_again;
        let done = match is_done {
            true => store.tidy(&a, &there.version).await,
            false => {
                replaced.replace(text.clone());
                let text = format!("{key} by {by}");
                store.replace(&a, text.as_bytes(), &there.version).await
            }
        };
        match done {
            Ok(()) => return Done::Replaced,
            Err(StoreError::Changed | StoreError::NotFound) => {}
            Err(error) => panic!("{error}"),
        }
    }
    Done::Nothing
}

async fn renew(store: &Vault<Node>, done: &RefCell<Done>) {
    store.delete(&name(NAME)).await.unwrap();
    *done.borrow_mut() = Done::Deleted;
    store.create(&name(NAME), b"new by nobody").await.unwrap();
    *done.borrow_mut() = Done::Created;
}

/// A node at its part.
struct Actor {
    node: Node,
    done: Rc<RefCell<Done>>,
    /// The text that it has replaced last, or tried to.
    replaced: Rc<RefCell<String>>,
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Actor {
    fn new(server: &Server, part: Part) -> Self {
        let node = Node(Rc::new(Inner {
            server: server.clone(),
            ..Inner::default()
        }));
        let store = Vault::new(settings(EngineVersion::V2), node.clone());
        let done = Rc::new(RefCell::new(Done::Nothing));
        let replaced = Rc::<RefCell<String>>::default();
        let (outcome, old) = (done.clone(), replaced.clone());
        let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            match part {
                Part::Replace(by, attempts) => {
                    let done = replace(&store, by, attempts, true, &old).await;
                    outcome.replace(done);
                }
                Part::Seal(by, attempts) => {
                    let done = replace(&store, by, attempts, false, &old).await;
                    outcome.replace(done);
                }
                Part::Renew => renew(&store, &outcome).await,
            }
        });
        let mut actor = Self {
            node,
            done,
            replaced,
            work: Some(work),
        };
        actor.poll();
        actor
    }

    /// Has it do its next request.
    fn step(&mut self) {
        *self.node.0.has_turn.borrow_mut() = true;
        self.poll();
    }

    fn poll(&mut self) {
        let work = self.work.as_mut().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        if work.as_mut().poll(&mut context).is_ready() {
            self.work = None;
        }
    }

    fn done(&self) -> Done {
        *self.done.borrow()
    }
}

/// The nodes and what they have come to.
struct Play {
    server: Server,
    actors: Vec<Actor>,
}

impl Play {
    fn new(parts: &[Part]) -> Self {
        let server = Server::default();
        server.put(NAME, &["old by nobody"]);
        let actors = parts
            .iter()
            .map(|part| Actor::new(&server, *part))
            .collect();
        Self { server, actors }
    }

    fn engine(&self) -> Engine {
        self.server.0.borrow().engine.clone()
    }

    /// Those who have not ended.
    fn busy(&self) -> Vec<usize> {
        let actors = self.actors.iter().enumerate();
        let busy = actors.filter(|(_, actor)| actor.work.is_some());
        busy.map(|(number, _)| number).collect()
    }

    /// All that decides what can become of it.
    fn state(&self) -> String {
        let heard: Vec<_> = self
            .actors
            .iter()
            .map(|it| it.node.0.heard.borrow().clone())
            .collect();
        format!("{:?}{heard:?}", self.engine())
    }

    /// The part that deletes and creates.
    fn renewed(&self) -> Done {
        self.actors.last().unwrap().done()
    }

    /// A replace that ended well just now has left nothing of what it replaced.
    fn check(&self, last: usize) {
        let actor = &self.actors[last];
        let replaced = actor.replaced.borrow();
        if actor.done() == Done::Replaced {
            let left = self.engine().texts(NAME);
            assert!(
                !left.contains(&Some(replaced.clone())),
                "{replaced}: {left:?}"
            );
        }
    }

    /// All nodes are killed. What there is then is what a later run makes of it.
    fn check_killed(&self) {
        let server = Server::default();
        server.0.borrow_mut().engine = self.engine();
        let mut later = Actor::new(&server, Part::Replace("later", 10));
        while later.work.is_some() {
            later.step();
        }
        let left = server.0.borrow().engine.texts(NAME);
        let key = match self.renewed() {
            Done::Created => "new",
            // The answer to a delete or a create may be under way.
            Done::Deleted if left.is_empty() => return,
            Done::Deleted => "new",
            _ if left.is_empty() => return,
            _ => "old",
        };
        let expected = format!("{key} by later");
        assert_eq!(later.done(), Done::Replaced);
        assert_eq!(left.last(), Some(&Some(expected.clone())), "{left:?}");
        assert!(
            left.iter().flatten().all(|text| *text == expected),
            "{left:?}"
        );
    }
}

/// Plays all orders: how many states there are.
fn play(parts: &[Part]) -> usize {
    let (mut seen, mut ended) = (BTreeSet::new(), BTreeSet::new());
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    while let Some(mut order) = orders.pop() {
        let mut play = Play::new(parts);
        for actor in &order {
            play.actors[*actor].step();
        }
        while seen.insert(play.state()) {
            if let Some(last) = order.last() {
                play.check(*last);
            }
            if ended.insert((play.engine(), play.renewed())) {
                play.check_killed();
            }
            let mut busy = play.busy();
            let Some(next) = busy.pop() else { break };
            orders.extend(busy.into_iter().map(|other| [&*order, &[other]].concat()));
            play.actors[next].step();
            order.push(next);
        }
    }
    seen.len()
}

#[test]
fn no_key_is_lost_and_nothing_is_left_in_any_order_and_with_any_kill() {
    // Read anew after it was changed, and once more.
    let one = Part::Replace("one", 3);
    assert!(play(&[one, Part::Renew]) > 100);
    let (one, two) = (Part::Replace("one", 1), Part::Replace("two", 1));
    assert!(play(&[one, two, Part::Renew]) > 10_000);
}

#[test]
fn nor_is_it_where_one_finishes_what_another_one_does() {
    let (one, two) = (Part::Seal("one", 1), Part::Seal("two", 1));
    assert!(play(&[one, two, Part::Renew]) > 10_000);
}
