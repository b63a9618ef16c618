//! Which requests are let in: no more than can be held at a time, and be it parked; and no more of one
//! client than leaves room for the others.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::limits::Limits;

/// Counts the requests that are under way, and the bytes that are held for them: of their bodies, and
/// of their answers until these are read.
pub struct Admission {
    limits: Limits,
    all: Arc<Account>,
    /// The accounts of all who are connected.
    others: Mutex<Others>,
}

type Others = HashMap<(Whose, Vec<u8>), Weak<Account>>;

/// Where the requests of a connection are counted, in all of them. Identities alone would bound nobody,
/// for anybody can make more of them; and addresses alone would make one client of all behind a proxy.
pub struct Accounts([Arc<Account>; 3]);

/// A request that was let in. Dropped when nothing of it is held any more.
pub struct Admitted {
    by: Arc<Accounts>,
    bytes: usize,
}

/// Whose requests an account counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// All there are.
    All,
    /// Those from one address.
    Address,
    /// Those of one client.
    Client,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// There are as many requests under way as there may be.
    Requests(Whose, usize),
    /// As many bytes are held for them as may be.
    Bytes(Whose, usize),
    /// The audit log can't take what a request would add.
    AuditLog,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server is busy: ")?;
        match self {
            Self::Requests(whose, limit) => write!(f, "{limit} requests{whose} are under way"),
            Self::Bytes(whose, limit) => write!(
                f,
                "requests{whose} may have {limit} bytes of bodies and unread answers"
            ),
            Self::AuditLog => f.write_str("nobody reads its audit log on standard output"),
        }?;
        f.write_str(", try again later")
    }
}

/// As a part of a message.
impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "",
            Self::Address => " from this address",
            Self::Client => " of this client",
        })
    }
}

impl Admission {
    /// Nothing is under way yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            all: Arc::new(Account::new(Whose::All, limits, 1)),
            others: Mutex::default(),
        }
    }

    /// The accounts for a connection of this client, which is some bytes, from this address.
    pub fn accounts(&self, client: &[u8], ip: IpAddr) -> Arc<Accounts> {
        Arc::new(Accounts([
            self.account(Whose::Client, client, self.limits.client_part),
            self.account(Whose::Address, &network(ip), self.limits.address_part),
            self.all.clone(),
        ]))
    }

    fn account(&self, whose: Whose, who: &[u8], part: usize) -> Arc<Account> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (whose, who.to_vec());
        if let Some(account) = others.get(&key).and_then(Weak::upgrade) {
            return account;
        }
        // Before the table grows, those who are gone make room.
        if others.len() == others.capacity() {
            others.retain(|_, account| account.strong_count() > 0);
        }
        let account = Arc::new(Account::new(whose, &self.limits, part));
        others.insert(key, Arc::downgrade(&account));
        account
    }

    /// How many requests are under way.
    pub fn requests(&self) -> usize {
        self.all.requests.now.load(Ordering::Relaxed)
    }
}

/// Where an address belongs: by IPv6 each customer has a network of 64 bits to choose addresses from.
fn network(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().into_iter().take(8).collect(),
    }
}

impl Accounts {
    /// Lets a request in that may have so many bytes of body.
    ///
    /// # Errors
    /// [`Busy`] says which limit is reached.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Admitted, Busy> {
        for (index, account) in self.0.iter().enumerate() {
            if let Err(busy) = account.add(bytes) {
                let added = self.0.iter().take(index);
                added.for_each(|account| account.remove(bytes));
                return Err(busy);
            }
        }
        Ok(Admitted {
            by: self.clone(),
            bytes,
        })
    }
}

impl Admitted {
    /// Lets so many bytes be held for it, if it holds fewer.
    ///
    /// # Errors
    /// [`Busy`] says which limit is reached; it holds what it held before.
    pub fn reach(&mut self, bytes: usize) -> Result<(), Busy> {
        let more = bytes.saturating_sub(self.bytes);
        let accounts = &self.by.0;
        for (index, account) in accounts.iter().enumerate() {
            if !account.bytes.add(more) {
                let added = accounts.iter().take(index);
                added.for_each(|account| account.bytes.remove(more));
                return Err(Busy::Bytes(account.whose, account.bytes.limit));
            }
        }
        self.bytes += more;
        Ok(())
    }

    /// So many bytes are held for it now. What is there is there: they may be more than the limit says,
    /// and then no other request is let in until they are fewer.
    pub fn holds(&mut self, bytes: usize) {
        for account in &self.by.0 {
            account.bytes.put(bytes);
            account.bytes.remove(self.bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let accounts = &self.by.0;
        accounts
            .iter()
            .for_each(|account| account.remove(self.bytes));
    }
}

/// What some requests may have together.
struct Account {
    whose: Whose,
    requests: Gauge,
    bytes: Gauge,
}

impl Account {
    /// An account with one of so many parts of what there is.
    fn new(whose: Whose, limits: &Limits, parts: usize) -> Self {
        let part = |all: usize| Gauge::new(all.div_ceil(parts.max(1)));
        Self {
            whose,
            requests: part(limits.requests),
            bytes: part(limits.bytes),
        }
    }

    fn add(&self, bytes: usize) -> Result<(), Busy> {
        if !self.requests.add(1) {
            return Err(Busy::Requests(self.whose, self.requests.limit));
        }
        if !self.bytes.add(bytes) {
            self.requests.remove(1);
            return Err(Busy::Bytes(self.whose, self.bytes.limit));
        }
        Ok(())
    }

    fn remove(&self, bytes: usize) {
        self.requests.remove(1);
        self.bytes.remove(bytes);
    }
}

/// An amount with a limit.
struct Gauge {
    now: AtomicUsize,
    limit: usize,
}

impl Gauge {
    fn new(limit: usize) -> Self {
        Self {
            now: AtomicUsize::new(0),
            limit,
        }
    }

    /// Whether there is room for so much more, which is taken then. There is none for nothing if there is
    /// too much already.
    fn add(&self, amount: usize) -> bool {
        if amount == 0 {
            return self.now.load(Ordering::Relaxed) <= self.limit;
        }
        let before = self.now.fetch_add(amount, Ordering::Relaxed);
        let fits = before.saturating_add(amount) <= self.limit;
        if !fits {
            self.remove(amount);
        }
        fits
    }

    /// Takes so much more, and be there no room.
    fn put(&self, amount: usize) {
        if amount > 0 {
            self.now.fetch_add(amount, Ordering::Relaxed);
        }
    }

    fn remove(&self, amount: usize) {
        if amount > 0 {
            self.now.fetch_sub(amount, Ordering::Relaxed);
        }
    }
}
