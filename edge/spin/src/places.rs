//! What is under which key. A name has no colon in it, so no two of these are the same.

use sealedge_core::identity::Identity;
use sealedge_core::name::Name;

/// How all begin: others may use the same store.
const OURS: &str = "sealedge";

/// How the nonces begin.
pub const NONCES: &str = "sealedge:nonce:";

/// How the copies begin.
pub const COPIES: &str = "sealedge:copy:";

/// When the youngest signed request was made that is forgotten.
pub const FORGOTTEN: &str = "sealedge:forgotten";

/// When was swept last.
pub const SWEPT: &str = "sealedge:swept";

/// Which warnings were said.
pub const SAID: &str = "sealedge:said";

/// The life of a name that was found last to have begun.
pub fn hint(name: &Name) -> String {
    format!("{OURS}:key:{name}")
}

/// The key of a life: what is stored of it.
pub fn value(name: &Name, life: u64) -> String {
    format!("{OURS}:key:{name}:{life}")
}

/// What is known of a life beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// How many wanted to begin it: a number.
    Claims,
    /// It has begun.
    Live,
    /// How many have ended it: a number.
    Dead,
    /// It never begins.
    Void,
}

impl Mark {
    const fn word(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::Live => "live",
            Self::Dead => "dead",
            Self::Void => "void",
        }
    }
}

/// Where that is.
pub fn mark(name: &Name, life: u64, mark: Mark) -> String {
    format!("{OURS}:key:{name}:{life}:{}", mark.word())
}

/// A voice in the agreement about a life.
pub fn voice(name: &Name, life: u64, wish: &str, round: u32) -> String {
    format!("{OURS}:key:{name}:{life}:{wish}:{round}")
}

/// The name and the life of a key that [`value`] has made.
pub fn read_value(key: &str) -> Option<(&str, u64)> {
    let rest = key.strip_prefix(OURS)?.strip_prefix(":key:")?;
    let (name, life) = rest.split_once(':')?;
    Some((name, life.parse().ok()?))
}

/// How many burials a name has had: a number.
pub fn burials(name: &Name) -> String {
    format!("{OURS}:burials:{name}")
}

/// Until when the youngest of them lasts.
pub fn buried(name: &Name) -> String {
    format!("{OURS}:buried:{name}")
}

/// A copy of a name's key from the time of this many burials.
pub fn copy(name: &Name, burials: u64) -> String {
    format!("{COPIES}{name}:{burials}")
}

/// A signed request that was made in a second: how often it was seen, a number.
pub fn nonce(created: u64, identity: &Identity, nonce: u128) -> String {
    format!("{NONCES}{created}:{identity}:{nonce:032x}")
}

/// The second in the key of a nonce.
pub fn read_nonce(key: &str) -> Option<u64> {
    let (created, _) = key.strip_prefix(NONCES)?.split_once(':')?;
    created.parse().ok()
}
