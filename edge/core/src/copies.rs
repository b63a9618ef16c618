//! Sealed copies of keys, kept by a platform whose memory does not last: for when a key store elsewhere is away, and
//! where no memory outlives a request as the cache itself.
//!
//! The service seals them, says how long they live, and judges what it finds: it neither serves one that does not
//! open nor one that is too old. The platform promises the order of what is done, and no more:
//!
//! - **Tickets.** A reader takes one before it asks the key store, and shows it when it brings the copy. If anything
//!   was buried or dug up meanwhile, its copy is refused: it may be of a key that was deleted since.
//! - **Burials.** A delete buries the name first, and digs it up when the key store says that the key is gone. In
//!   between there are no copies of that name. If nobody hears what became of the delete, the burial stays until it
//!   ends by itself, as if it were dug up then. Each delete has its own, so none ends what another one still needs.

use std::convert::Infallible;
use std::future::Future;

use crate::name::Name;
use crate::time::Time;

/// Where copies are kept. Each of these is done as if at once, and what one has done all later ones see, in every instance
/// of the service. An error says, for the log, why it may not have been done.
pub trait Copies {
    /// The copy of this name, unless that is buried, and a ticket for [`Copies::keep`].
    fn read(&self, name: &Name) -> impl Future<Output = Result<Found, String>>;

    /// Keeps a copy of what was `read` at a time, until another one, in the place of one that was not read later. It
    /// does nothing if anything was buried or dug up since the ticket was given, or if the name is buried.
    fn keep(
        &self,
        name: &Name,
        copy: &[u8],
        ticket: Ticket,
        read: Time,
        until: Time,
    ) -> impl Future<Output = Result<(), String>>;

    /// Notes that what was found is used at a time. Where memory lasts it is that which knows.
    fn used(
        &self,
        name: &Name,
        found: &Found,
        now: Time,
    ) -> impl Future<Output = Result<(), String>> {
        let _ = (name, found, now);
        std::future::ready(Ok(()))
    }

    /// Drops the copy of this name, and has none until a time or until the name is dug up.
    fn bury(&self, name: &Name, until: Time) -> impl Future<Output = Result<Burial, String>>;

    /// Drops the copy of this name, for the burial may have ended by itself before, and ends this burial. Others of
    /// the same name stay.
    fn dig_up(&self, name: &Name, burial: Burial) -> impl Future<Output = Result<(), String>>;
}

/// What there is of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The copy, as it was kept.
    pub copy: Option<Vec<u8>>,
    /// When it was used last, if that is known: within what [`Copies::used`] is told.
    pub used: Option<Time>,
    /// To be shown with the next one.
    pub ticket: Ticket,
}

/// How many burials there were, and how many ended, when a reader began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// Tells a burial from all others of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burial(pub u64);

/// A platform that keeps none.
impl Copies for Infallible {
    async fn read(&self, _: &Name) -> Result<Found, String> {
        match *self {}
    }

    async fn keep(&self, _: &Name, _: &[u8], _: Ticket, _: Time, _: Time) -> Result<(), String> {
        match *self {}
    }

    async fn bury(&self, _: &Name, _: Time) -> Result<Burial, String> {
        match *self {}
    }

    async fn dig_up(&self, _: &Name, _: Burial) -> Result<(), String> {
        match *self {}
    }
}
