//! Sends a store's requests: how often, how long, and what it means if no answer comes.

use std::time::Duration;

use super::outage::Outage;
use crate::conceal::{Secrets, shown};
use crate::outgoing::{Fault, Request, Response};
use crate::platform::World;
use crate::store::StoreError;
use crate::time::Time;

/// How long an operation of a store may take with all its requests: less than the 15 seconds that a
/// route has, so that the client is told what is wrong, and not only that it took too long.
const WHOLE: Duration = Duration::from_secs(12);

/// How often a request is sent that may be repeated.
const TRIES: u32 = 3;

/// The shortest pause before a repetition, and how much longer it may be by chance: those who were
/// turned away together should not come back together.
const PAUSE: Duration = Duration::from_millis(200);
const JITTER_MILLIS: u16 = 800;

/// Sends requests to one server, and says once that it is away.
pub struct Courier<W> {
    /// The platform.
    pub world: W,
    /// The server.
    pub origin: String,
    explain: fn(&Response) -> String,
    secrets: fn(&Request) -> Secrets,
    outage: Outage,
}

/// One operation of a store, which may need several requests.
pub struct Errand {
    number: u64,
    until: Time,
    tries: u32,
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Something with keys.
    Keys,
    /// To see how the server is.
    Status,
}

/// Whether a request may be repeated when nobody knows if the server has done what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Doing it twice is doing it once, or the answer shows it.
    Safe,
    /// It must not be done twice, or is not worth the time.
    Never,
}

/// A server's answer, with any status but those of an outage.
pub struct Answer {
    response: Response,
    place: String,
    /// What was secret in the request: an answer may repeat it.
    secrets: Secrets,
    /// Whether an earlier try may have done already what the request asks for.
    pub is_repeated: bool,
}

impl Answer {
    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.response.status
    }

    /// What the answer says, by the function that reads it; an error says also what was asked.
    pub fn read<T>(
        &self,
        parse: impl FnOnce(&Response) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        parse(&self.response).map_err(|error| match error {
            StoreError::Failed(why) => {
                let why = self.secrets.hide(&why);
                StoreError::Failed(format!("{}: {why}", self.place))
            }
            error => error,
        })
    }
}

/// Why a try brought nothing.
struct Trouble {
    cause: String,
    may_be_repeated: bool,
    may_be_done: bool,
    /// How long the server wants to be left alone.
    wait: Duration,
}

impl<W: World> Courier<W> {
    /// A courier to the server with this origin. `explain` says what an answer with a status of 400 or
    /// more means, for the log; `secrets` what of a request may not get there.
    pub fn new(
        world: W,
        origin: String,
        explain: fn(&Response) -> String,
        secrets: fn(&Request) -> Secrets,
    ) -> Self {
        Self {
            world,
            origin,
            explain,
            secrets,
            outage: Outage::default(),
        }
    }

    /// Does one operation of the store, and logs if it shows that the store is away, or back.
    ///
    /// There is no state in which the store isn't asked: one that comes back is used at once. But while
    /// it is away a request is sent only once, and while it hangs by two operations a second, so that
    /// keys in the cache are not waited for.
    pub async fn run<T>(
        &self,
        purpose: Purpose,
        work: impl AsyncFnOnce(&Errand) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let now = self.world.now();
        let origin = &self.origin;
        if let Some(cause) = self.outage.is_hopeless(now, purpose) {
            return Err(StoreError::Unreachable(format!("{origin}: {cause}")));
        }
        let errand = Errand {
            number: self.outage.begin(),
            until: now.after(WHOLE),
            tries: if self.outage.is_on() { 1 } else { TRIES },
        };
        match work(&errand).await {
            Err(StoreError::Unreachable(cause)) => {
                if self.outage.begins(errand.number, purpose, &cause) {
                    let line = format!("the key store {origin} is away: {cause}");
                    self.world.error(&line);
                }
                Err(StoreError::Unreachable(format!("{origin}: {cause}")))
            }
            done => {
                if self.outage.ends(errand.number, purpose) {
                    self.world.error(&format!("the key store {origin} is back"));
                }
                done
            }
        }
    }

    /// Begins an operation of which nothing is logged: whoever begins it says what comes of it.
    pub fn begin(&self, limit: Duration) -> Errand {
        Errand {
            number: self.outage.begin(),
            until: self.world.now().after(limit),
            tries: TRIES,
        }
    }

