//! The section `seal`.

use std::str::FromStr;

use super::known::Shape::{Group, Value};
use super::known::{Known, check, group, names};
use super::vault::{self, APPROLE, KUBERNETES, TLS, TRANSIT};
use super::walk::{At, Fields, Noted};
use super::{File, Supported};
use crate::outgoing::Destination;
use crate::seal::{InvalidText, MAX_RECIPIENTS, Recipient, WrittenIdentity};
use crate::store::vault::{Access, Transit, is_ciphertext};

/// The most signers: each record is compared with them.
const MAX_SIGNERS: usize = 1024;

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
    Identity(WrittenIdentity),
    /// A file that nobody else can read.
    File(String),
    /// A Vault or OpenBao, which unwraps it.
    Vault(Box<Unwrapping>),
}

/// A key of transit that unwraps the identity of a node (`seal.unseal.vault`).
///
/// The ciphertext is that of the identity's text, in the file that `sealedge seal new` writes:
///
/// ```sh
/// base64 < node.identity | bao write -field=ciphertext transit/encrypt/KEY plaintext=-
/// ```
///
/// Transit takes base64; white space around the identity does not matter. The node's policy needs
/// `update` on `transit/decrypt/KEY` and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Unwrapping {
    /// The server, and how to get into it.
    pub access: Access,
    /// The key there.
    pub transit: Transit,
    /// What it unwraps.
    pub wrapped: Wrapped,
}

/// The ciphertext of an identity. It is no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrapped {
    /// The ciphertext itself, `vault:v1:…`.
    Text(String),
    /// Path of a file with it.
    File(String),
}

impl Unseal {
    /// The servers that are needed to have the identity.
    pub fn destinations(&self) -> Vec<Destination> {
        match self {
            Self::Identity(_) | Self::File(_) => Vec::new(),
            Self::Vault(unwrapping) => vec![unwrapping.access.server.clone()],
        }
    }

    /// The files that are read to have the identity.
    pub fn files(&self) -> Vec<File> {
        let public = |path| File {
            path,
            is_private: false,
        };
        match self {
            Self::Identity(_) => Vec::new(),
            Self::File(path) => vec![File {
                path: path.clone(),
                is_private: true,
            }],
            Self::Vault(unwrapping) => {
                let mut files = unwrapping.access.files();
                if let Wrapped::File(path) = &unwrapping.wrapped {
                    files.push(path.clone());
                }
                files.into_iter().map(public).collect()
            }
        }
    }
}

impl PartialEq for Unseal {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Identity(one), Self::Identity(other)) => one == other,
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Vault(one), Self::Vault(other)) => one == other,
            _ => false,
        }
    }
}

const SOURCES: Known = &[
    ("identity", Value),
    ("file", Value),
    ("vault", Group(UNWRAPPING)),
];

const UNWRAPPING: Known = &[
    ("endpoint", Value),
    ("namespace", Value),
    ("approle", APPROLE),
    ("kubernetes", KUBERNETES),
    ("transit", TRANSIT),
    ("tls", TLS),
    ("identity", Value),
    ("identity_file", Value),
];

/// The section; what keeps it from being used is noted. `destinations` is how many servers the key store
/// has: others come after them.
pub(super) fn seal(at: &At<'_>, supported: &Supported<'_>, destinations: usize) -> Option<Seal> {
    let fields = at.fields(&["recipients", "signers", "unseal", "accept_unsealed"]);
    let recipients = fields.get("recipients").filter(|at| !at.is_null());
    if recipients.is_none() {
        at.missing("recipients", NOBODY);
    }
    let recipients = recipients.map(|at| {
        let found = self::recipients(at, NOBODY, supported);
        if found.len() > MAX_RECIPIENTS {
            at.error(format!("a record has at most {MAX_RECIPIENTS} recipients"));
        }
        found
    });
    let recipients = recipients.unwrap_or_default();
    let signers = fields.get("signers").filter(|at| !at.is_null());
    let signers = signers.map(|at| {
        if at.length() > Some(MAX_SIGNERS) {
            at.error(format!("at most {MAX_SIGNERS} signers can be listed"));
            return Vec::new();
        }
        self::recipients(at, NO_SIGNER, supported)
    });
    let accept_unsealed = fields.read("accept_unsealed", At::switch) == Some(true);
    if accept_unsealed && let Some(at) = fields.get("accept_unsealed") {
        at.warn(
            "whoever can write to the key store can plant keys; turn it off once all are sealed",
        );
    }
    let unseal = unseal(at, &fields, supported, destinations)?;
    Some(Seal {
        signers: signers.unwrap_or_else(|| recipients.clone()),
        recipients,
        unseal,
        accept_unsealed,
    })
}

