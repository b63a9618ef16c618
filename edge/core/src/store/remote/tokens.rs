//! The token that a store asks for, from the login to its end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::courier::{Courier, Errand};
use crate::platform::World;
use crate::store::StoreError;
use crate::time::Time;

/// After which part of its life a token is renewed: 4/5 of it.
const DUE_NUMERATOR: u32 = 4;
const DUE_DENOMINATOR: u32 = 5;

/// How long a token that could not be renewed is used before that is tried again, and how long a refused
/// login is taken for the last word by those who only look.
const REST: Duration = Duration::from_secs(10);

/// How long nothing is hoped from another token where the last new one did not help: a client that
/// the store forbids something would else have it log in with each request.
const FUTILE: Duration = Duration::from_secs(1);

/// The pauses of a call that waits for the login of another one.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What a server gives for a login or a renewal.
pub struct Grant {
    /// The token.
    pub secret: Zeroizing<String>,
    /// How long it is valid; `None` if for ever.
    pub lease: Option<Duration>,
    /// Whether it can be renewed.
    pub is_renewable: bool,
}

/// A token in use.
pub struct Token {
    secret: Zeroizing<String>,
    /// When it was asked for, which is before its life began.
    obtained: Time,
    lease: Option<Duration>,
    is_renewable: bool,
    /// The life that a login gives.
    full: Option<Duration>,
    /// No renewal is tried before.
    rests_until: Cell<Option<Time>>,
}

impl Token {
    fn new(grant: Grant, obtained: Time, full: Option<Duration>) -> Self {
        Self {
            secret: grant.secret,
            obtained,
            lease: grant.lease,
            is_renewable: grant.is_renewable,
            full,
            rests_until: Cell::new(None),
        }
    }

    /// The token itself, to be sent to the server that it is from.
    pub fn expose(&self) -> &str {
        &self.secret
    }

    fn is_valid(&self, now: Time) -> bool {
        self.lease
            .is_none_or(|lease| now.since(self.obtained) < lease)
    }

    fn is_due(&self, now: Time) -> bool {
        let rests = self.rests_until.get().is_some_and(|until| now < until);
        let is_old = self.lease.is_some_and(|lease| {
            now.since(self.obtained) >= lease * DUE_NUMERATOR / DUE_DENOMINATOR
        });
        is_old && !rests
    }
}

/// The token of one store, and whose turn it is to get another one.
///
/// **How calls wait for each other.** A platform may poll a call only when one of the call's own
/// operations has ended, so a call that another one is to wake would never go on. A call that needs
/// the login of another one therefore sleeps for short times until that is over; one whose token is
/// still valid goes on with it.
#[derive(Default)]
pub struct Tokens {
    held: RefCell<Option<Rc<Token>>>,
    /// Whether a call is logging in or renewing.
    is_taken: Cell<bool>,
    /// How many logins have failed, and how the last one did if none has succeeded since, and when.
    failures: Cell<u64>,
    failure: RefCell<Option<(Time, StoreError)>>,
    /// Until when another token would not help.
    futile_until: Cell<Option<Time>>,
}

/// The right to get a token. Whoever drops it, even in the middle, gives it to the next.
struct Turn<'t>(&'t Cell<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Tokens {
    /// A token that is valid: the one that is held, or one that `obtain` gets, from that one by a
    /// renewal or from nothing by a login.
    ///
    /// # Errors
    /// That of the login.
    pub async fn get<W: World>(
        &self,
        courier: &Courier<W>,
        errand: &Errand,
        obtain: impl AsyncFn(Option<&Token>) -> Result<Grant, StoreError>,
    ) -> Result<Rc<Token>, StoreError> {
        let failures = self.failures.get();
        let mut pause = FIRST_PAUSE;
        loop {
            let now = courier.world.now();
            let held = self.held.borrow().clone();
            let held = held.filter(|token| token.is_valid(now));
            if let Some(token) = &held
                && (!token.is_due(now) || self.is_taken.get())
            {
                return Ok(token.clone());
            }
            if let Some(_turn) = self.turn() {
                return self.refresh(courier, held, &obtain).await;
            }
            courier.wait(errand, pause).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // The login that was waited for was as much this call's as the other's.
            if self.failures.get() != failures
                && let Some((_, failure)) = &*self.failure.borrow()
            {
                return Err(failure.clone());
            }
        }
    }

    /// Why the last login was refused, if that was a moment ago: whoever only looks whether there is a way
    /// in should not knock each time, for a server may lock out who is refused too often.
    pub fn refusal(&self, now: Time) -> Option<StoreError> {
        let (at, why) = self.failure.borrow().clone()?;
        let is_recent = now >= at && now.since(at) < REST;
        (is_recent && matches!(why, StoreError::Failed(_))).then_some(why)
    }

    /// Forgets a token that the server refused, unless there is another one by now. `false` if nothing
    /// is to be hoped from another one.
    pub fn refused(&self, token: &Rc<Token>, now: Time) -> bool {
        if self.futile_until.get().is_some_and(|until| now < until) {
            return false;
        }
        let mut held = self.held.borrow_mut();
        if held.as_ref().is_some_and(|held| Rc::ptr_eq(held, token)) {
            *held = None;
        }
        true
    }

    /// Another token did not help.
    pub fn was_futile(&self, now: Time) {
        self.futile_until.set(Some(now.after(FUTILE)));
    }

    fn turn(&self) -> Option<Turn<'_>> {
        (!self.is_taken.replace(true)).then(|| Turn(&self.is_taken))
    }

    /// Gets a token, in whoever's turn it is.
    async fn refresh<W: World>(
        &self,
        courier: &Courier<W>,
        held: Option<Rc<Token>>,
        obtain: &impl AsyncFn(Option<&Token>) -> Result<Grant, StoreError>,
    ) -> Result<Rc<Token>, StoreError> {
        let asked = courier.world.now();
        let renewed = match held.as_deref() {
            Some(old) if old.is_renewable => Some(obtain(Some(old)).await),
            _ => None,
        };
        let full = held.as_ref().and_then(|old| old.full);
        let granted = match renewed {
            // Near the end of what renewals can give, each would give less than the one before.
            Some(Ok(grant)) if grant.lease >= full.map(|full| full / 2) => {
                Ok(Token::new(grant, asked, full))
            }
            Some(Err(away @ StoreError::Unreachable(_))) => Err(away),
            Some(Ok(_) | Err(_)) | None => {
                let asked = courier.world.now();
                obtain(None).await.map(|grant| {
                    let full = grant.lease;
                    Token::new(grant, asked, full)
                })
            }
        };
        match (granted, held) {
            (Ok(token), _) => {
                let token = Rc::new(token);
                *self.held.borrow_mut() = Some(token.clone());
                *self.failure.borrow_mut() = None;
                Ok(token)
            }
            (Err(error), Some(old)) => {
                old.rests_until.set(Some(courier.world.now().after(REST)));
                if let StoreError::Failed(why) = error {
                    let origin = &courier.origin;
                    let line = format!("the key store {origin} gives no new token: {why}");
                    courier.world.error(&line);
                }
                Ok(old)
            }
            (Err(error), None) => {
                self.failures.set(self.failures.get().wrapping_add(1));
                let failure = (courier.world.now(), error.clone());
                *self.failure.borrow_mut() = Some(failure);
                Err(error)
            }
        }
    }
}
