//! `sealedge key …` and `sealedge ls`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use super::client::Client;
use super::error::Error;
use super::output::{Output, created, fields};
use super::protocol::{Ciphertext, Decrypt, Dek, Encrypt, Generate, Import, Key, Names, Plaintext};
use super::{Common, input};

/// Create, list, use and delete keys
#[derive(Args)]
pub struct Arguments {
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
        /// The key: 32 bytes in base64; better give it on standard input (-), where other users and
        /// the shell's history do not see it
        #[arg(default_value = input::STANDARD)]
        key: String,
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
        /// The text to encrypt, or - for standard input: all its bytes, a line's end too
        message: String,
        /// What the ciphertext is bound to, in base64 (or -); needed again to decrypt
        context: Option<String>,
    },
    /// Decrypt a ciphertext; prints the plaintext in base64
    Decrypt {
        /// The name of the key
        name: String,
        /// The ciphertext in base64, or - for standard input: base64, or JSON as encrypt and dek print it
        ciphertext: String,
        /// The context given to encrypt, in base64 (or -)
        context: Option<String>,
    },
    /// Make a data encryption key (DEK); prints it in plain and encrypted under the key, in base64
    Dek {
        /// The name of the key
        name: String,
        /// What the ciphertext is bound to, in base64 (or -); needed again to decrypt
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
    pattern: Pattern,
}

impl TopLevelList {
    pub fn run(&self, common: Common) -> Result<(), Error> {
        let client = Client::from_environment(common)?;
        list(&client, common, &self.pattern)
    }
}

pub fn run(arguments: &Arguments, common: Common) -> Result<(), Error> {
    let client = Client::from_environment(common)?;
    match &arguments.verb {
        Verb::Create { names } => each(names, |name| client.put("/v1/key/create/", name)),
        Verb::Import { name, key, cipher } => {
            let key = &input::base64("key", key.trim())?;
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
            check_one_input(message, context.as_deref())?;
            let plaintext = Zeroizing::new(if message == input::STANDARD {
                STANDARD.encode(&*input::read("message")?)
            } else {
                STANDARD.encode(message)
            });
            let context = read_context(context.as_deref())?;
            let body = Encrypt {
                plaintext: &plaintext,
                context: context.as_deref().map(String::as_str),
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
            check_one_input(ciphertext, context.as_deref())?;
            let ciphertext = input::ciphertext(ciphertext)?;
            let context = read_context(context.as_deref())?;
            let body = Decrypt {
                ciphertext: &ciphertext,
                context: context.as_deref().map(String::as_str),
            };
            let answer = client
                .ask("/v1/key/decrypt/", name, &body)
                .map_err(|error| error.about(name))?;
            Output::of_data(common).show(&answer, plaintext_fields)
        }
        Verb::Dek { name, context } => {
            let context = read_context(context.as_deref())?;
            let body = Generate {
                context: context.as_deref().map(String::as_str),
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

/// Does it for each name, also after the server has refused one. An error that each of the others would
/// meet, such as a server that is not there, ends it.
fn each(names: &[String], act: impl Fn(&str) -> Result<(), Error>) -> Result<(), Error> {
    let mut errors = Vec::new();
    let mut names = names.iter();
    for name in names.by_ref() {
        match act(name).map_err(|error| error.about(name)) {
            Ok(()) => {}
            Err(error @ Error::Answer(_)) => errors.push(error),
            Err(error) => {
                errors.push(error);
                break;
            }
        }
    }
    errors.extend(names.cloned().map(|name| Error::NotTried { name }));
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::Several(errors)),
    }
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

/// Refuses two arguments that stand for the one standard input.
fn check_one_input(argument: &str, context: Option<&str>) -> Result<(), Error> {
    if argument == input::STANDARD && context == Some(input::STANDARD) {
        let message = "only one argument can be on standard input (-)\n";
        return Err(Error::Usage(clap::Error::raw(
            ErrorKind::ArgumentConflict,
            message,
        )));
    }
    Ok(())
}

fn read_context(context: Option<&str>) -> Result<Option<Zeroizing<String>>, Error> {
    context
        .map(|argument| input::base64("context", argument))
        .transpose()
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
}