    /// Sends a request until there is an answer, as often as is right and the errand has time.
    /// `build` makes it anew for each try.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if there is none, or one that tells of an outage;
    /// [`StoreError::Failed`] if it is too long.
    pub async fn send(
        &self,
        errand: &Errand,
        repeat: Repeat,
        build: impl Fn() -> Request,
    ) -> Result<Answer, StoreError> {
        let mut tries = errand.tries;
        let mut is_repeated = false;
        loop {
            let mut request = build();
            request.timeout = request.timeout.min(self.left(errand));
            let path = request.path.split('?').next().unwrap_or_default();
            let place = format!("{} {}{path}", request.method, self.origin);
            let secrets = (self.secrets)(&request);
            let asked = self.world.now();
            let trouble = match self.world.fetch(request).await {
                Ok(response) => match self.trouble(&response) {
                    Some(trouble) => trouble,
                    None => {
                        return Ok(Answer {
                            response,
                            place,
                            secrets,
                            is_repeated,
                        });
                    }
                },
                Err(fault @ Fault::TooLarge) => {
                    return Err(StoreError::Failed(format!("{place}: {fault}")));
                }
                Err(fault) => Trouble::new(fault.to_string()),
            };
            self.outage.took(self.world.now().since(asked));
            tries = tries.saturating_sub(1);
            let pause = trouble.wait.max(PAUSE + self.jitter());
            let is_allowed = repeat == Repeat::Safe || !trouble.may_be_done;
            if tries == 0 || !trouble.may_be_repeated || !is_allowed || pause >= self.left(errand) {
                return Err(StoreError::Unreachable(secrets.hide(&trouble.cause)));
            }
            is_repeated |= trouble.may_be_done;
            self.world.sleep(pause).await;
        }
    }

    /// Whether a request that brought nothing after so many tries may be sent again by whoever has seen to
    /// it that this does no harm. The pause before that has passed then.
    pub async fn may_try_again(&self, errand: &Errand, tries: u32) -> bool {
        let pause = PAUSE + self.jitter();
        tries < errand.tries && self.wait(errand, pause).await.is_ok()
    }

    /// Lets some of the errand's time pass.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] if it has not that much.
    pub async fn wait(&self, errand: &Errand, pause: Duration) -> Result<(), StoreError> {
        if pause >= self.left(errand) {
            return Err(StoreError::Unreachable(Fault::TimedOut.to_string()));
        }
        self.world.sleep(pause).await;
        Ok(())
    }

    fn left(&self, errand: &Errand) -> Duration {
        errand.until.since(self.world.now())
    }

    fn jitter(&self) -> Duration {
        let mut random = [0; 2];
        self.world.random(&mut random);
        let millis = u16::from_le_bytes(random) % (JITTER_MILLIS + 1);
        Duration::from_millis(millis.into())
    }

    /// What an answer says of an outage, if it does.
    fn trouble(&self, response: &Response) -> Option<Trouble> {
        match response.status {
            300..400 => {
                let to = response.header("location").unwrap_or("an unknown place");
                // A query may be secret.
                let to = to.split(['?', '#']).next().unwrap_or_default();
                Some(Trouble {
                    may_be_repeated: false,
                    ..Trouble::new(format!(
                        "it redirects to {}, as a server does that is on standby; the endpoint has to \
                         be the active one, or a load balancer that finds it",
                        shown(to)
                    ))
                })
            }
            // Nothing was done: there were too many requests, or a replica does not yet know the token.
            429 | 412 => Some(Trouble {
                may_be_done: false,
                wait: retry_after(response),
                ..Trouble::new((self.explain)(response))
            }),
            500.. => Some(Trouble {
                wait: retry_after(response),
                ..Trouble::new((self.explain)(response))
            }),
            _ => None,
        }
    }
}

impl Trouble {
    fn new(cause: String) -> Self {
        Self {
            cause,
            may_be_repeated: true,
            may_be_done: true,
            wait: Duration::ZERO,
        }
    }
}

/// The seconds of the header field (RFC 9110, 10.2.3). A date there is not read: clocks differ.
fn retry_after(response: &Response) -> Duration {
    let seconds = response
        .header("retry-after")
        .and_then(|text| text.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
