//! `sealedge seal rewrap`: seals what is in a key store for the configured recipients.
//!
//! Every step is one replace, which the store does wholly or not at all, and nothing is kept beside it: what is
//! sealed as wanted is seen from the record itself. So it can end at any moment, and goes on when it is run again.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use sealedge_core::conceal::begins_as_identity;
use sealedge_core::config::{Config, Parsed, parse_for_host};
use sealedge_core::name::{Name, is_pattern};
use sealedge_core::platform::World as _;
use sealedge_core::sealing::{Rewrapped, Rewrapper};
use sealedge_core::store::StoreError;
use sealedge_core::time::Time;
use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use super::SealError;
use super::progress::Progress;
use super::store::{self, Store};
use crate::cli::Common;
use crate::cli::error::Error;
use crate::cli::output::{Output, fields};
use crate::guest::crypto::RingCrypto;
use crate::guest::wall_clock;
use crate::server::{StartError, read_configuration};
use crate::world::World;

/// How many keys are worked on at a time.
const AT_A_TIME: usize = 16;

/// How often a value is read anew that somebody else replaces meanwhile.
const ATTEMPTS: usize = 10;

/// Seal the keys in a key store for the recipients of a configuration
///
/// Seals keys that are not sealed, and seals those again that are sealed for other recipients, each
/// with a new content key. Keys that are sealed for just these recipients are left as they are,
/// unless with --before. Needs no server, and those that run may go on. It can be stopped at any
/// moment: run it again, and it goes on where it ended.
///
/// Keys that are not sealed are sealed only while `seal.accept_unsealed` is on, and are taken for
/// genuine then: whoever can write to the key store may have put them there.
#[derive(Args)]
pub struct Rewrap {
    /// A name, or the beginning of names and `*`
    #[arg(default_value = "*", hide_default_value = true, value_parser = pattern)]
    pattern: String,

    /// The configuration file of a server (YAML), with a section `seal`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Say how many keys there are of which kind, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Seal keys again, too, that were sealed before this time, such as 2026-11-25T09:30:00Z or
    /// `now`: they get new content keys, and this node's signature
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Time>,
}

/// How many keys were found of which kind.
#[derive(Default, Serialize)]
struct Counts {
    total: usize,
    sealed: usize,
    resealed: usize,
    unchanged: usize,
    failed: usize,
    /// Whether nothing was written.
    dry_run: bool,
}

/// What became of a key.
#[derive(Clone, Copy)]
enum Done {
    Sealed,
    Resealed,
    Unchanged,
    /// Somebody has deleted it since it was listed.
    Gone,
}

