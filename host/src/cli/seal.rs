//! `sealedge seal …`.

mod error;
mod progress;
mod rewrap;
mod store;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ring::rand::{SecureRandom, SystemRandom};
use sealedge_core::conceal::has_secret;
use sealedge_core::seal::{InvalidText, NodeIdentity};
use serde::Serialize;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::credential::read;
use super::error::Error;
use super::output::{Output, note};
use super::{Common, files, input};

pub use error::SealError;

/// Make identities of nodes, and seal what is in a key store
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    New(New),
    /// Print the recipient of an identity
    Of {
        /// The file of an identity, or - for standard input
        #[arg(value_name = "FILE")]
        of: String,
    },
    Rewrap(rewrap::Rewrap),
}

/// Make an identity, with which a node opens and signs sealed keys; prints its recipient
///
/// The identity is secret and belongs into `seal.unseal` of one node. The recipient is public and
/// belongs into `seal.recipients` of all nodes.
#[derive(Args)]
struct New {
    /// Write the identity to this file, which only its owner can read; - for standard output, and
    /// then the recipient goes to standard error
    #[arg(short, long, value_name = "FILE", default_value = "sealedge.identity")]
    out: PathBuf,
    /// Overwrite the file
    #[arg(short, long)]
    force: bool,
}

pub fn run(arguments: &Arguments, common: Common) -> Result<(), Error> {
    match &arguments.verb {
        Verb::New(new) => new.run(common),
        Verb::Of { of } => {
            let known = Known::of(&identity_of(of)?);
            Output::new(common).show(&known, |it| format!("{}\n", it.recipient))?;
            known.note(common);
            Ok(())
        }
        Verb::Rewrap(rewrap) => rewrap.run(common),
    }
}

/// What may be known of an identity.
#[derive(Clone, Serialize, Zeroize)]
struct Known {
    recipient: String,
    /// By which errors and the start of a server name it.
    fingerprint: String,
}

impl Known {
    fn of(identity: &NodeIdentity) -> Self {
        let recipient = identity.recipient();
        Self {
            recipient: recipient.to_string(),
            fingerprint: recipient.fingerprint().to_string(),
        }
    }

    /// Says what is not the result itself.
    fn note(&self, common: Common) {
        if !common.json {
            let fingerprint = &self.fingerprint;
            note(
                &format!("Its fingerprint in messages: {fingerprint}"),
                common,
            );
        }
    }
}

#[derive(Serialize)]
struct InFile<'a> {
    #[serde(flatten)]
    known: Known,
    file: &'a Path,
}

#[derive(Serialize, Zeroize, ZeroizeOnDrop)]
struct Printed {
    #[serde(flatten)]
    known: Known,
    identity: String,
}

impl New {
    fn run(&self, common: Common) -> Result<(), Error> {
        let identity = generate()?;
        let known = Known::of(&identity);
        if self.out == Path::new(input::STANDARD) {
            let new = Printed {
                known: known.clone(),
                identity: identity.text().to_owned(),
            };
            Output::new(common).show(&new, |it| format!("{}\n", it.identity))?;
            if !common.json {
                note(&format!("Its recipient: {}", known.recipient), common);
                known.note(common);
                tell("Keep the identity secret: it is not shown again.", common);
            }
            return Ok(());
        }
        let mut content = Zeroizing::new(String::with_capacity(identity.text().len() + 1));
        content.push_str(identity.text());
        content.push('\n');
        files::write_secret(&self.out, content.as_bytes(), self.force)?;
        let new = InFile {
            known,
            file: &self.out,
        };
        Output::new(common).show(&new, |it| format!("{}\n", it.known.recipient))?;
        new.known.note(common);
        let file = self.out.display();
        tell(
            &format!("The identity is in `{file}`: keep it secret."),
            common,
        );
        Ok(())
    }
}

/// What to do with a new identity, for people.
fn tell(what: &str, common: Common) {
    if common.json {
        return;
    }
    for line in [
        what,
        "Without it, what is sealed for its recipient alone is lost: keep a copy.",
        "It belongs into `seal.unseal` of one node, the recipient into `seal.recipients` of all.",
    ] {
        note(line, common);
    }
}

fn generate() -> Result<NodeIdentity, Error> {
    let mut filled = Ok(());
    let identity = NodeIdentity::generate(&mut |buffer| {
        filled = filled.and(SystemRandom::new().fill(buffer));
    });
    filled.map(|()| identity).map_err(|_| Error::Random)
}

fn identity_of(of: &str) -> Result<NodeIdentity, Error> {
    // It may be one that is mistyped: a secret all the same.
    if has_secret(of) {
        return Err(Error::Seal(SealError::Argument));
    }
    let (source, content) = if of == input::STANDARD {
        ("standard input", input::read("identity")?)
    } else {
        (of, read(Path::new(of))?)
    };
    let text = str::from_utf8(&content).map_err(|_| InvalidText::NotAnIdentity);
    text.and_then(|text| text.trim().parse()).map_err(|reason| {
        Error::Seal(SealError::NoIdentity {
            source: source.to_owned(),
            reason,
        })
    })
}
