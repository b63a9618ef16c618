//! The node's identity, from wherever it is kept.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::SealingError;
use crate::config::{Unseal, Unwrapping, Wrapped};
use crate::key::Secret;
use crate::platform::World;
use crate::seal::{InvalidText, NodeIdentity};
use crate::store::StoreError;
use crate::store::vault;
use crate::time::Time;

#[cfg(test)]
mod tests;

/// The pauses of a call that waits for the identity which another one reads.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long nobody tries again after a failure: twice as long after each, and by chance up to a quarter
/// longer, for nodes that have failed together should not come back together.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(12);

/// The identity, which is had when it is needed first, and from then on.
///
/// **Who tries.** Nothing runs between requests, so it is the calls which need the identity that try, one
/// at a time. One that comes while there is no hope is told the last failure at once.
pub struct Unsealed {
    source: Unseal,
    identity: RefCell<Option<Rc<NodeIdentity>>>,
    /// Whether a call is trying.
    is_taken: Cell<bool>,
    /// The last failure, if there is no identity yet.
    failure: RefCell<Option<Failure>>,
}

struct Failure {
    why: SealingError,
    /// Whether the log has it, or whoever prepared the node.
    is_said: Cell<bool>,
    at: Time,
    /// How long the next one waits at least.
    rest: Duration,
    /// How long nobody tries again.
    pause: Duration,
}

/// The right to try. Whoever drops it, even in the middle, gives it to the next.
struct Turn<'t>(&'t Cell<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Unsealed {
    /// The identity from this source. It is not asked for anything yet.
    pub fn new(source: Unseal) -> Self {
        Self {
            source,
            identity: RefCell::default(),
            is_taken: Cell::default(),
            failure: RefCell::default(),
        }
    }

    /// The identity.
    ///
    /// # Errors
    /// It is not to be had, or not yet.
    pub async fn identity(&self, world: &impl World) -> Result<Rc<NodeIdentity>, SealingError> {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(identity) = &*self.identity.borrow() {
                return Ok(identity.clone());
            }
            if let Some(failure) = &*self.failure.borrow()
                && (self.is_taken.get() || failure.is_recent(world.now()))
            {
                return Err(failure.why.clone());
            }
            if !self.is_taken.replace(true) {
                let _turn = Turn(&self.is_taken);
                // In a box: it is needed once, and who waits for the identity has no room for it.
                let outcome = Box::pin(self.source.identity(world)).await;
                return self.settle(world, outcome).await;
            }
            // No call can wake another one: a platform polls a call when its own operations end.
            world.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What a use of the secret brings under which this node keeps its own caches.
    ///
    /// # Errors
    /// The identity is not to be had, or not yet.
    pub async fn with_cache_secret<T>(
        &self,
        world: &impl World,
        used: impl FnOnce(&Secret) -> T,
    ) -> Result<T, SealingError> {
        // The rest of an identity takes longer, and few of the requests need it for which a platform starts.
        if let (Unseal::Identity(written), None) = (&self.source, self.there()) {
            let secret = written.cache_secret().map_err(|why| unusable(&why))?;
            return Ok(used(&secret));
        }
        Ok(used(self.identity(world).await?.cache_secret()))
    }

    /// The identity, if it is there.
    pub fn there(&self) -> Option<Rc<NodeIdentity>> {
        self.identity.borrow().clone()
    }

    /// Has the next call try, whatever came of the last try.
    pub fn try_again(&self) {
        if let Some(failure) = &mut *self.failure.borrow_mut() {
            failure.pause = Duration::ZERO;
        }
    }

    /// Whether nobody has said yet that the last failure was this one, who does so now.
    pub fn is_news(&self, why: &SealingError) -> bool {
        match &*self.failure.borrow() {
            Some(failure) if failure.why == *why => !failure.is_said.replace(true),
            _ => true,
        }
    }

    /// Keeps what came of a try, and says once that the node is not unsealed, and that it is.
    async fn settle(
        &self,
        world: &impl World,
        outcome: Result<Rc<NodeIdentity>, SealingError>,
    ) -> Result<Rc<NodeIdentity>, SealingError> {
        let before = self.failure.take();
        match outcome {
            Ok(identity) => {
                *self.identity.borrow_mut() = Some(identity.clone());
                if before.is_some() {
                    world.error("this node is unsealed");
                    world.unsealed().await;
                }
                Ok(identity)
            }
            Err(why) => {
                let is_away = |why: &SealingError| matches!(why, SealingError::Away(_));
                let was_away = before.as_ref().is_some_and(|before| is_away(&before.why));
                if is_away(&why) && !was_away {
                    world.error(&format!("{why}; retrying"));
                }
                let failure = Failure::new(world, why.clone(), before.as_ref());
                failure
                    .is_said
                    .set(before.is_some_and(|before| before.why == why && before.is_said.get()));
                *self.failure.borrow_mut() = Some(failure);
                Err(why)
            }
        }
    }
}

impl Failure {
    fn new(world: &impl World, why: SealingError, before: Option<&Self>) -> Self {
        let rest = before.map_or(FIRST_REST, |before| (before.rest * 2).min(LONGEST_REST));
        let mut random = [0; 2];
        world.random(&mut random);
        let part = u32::from(u16::from_le_bytes(random));
        Self {
            why,
            is_said: Cell::new(false),
            at: world.now(),
            rest,
            pause: rest + rest / 4 * part / u32::from(u16::MAX),
        }
    }