impl Rewrap {
    pub fn run(&self, common: Common) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|reason| Error::Server(StartError::Io(reason)))?;
        LocalSet::new().block_on(&runtime, self.rewrap(common))
    }

    async fn rewrap(&self, common: Common) -> Result<(), Error> {
        let progress = Progress::new(common);
        let config = self.read_configuration()?;
        let world =
            World::new(&config).map_err(|reason| Error::Server(StartError::Outside(reason)))?;
        let store = Store::open(&config.keystore, world.clone())?;
        let place = store::place(&config.keystore);
        let Some(seal) = config.seal else {
            let file = self.config.clone();
            return Err(Error::Seal(SealError::NotConfigured { file }));
        };
        let rewrapper = Rewrapper::new(seal, self.before, &world)
            .await
            .map_err(|reason| Error::Seal(SealError::Node(reason)))?;
        if let Some(before) = self.before.filter(|_| !common.json) {
            let time = before.timestamp();
            progress.say(&format!("What was sealed before {time} is sealed again."));
        }
        let names = self.names(&store).await?;
        let nothing = names.is_empty().then(|| place.clone());
        progress.begin(names.len());
        let run = Rc::new(Run {
            store,
            world,
            rewrapper,
            is_dry: self.dry_run,
            is_named: !self.pattern.ends_with('*'),
            left: RefCell::new(names.into_iter()),
            is_away: Cell::new(false),
            counts: RefCell::default(),
            errors: RefCell::default(),
            progress,
        });
        run.all().await;
        run.progress.end();
        self.report(&run, nothing, common)
    }

    fn read_configuration(&self) -> Result<Config, Error> {
        let document = read_configuration(&self.config).map_err(Error::Server)?;
        let variable = |name: &str| std::env::var(name).ok();
        match parse_for_host(&document, &variable) {
            Ok(Parsed { config, .. }) => Ok(config),
            Err(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                Err(Error::Server(StartError::Configuration {
                    file: self.config.display().to_string(),
                    problems: problems.join("\n"),
                }))
            }
        }
    }

    async fn names(&self, store: &Store) -> Result<Vec<Name>, Error> {
        let names = match self.pattern.strip_suffix('*') {
            Some(prefix) => store.list(prefix).await,
            None => Ok(vec![self.pattern.clone()]),
        };
        let names = names.map_err(|reason| Error::Seal(SealError::List(reason)))?;
        Ok(names.iter().filter_map(|name| Name::new(name)).collect())
    }

    /// Says what came of it. `nothing` is where it was looked for keys in vain.
    fn report(&self, run: &Run, nothing: Option<String>, common: Common) -> Result<(), Error> {
        let mut errors = run.errors.take();
        let not_tried = run.left.borrow().len();
        let mut counts = run.counts.take();
        counts.total += not_tried;
        counts.dry_run = self.dry_run;
        Output::new(common).show(&counts, |it| {
            let [sealed, resealed, unchanged] = if it.dry_run {
                ["to be sealed", "to be sealed again", "as they should be"]
            } else {
                ["sealed", "sealed again", "unchanged"]
            };
            let rows = [
                ("keys", it.total),
                (sealed, it.sealed),
                (resealed, it.resealed),
                (unchanged, it.unchanged),
                ("failed", it.failed),
            ];
            let text = fields(&rows.map(|(label, count)| (label, count.to_string())));
            let dry = "\nNothing was written. Without --dry-run it would be so.\n";
            text + if self.dry_run { dry } else { "" }
        })?;
        match nothing {
            // A directory that is there and empty is what it is; elsewhere a wrong path looks the same.
            Some(place) if self.pattern == "*" && matches!(run.store, Store::Files(_)) => {
                run.progress.say(&format!("There are no keys in {place}."));
            }
            Some(place) => errors.push(Error::Seal(SealError::NoKeys {
                pattern: self.pattern.clone(),
                place,
            })),
            None => {}
        }
        if not_tried > 0 {
            errors.push(Error::Seal(SealError::NotTried(not_tried)));
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Error::Several(errors)),
        }
    }
}

/// One run over the keys.
struct Run {
    store: Store,
    world: World,
    rewrapper: Rewrapper,
    is_dry: bool,
    /// Whether the key was asked for by its name, and not found by listing.
    is_named: bool,
    /// Those that nobody has begun with.
    left: RefCell<std::vec::IntoIter<Name>>,
    /// Whether the store was found to be away: then no other key is begun with.
    is_away: Cell<bool>,
    counts: RefCell<Counts>,
    errors: RefCell<Vec<Error>>,
    progress: Progress,
}

