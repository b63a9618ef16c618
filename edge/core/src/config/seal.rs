//! The section `seal`.

use std::rc::Rc;
use std::str::FromStr;

use super::walk::{At, Fields, Noted};
use crate::seal::{InvalidText, MAX_RECIPIENTS, NodeIdentity, Recipient};

const NOBODY: &str = "nobody could open what is sealed; list the recipients of all nodes that should \
                      (`sealedge seal of`)";
const NO_SIGNER: &str = "this is empty; list the recipients of all nodes whose records count, or leave \
                         it out";

/// How what is stored is sealed, the section `seal`, which KES does not have.
///
/// It may hold a secret, so it has no `Debug`.
pub struct Seal {
    /// Who can open what this node seals; at least one.
    pub recipients: Vec<Recipient>,
    /// Whose records this node opens. Default: those of the recipients.
    pub signers: Vec<Recipient>,
    /// Where this node has its identity from.
    pub unseal: Unseal,
    /// Whether values that are not sealed are read as well. Default: false.
    pub accept_unsealed: bool,
}

/// Where a node has its identity from.
#[derive(Clone)]
pub enum Unseal {
    /// The configuration or the environment.
    Identity(Rc<NodeIdentity>),
    /// A file that nobody else can read.
    File(String),
}

impl PartialEq for Unseal {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Identity(one), Self::Identity(other)) => one.recipient() == other.recipient(),
            (Self::File(one), Self::File(other)) => one == other,
            _ => false,
        }
    }
}

/// The section; what keeps it from being used is noted.
pub(super) fn seal(at: &At<'_>) -> Option<Seal> {
    let fields = at.fields(&["recipients", "signers", "unseal", "accept_unsealed"]);
    let recipients = fields.get("recipients").filter(|at| !at.is_null());
    if recipients.is_none() {
        at.missing("recipients", NOBODY);
    }
    let recipients = recipients.map(|at| self::recipients(at, NOBODY));
    let recipients = recipients.unwrap_or_default();
    let signers = fields.get("signers").filter(|at| !at.is_null());
    let signers = signers.map(|at| self::recipients(at, NO_SIGNER));
    let accept_unsealed = fields.read("accept_unsealed", At::switch) == Some(true);
    if accept_unsealed && let Some(at) = fields.get("accept_unsealed") {
        at.warn(
            "whoever can write to the key store can plant keys; turn it off once all are sealed",
        );
    }
    let unseal = unseal(at, &fields)?;
    Some(Seal {
        signers: signers.unwrap_or_else(|| recipients.clone()),
        recipients,
        unseal,
        accept_unsealed,
    })
}

fn recipients(at: &At<'_>, if_empty: &str) -> Vec<Recipient> {
    let mut found: Vec<Recipient> = Vec::new();
    if at.is_empty_list() {
        at.error(if_empty);
    }
    for item in at.items() {
        match parsed::<Recipient>(&item) {
            Ok(Some(recipient)) if found.contains(&recipient) => {
                item.warn("this recipient is listed twice; remove one");
            }
            Ok(Some(recipient)) => found.push(recipient),
            Ok(None) => item.error("this is empty; write a recipient or remove it"),
            Err(Noted) => {}
        }
    }
    if found.len() > MAX_RECIPIENTS {
        at.error(format!("a record has at most {MAX_RECIPIENTS} recipients"));
    }
    found
}

fn unseal(section: &At<'_>, fields: &Fields<'_>) -> Option<Unseal> {
    let message = "write where this node has its identity from: `file`, or `identity` with \
                   `${NAME}` of an environment variable (`sealedge seal new` makes one)";
    let Some(at) = fields.get("unseal").filter(|at| !at.is_null()) else {
        section.missing("unseal", message);
        return None;
    };
    let sources = at.fields(&["identity", "file"]);
    let identity = sources.get("identity").map(parsed::<NodeIdentity>);
    let file = sources.text("file");
    match (identity, file) {
        (Some(Ok(Some(_))), Some(_)) => {
            at.error("write one of `identity` and `file`, not both");
            None
        }
        (Some(Ok(Some(identity))), None) => Some(Unseal::Identity(Rc::new(identity))),
        (Some(Err(Noted)), _) => None,
        (_, Some(path)) => Some(Unseal::File(path)),
        (_, None) => {
            at.error(message);
            None
        }
    }
}

fn parsed<T: FromStr<Err = InvalidText>>(at: &At<'_>) -> Result<Option<T>, Noted> {
    let Some(text) = at.text()? else {
        return Ok(None);
    };
    text.trim().parse().map(Some).map_err(|why: InvalidText| {
        at.error(why.to_string());
        Noted
    })
}