    /// Whether it is too early to try again. A clock that was set back proves nothing.
    fn is_recent(&self, now: Time) -> bool {
        now >= self.at && now.since(self.at) < self.pause
    }
}

impl Unseal {
    async fn identity(&self, world: &impl World) -> Result<Rc<NodeIdentity>, SealingError> {
        match self {
            Self::Identity(written) => written
                .identity()
                .map(Rc::new)
                .map_err(|why| unusable(&why)),
            Self::File(path) => {
                let content = read(world, path).await?;
                parsed(&content).map_err(|why| unreadable(path, why))
            }
            Self::Vault(unwrapping) => {
                let content = unwrapping.plaintext(world).await?;
                parsed(&content).map_err(|why| {
                    SealingError::NoIdentity(format!("is not what transit unwraps: {why}"))
                })
            }
        }
    }
}

impl Unwrapping {
    async fn plaintext(&self, world: &impl World) -> Result<Zeroizing<Vec<u8>>, SealingError> {
        let ciphertext = match &self.wrapped {
            Wrapped::Text(text) => text.clone(),
            Wrapped::File(path) => {
                let content = read(world, path).await?;
                let text = std::str::from_utf8(&content).unwrap_or_default().trim();
                if !vault::is_ciphertext(text) {
                    return Err(unreadable(path, "it is no ciphertext of transit"));
                }
                text.to_owned()
            }
        };
        let plaintext = vault::decrypt(world, &self.access, &self.transit, &ciphertext);
        plaintext.await.map_err(|error| match error {
            StoreError::Unreachable(cause) => {
                let origin = &self.access.server.origin;
                SealingError::Away(format!("{origin} is away: {cause}"))
            }
            error => SealingError::NoIdentity(format!("can't be unwrapped: {error}")),
        })
    }
}

fn unusable(why: &InvalidText) -> SealingError {
    SealingError::NoIdentity(format!("can't be used: {why}"))
}

async fn read(world: &impl World, path: &str) -> Result<Zeroizing<Vec<u8>>, SealingError> {
    let content = world.file(path).await;
    content.map_err(|why| unreadable(path, why))
}

fn unreadable(path: &str, why: impl fmt::Display) -> SealingError {
    SealingError::NoIdentity(format!("can't be read from `{path}`: {why}"))
}

fn parsed(content: &[u8]) -> Result<Rc<NodeIdentity>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is no text")?;
    let identity = text.trim().parse::<NodeIdentity>();
    identity.map(Rc::new).map_err(|why| why.to_string())
}