impl Run {
    /// Goes through the keys, some at a time, until there are no more or the store is away.
    async fn all(self: &Rc<Self>) {
        let mut workers = JoinSet::new();
        for _ in 0..AT_A_TIME {
            let run = self.clone();
            workers.spawn_local(async move {
                while let Some(name) = run.next() {
                    let done = run.one(&name).await;
                    run.note(done);
                }
            });
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn next(&self) -> Option<Name> {
        if self.is_away.get() {
            return None;
        }
        self.left.borrow_mut().next()
    }

    async fn one(&self, name: &Name) -> Result<Done, SealError> {
        let of_store = |reason| SealError::Store {
            name: name.to_string(),
            reason,
        };
        for _ in 0..ATTEMPTS {
            let there = match self.store.read(name).await {
                Err(StoreError::NotFound) if !self.is_named => return Ok(Done::Gone),
                there => there.map_err(of_store)?,
            };
            let random = &mut |buffer: &mut [u8]| self.world.random(buffer);
            let rewrapped = self
                .rewrapper
                .rewrap(&RingCrypto, random, self.world.now(), name, &there.value)
                .map_err(|reason| SealError::Value {
                    name: name.to_string(),
                    reason,
                })?;
            let (done, value) = match rewrapped {
                Rewrapped::Sealed(value) => (Done::Sealed, value),
                Rewrapped::Resealed(value) => (Done::Resealed, value),
                Rewrapped::Unchanged => {
                    if !self.is_dry {
                        // The replace that made it so may have been interrupted.
                        match self.store.tidy(name, &there.version).await {
                            Err(StoreError::Changed | StoreError::NotFound) => continue,
                            tidied => tidied.map_err(of_store)?,
                        }
                    }
                    return Ok(Done::Unchanged);
                }
            };
            if self.is_dry {
                return Ok(done);
            }
            match self.store.replace(name, value, there.version).await {
                Ok(()) => return Ok(done),
                // Read anew, it turns out as what it is now.
                Err(StoreError::Changed | StoreError::NotFound) => {}
                Err(reason) => return Err(of_store(reason)),
            }
        }
        Err(of_store(StoreError::Changed))
    }

    fn note(&self, done: Result<Done, SealError>) {
        let counts = &mut *self.counts.borrow_mut();
        match &done {
            Ok(Done::Sealed) => counts.sealed += 1,
            Ok(Done::Resealed) => counts.resealed += 1,
            Ok(Done::Unchanged) => counts.unchanged += 1,
            Ok(Done::Gone) => {}
            Err(_) => counts.failed += 1,
        }
        if !matches!(done, Ok(Done::Gone)) {
            counts.total += 1;
        }
        if let Err(error) = done {
            self.is_away.set(self.is_away.get() || error.is_outage());
            self.errors.borrow_mut().push(Error::Seal(error));
        }
        self.progress.step();
    }
}

fn pattern(text: &str) -> Result<String, String> {
    if begins_as_identity(text) {
        Err("no key has such a name: it is a node's identity, which is secret".to_owned())
    } else if is_pattern(text) && !text.is_empty() {
        Ok(text.to_owned())
    } else {
        Err("a pattern is the name of a key, or the beginning of names and `*`".to_owned())
    }
}

/// A time that has been.
fn time(text: &str) -> Result<Time, String> {
    let now = Time::from_nanos(wall_clock());
    if text == "now" {
        return Ok(now);
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "a time is written as 2026-11-25T09:30:00Z".to_owned())?;
    u64::try_from(time.as_nanosecond())
        .map(Time::from_nanos)
        .ok()
        .filter(|time| *time <= now)
        .ok_or_else(|| "this time is yet to come, or before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_is_of_names_that_there_can_be() {
        for good in ["*", "a", "a-*"] {
            assert!(pattern(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "SEALEDGE-IDENTITY-1Q", "sealedge-identity-1*"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_that_have_been() {
        assert_eq!(
            time("2026-11-25T09:30:00+01:00"),
            Ok(Time::from_nanos(1_795_595_400_000_000_000))
        );
        assert!(time("now").is_ok());
        for bad in [
            "",
            "yesterday",
            "2026-11-25",
            "2400-01-01T00:00:00Z",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_refused(text in ".{0,30}|20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9:.]{0,9}Z") {
            if let Ok(time) = time(&text) {
                prop_assert!(time <= Time::from_nanos(wall_clock()));
            }
        }
    }
}
