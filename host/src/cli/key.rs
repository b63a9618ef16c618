//! `sealedge key …` and `sealedge ls`.

use std::io::{IsTerminal, Read, stdin};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::Common;
use super::client::Client;
use super::error::Error;
use super::output::{Output, created, fields};
use super::protocol::{Ciphertext, Decrypt, Dek, Encrypt, Generate, Import, Key, Names, Plaintext};

/// Create, list, use and delete keys
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Create keys
    Create {
        /// The names of the new keys
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Import a key
    Import {
        /// The name of the new key
        name: String,
        /// The key: 32 bytes in base64; better give it on standard input, where other users and
        /// the shell's history do not see it
        key: Option<String>,
        /// What the key encrypts with
        #[arg(long, default_value = "AES256", value_parser = PossibleValuesParser::new(["AES256", "ChaCha20"]))]
        cipher: String,
    },
    /// Show what is known of a key
    Info {
        /// The name of the key
        name: String,
    },
    /// List keys
    Ls(Pattern),
    /// Delete keys; what they encrypted can never be decrypted again
    Rm {
        /// The names of the keys
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Encrypt a message; prints the ciphertext in base64
    Encrypt {
        /// The name of the key
        name: String,
        /// The text to encrypt
        message: String,
        /// What the ciphertext is bound to, in base64; needed again to decrypt
        context: Option<String>,
    },
    /// Decrypt a ciphertext; prints the plaintext in base64
    Decrypt {
        /// The name of the key
        name: String,
        /// The ciphertext in base64
        ciphertext: String,
        /// The context given to encrypt, in base64
        context: Option<String>,
    },
    /// Make a data encryption key (DEK); prints it in plain and encrypted under the key, in base64
    Dek {
        /// The name of the key
        name: String,
        /// What the ciphertext is bound to, in base64; needed again to decrypt
        context: Option<String>,
    },
}

#[derive(Args)]
struct Pattern {
    /// A name, or the beginning of names and `*`
    #[arg(default_value = "*", hide_default_value = true)]
    pattern: String,
}

/// List keys, as `key ls`
#[derive(Args)]
pub struct TopLevelList {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pattern: Pattern,
}

impl TopLevelList {
    pub fn run(&self) -> Result<(), Error> {
        list(
            &Client::from_environment(self.common.insecure)?,
            self.common,
            &self.pattern,
        )
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Error> {
    let common = arguments.common;
    let client = Client::from_environment(common.insecure)?;
    match &arguments.verb {
        Verb::Create { names } => each(names, |name| client.put("/v1/key/create/", name)),
        Verb::Import { name, key, cipher } => {
            let key = key
                .clone()
                .map_or_else(key_from_input, |key| Ok(Zeroizing::new(key)))?;
            let key = checked_base64("key", key.trim())?;
            client
                .send("/v1/key/import/", name, &Import { key, cipher })
                .map_err(|error| error.about(name))
        }
        Verb::Info { name } => info(&client, common, name),
        Verb::Ls(pattern) => list(&client, common, pattern),
        Verb::Rm { names } => each(names, |name| client.delete("/v1/key/delete/", name)),
        Verb::Encrypt {
            name,
            message,
            context,
        } => {
            let plaintext = Zeroizing::new(STANDARD.encode(message));
            let body = Encrypt {
                plaintext: &plaintext,
                context: checked_context(context.as_deref())?,
            };
            let answer = client
                .ask("/v1/key/encrypt/", name, &body)
                .map_err(|error| error.about(name))?;
            Output::of_data(common).show(&answer, |it: &Ciphertext| {
                fields(&[("ciphertext", it.ciphertext.clone())])
            })
        }
        Verb::Decrypt {
            name,
            ciphertext,
            context,
        } => {
            let ciphertext = checked_base64("ciphertext", ciphertext)?;
            let body = Decrypt {
                ciphertext,
                context: checked_context(context.as_deref())?,
            };
            let answer = client
                .ask("/v1/key/decrypt/", name, &body)
                .map_err(|error| error.about(name))?;
            Output::of_data(common).show(&answer, plaintext_fields)
        }
        Verb::Dek { name, context } => {
            let body = Generate {
                context: checked_context(context.as_deref())?,
            };
            let answer = client
                .ask("/v1/key/generate/", name, &body)
                .map_err(|error| error.about(name))?;
            Output::of_data(common).show(&answer, |it: &Dek| {
                fields(&[
                    ("plaintext", it.plaintext.clone()),
                    ("ciphertext", it.ciphertext.clone()),
                ])
            })
        }
    }
}

fn each(names: &[String], act: impl Fn(&str) -> Result<(), Error>) -> Result<(), Error> {
    names
        .iter()
        .try_for_each(|name| act(name).map_err(|error| error.about(name)))
}

fn info(client: &Client, common: Common, name: &str) -> Result<(), Error> {
    let (key, _) = client
        .get("/v1/key/describe/", name)
        .map_err(|error| error.about(name))?;
    Output::new(common).show(&key, |key: &Key| {
        let mut rows = vec![("name", key.name.clone())];
        rows.extend(
            key.algorithm
                .clone()
                .map(|algorithm| ("algorithm", algorithm)),
        );
        rows.extend(created(&key.created));
        fields(&rows)
    })
}

fn list(client: &Client, common: Common, Pattern { pattern }: &Pattern) -> Result<(), Error> {
    Output::new(common).show_names(|show| client.list::<Names>("/v1/key/list/", pattern, show))
}

fn key_from_input() -> Result<Zeroizing<String>, Error> {
    if stdin().is_terminal() {
        eprintln!("Type the key in base64, then Enter and Ctrl-D:");
    }
    // A key of 32 bytes has 44 characters; the limit keeps a wrong file out of memory.
    let mut text = Zeroizing::new(String::with_capacity(4096));
    stdin()
        .take(4096)
        .read_to_string(&mut text)
        .map_err(Error::Input)?;
    Ok(text)
}

fn checked_context(context: Option<&str>) -> Result<Option<&str>, Error> {
    context
        .map(|text| checked_base64("context", text))
        .transpose()
}

/// The text, if it is base64: the server would only say that the request is invalid.
fn checked_base64<'a>(what: &'static str, text: &'a str) -> Result<&'a str, Error> {
    match STANDARD.decode(text).map(Zeroizing::new) {
        Ok(_) => Ok(text),
        Err(_) => Err(Error::NotBase64 { what }),
    }
}

/// The plaintext in base64, and as text if it is text.
fn plaintext_fields(answer: &Plaintext) -> String {
    let mut rows = vec![("plaintext", answer.plaintext.clone())];
    let text = STANDARD
        .decode(&answer.plaintext)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    rows.extend(
        text.filter(|text| !text.is_empty() && !text.contains(char::is_control))
            .map(|text| ("as text", text)),
    );
    fields(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintexts_that_are_text_are_shown_as_such() {
        let shown = |bytes: &[u8]| {
            anstream::adapter::strip_str(&plaintext_fields(&Plaintext {
                plaintext: STANDARD.encode(bytes),
            }))
            .to_string()
        };
        assert_eq!(shown(b"Hello"), "plaintext  SGVsbG8=\nas text    Hello\n");
        assert_eq!(shown(b"\x1b[2J"), "plaintext  G1sySg==\n");
        assert_eq!(shown(&[0xff, 0xfe]), "plaintext  //4=\n");
        assert_eq!(shown(b""), "plaintext  \n");
    }

    #[test]
    fn only_padded_standard_base64_is_taken() {
        assert!(checked_base64("key", "SGVsbG8=").is_ok());
        for bad in ["SGVsbG8", "SGVs bG8=", "_-==", "\u{e4}"] {
            assert!(
                matches!(
                    checked_base64("key", bad),
                    Err(Error::NotBase64 { what: "key" })
                ),
                "{bad}"
            );
        }
    }
}
