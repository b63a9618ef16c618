//! What many clients saw of one key's name, and whether a service may behave so.
//!
//! A service that forgets deleted keys in one instance after another may still use a key while its delete
//! goes on, so a history need not be linearizable. What is promised is said about what was answered: a key
//! is used from the answer of its create at the latest, to the answer of its delete at the latest.

/// One request: what its client learned between two moments of a clock that all clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Before the request was sent.
    pub begun: u64,
    /// After its answer had come.
    pub ended: u64,
    /// What was learned.
    pub what: What,
}

/// What an answer tells about a name. Each key ever made of it has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// This key was made.
    Created(usize),
    /// The key was deleted.
    Deleted,
    /// This key was used: it sealed something, or opened what it had sealed.
    Used(usize),
    /// There was a key, but another one: it did not open what this one had sealed.
    NotUsed(usize),
    /// There was some key.
    Present,
    /// There was none.
    Absent,
}

/// An event that can't be where it is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The event.
    pub event: Event,
    /// Why it can't be.
    pub why: &'static str,
}

impl Event {
    fn is_before(&self, other: &Self) -> bool {
        self.ended < other.begun
    }
}

/// All that is wrong with the history of one name, which begins without a key.
pub fn check(history: &[Event]) -> Vec<Violation> {
    let of_kind = |wanted: fn(&What) -> bool| {
        let events = history.iter().filter(|event| wanted(&event.what));
        events.copied().collect()
    };
    let changes = Changes {
        creates: of_kind(|what| matches!(what, What::Created(_))),
        deletes: of_kind(|what| matches!(what, What::Deleted)),
    };
    let wrong = history.iter().filter_map(|event| {
        let why = changes.refute(event)?;
        Some(Violation { event: *event, why })
    });
    changes.out_of_turn().into_iter().chain(wrong).collect()
}

/// What has changed the name.
struct Changes {
    creates: Vec<Event>,
    deletes: Vec<Event>,
}

impl Changes {
    /// Creates and deletes must have taken turns, each at some moment of its own: the first that can't.
    fn out_of_turn(&self) -> Option<Violation> {
        let (mut creates, mut deletes) = (self.creates.clone(), self.deletes.clone());
        let mut is_there = false;
        loop {
            // Whatever comes next has begun when this one ends, which ends first of all that are left.
            let all = creates.iter().chain(&deletes);
            let limit = *all.min_by_key(|event| event.ended)?;
            let (turn, why) = if is_there {
                (&mut deletes, "a key was made though there was one")
            } else {
                (&mut creates, "a key was deleted though there was none")
            };
            let possible = (0..turn.len()).filter(|at| turn[*at].begun <= limit.ended);
            let Some(next) = possible.min_by_key(|at| turn[*at].ended) else {
                return Some(Violation { event: limit, why });
            };
            turn.swap_remove(next);
            is_there = !is_there;
        }
    }

    /// Why an event can't be, if it can't.
    fn refute(&self, event: &Event) -> Option<&'static str> {
        match event.what {
            What::Created(_) | What::Deleted => None,
            What::Used(key) => match self.create_of(key) {
                None => Some("nobody made the key that was used"),
                Some(create) if event.is_before(create) => {
                    Some("a key was used before it was made")
                }
                Some(create) if self.is_over(create, event) => {
                    Some("a key was used after its delete was answered, or a newer one's create")
                }
                Some(_) => None,
            },
            What::NotUsed(key) => match self.create_of(key) {
                Some(create) if self.lives(create, event) => Some("a key was there and not used"),
                _ => self.refute_presence(event),
            },
            What::Present => self.refute_presence(event),
            What::Absent => {
                let lives = self.creates.iter().any(|create| self.lives(create, event));
                lives.then_some("a key was not there after its create was answered")
            }
        }
    }

    fn refute_presence(&self, event: &Event) -> Option<&'static str> {
        let mut made = self
            .creates
            .iter()
            .filter(|create| !event.is_before(create));
        let none = made.all(|create| self.is_over(create, event));
        none.then_some("a key was there after the last one's delete was answered")
    }

    fn create_of(&self, key: usize) -> Option<&Event> {
        let mut creates = self.creates.iter();
        creates.find(|create| create.what == What::Created(key))
    }

    /// Whether the key of this create was surely gone when the event began.
    fn is_over(&self, create: &Event, event: &Event) -> bool {
        let mut later = self.deletes.iter().chain(&self.creates);
        later.any(|change| create.is_before(change) && change.is_before(event))
    }

    /// Whether the key of this create was surely there from the event's beginning to its end.
    fn lives(&self, create: &Event, event: &Event) -> bool {
        let mut deletes = self.deletes.iter();
        let spares = |delete: &Event| delete.is_before(create) || event.is_before(delete);
        create.is_before(event) && deletes.all(spares)
    }
}