fn recipients(at: &At<'_>, if_empty: &str, supported: &Supported<'_>) -> Vec<Recipient> {
    let mut found: Vec<Recipient> = Vec::new();
    if at.length() == Some(0) {
        at.error(if_empty);
    }
    for item in at.items() {
        // Without memory to keep them the keys of all are not looked at for each request.
        let read = if supported.memory {
            Recipient::from_str
        } else {
            Recipient::read
        };
        match parsed(&item, read) {
            Ok(Some(recipient)) if found.contains(&recipient) => {
                item.warn("this recipient is listed twice; remove one");
            }
            Ok(Some(recipient)) => found.push(recipient),
            Ok(None) => item.error("this is empty; write a recipient or remove it"),
            Err(Noted) => {}
        }
    }
    found
}

fn unseal(
    section: &At<'_>,
    fields: &Fields<'_>,
    supported: &Supported<'_>,
    destinations: usize,
) -> Option<Unseal> {
    let message = "write where this node has its identity from: `file`, `vault`, or `identity` with \
                   `${NAME}` of an environment variable (`sealedge seal new` makes one)";
    let Some(at) = fields.get("unseal").filter(|at| !at.is_null()) else {
        section.missing("unseal", message);
        return None;
    };
    let sources = at.fields(&names(SOURCES));
    // Each of these notes what is wrong with it. Within the outer option is what can be used.
    let identity = match sources
        .get("identity")
        .map(|at| parsed(at, WrittenIdentity::from_str))
    {
        None | Some(Ok(None)) => None,
        Some(Ok(Some(identity))) => Some(Some(Unseal::Identity(identity))),
        Some(Err(Noted)) => Some(None),
    };
    let file = path(&sources, "file").map(|path| path.map(Unseal::File));
    let vault = sources.get("vault").filter(|at| !at.is_null());
    let vault = vault
        .map(|at| unwrapping(at, supported, destinations).map(|it| Unseal::Vault(Box::new(it))));
    let mut found = [identity, file, vault].into_iter().flatten();
    match (found.next(), found.next()) {
        (Some(source), None) => source,
        (Some(_), Some(_)) => {
            at.error("write only one of `identity`, `file` and `vault`");
            None
        }
        (None, _) => {
            at.error(message);
            None
        }
    }
}

/// A path, within the outer option if it can be used.
fn path(fields: &Fields<'_>, name: &str) -> Option<Option<String>> {
    match fields.get(name)?.path() {
        Ok(path) => path.map(|path| Some(path.to_string())),
        Err(Noted) => Some(None),
    }
}

fn unwrapping(at: &At<'_>, supported: &Supported<'_>, destinations: usize) -> Option<Unwrapping> {
    let fields = at.fields(&names(UNWRAPPING));
    if !supported.memory {
        at.error(
            "auto-unseal needs a platform that keeps memory between requests; use `identity` with \
             `${NAME}` of a secret",
        );
        check(&fields, UNWRAPPING);
        return None;
    }
    let access = vault::access(&fields, UNWRAPPING, destinations);
    let transit = match group(&fields, "transit", UNWRAPPING) {
        Some(transit) => vault::transit(&transit),
        None => {
            at.missing(
                "transit",
                "write which key unwraps the identity: `{key: NAME}`",
            );
            None
        }
    };
    let wrapped = wrapped(&fields);
    Some(Unwrapping {
        access: access?,
        transit: transit?,
        wrapped: wrapped?,
    })
}

fn wrapped(fields: &Fields<'_>) -> Option<Wrapped> {
    let text = fields.get("identity").map_or(Ok(None), ciphertext);
    let file = fields.get("identity_file").map_or(Ok(None), At::path);
    match (text.ok()?, file.ok()?) {
        (Some(text), None) => Some(Wrapped::Text(text)),
        (None, Some(mut path)) => Some(Wrapped::File(std::mem::take(&mut *path))),
        (Some(_), Some(_)) => {
            let at = fields.get("identity_file")?;
            at.error("write one of `identity` and `identity_file`, not both");
            None
        }
        (None, None) => {
            fields.at.missing(
                "identity",
                "write what transit makes of this node's identity, or the path of a file with it as \
                 `identity_file`",
            );
            None
        }
    }
}

fn ciphertext(at: &At<'_>) -> Result<Option<String>, Noted> {
    let Some(text) = at.text()? else {
        return Ok(None);
    };
    let text = text.trim();
    if is_ciphertext(text) {
        return Ok(Some(text.to_owned()));
    }
    at.error(if text.parse::<Recipient>() == Err(InvalidText::Secret) {
        "this is the secret identity itself, and what transit makes of it belongs here: if others can \
         read this place, make a new identity"
    } else {
        "this is no ciphertext of transit, which begins with `vault:v1:`"
    });
    Err(Noted)
}

fn parsed<T>(
    at: &At<'_>,
    read: impl FnOnce(&str) -> Result<T, InvalidText>,
) -> Result<Option<T>, Noted> {
    let Some(text) = at.text()? else {
        return Ok(None);
    };
    read(text.trim()).map(Some).map_err(|why| {
        at.error(why.to_string());
        Noted
    })
}
