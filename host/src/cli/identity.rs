//! `sealedge identity …`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Subcommand, ValueEnum};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PublicKeyData};
use ring::rand::{SecureRandom, SystemRandom};
use sealedge_core::api_key::ApiKey;
use sealedge_core::identity::Identity;
use serde::Serialize;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::certificate::{self, CertificateError, Subject};
use super::client::Client;
use super::credential::{ask_password, read};
use super::error::Error;
use super::output::{Output, created, fields};
use super::protocol::{Identities, IdentityInfo};
use super::{Common, files, input};
use crate::private_key;

/// Make identities and show what is known of them
#[derive(Args)]
#[command(
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    override_usage = "sealedge identity [OPTIONS] <COMMAND>\n       sealedge identity [OPTIONS] <API_KEY|FILE>"
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The same as `identity of`
    #[arg(value_name = "API_KEY|FILE", required = true)]
    of: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    New(New),
    /// Print the identity of an API key or a certificate
    Of {
        /// An API key, the file of a certificate (PEM), or - for standard input, where other users
        /// and the shell's history do not see an API key
        #[arg(value_name = "API_KEY|FILE")]
        of: String,
    },
    /// Show what the server knows of an identity
    Info {
        /// The identity [default: your own]
        identity: Option<String>,
    },
    /// List the identities that have a policy
    Ls {
        /// An identity, or the beginning of identities and `*`
        #[arg(default_value = "*", hide_default_value = true)]
        pattern: String,
    },
}

/// Make an API key, or a private key and a certificate
///
/// Without arguments: prints a new API key and its identity. With any: writes a private key and a
/// self-signed certificate to files, for a server or a client.
#[derive(Args)]
struct New {
    /// The common name in the certificate [default: the identity]
    name: Option<String>,
    /// Write the private key to this file [default: private.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Write the certificate to this file [default: public.crt]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Overwrite the files
    #[arg(short, long)]
    force: bool,
    /// Put the private key under a password, which is asked for
    #[arg(long)]
    encrypt: bool,
    /// An IP address of the server that the certificate is for; may be repeated
    #[arg(long, value_delimiter = ',')]
    ip: Vec<IpAddr>,
    /// A host name of the server that the certificate is for; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    dns: Vec<String>,
    /// How long the certificate is valid, such as 90d or 720h [default: 720h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expiry: Option<Duration>,
    /// The kind of the private key [default: ed25519]
    #[arg(long)]
    algorithm: Option<Algorithm>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Algorithm {
    /// Ed25519 (RFC 8032)
    #[default]
    Ed25519,
    /// ECDSA on P-256 (FIPS 186-5), for peers without Ed25519
    Ecdsa,
}

pub fn run(arguments: &Arguments, common: Common) -> Result<(), Error> {
    match (&arguments.verb, &arguments.of) {
        (Some(_), Some(_)) => {
            let message = "no command can follow an API key or a file\n";
            let error = clap::Error::raw(ErrorKind::ArgumentConflict, message);
            Err(Error::Usage(error))
        }
        (Some(Verb::New(new)), _) => new.run(common),
        (Some(Verb::Of { of }), _) | (None, Some(of)) => {
            let identity = identity_of(of)?.to_string();
            Output::new(common).show(&Known { identity }, |it| format!("{}\n", it.identity))
        }
        (Some(Verb::Info { identity }), _) => info(common, identity.as_deref()),
        (Some(Verb::Ls { pattern }), _) => {
            let client = Client::from_environment(common)?;
            Output::new(common)
                .show_names(|show| client.list::<Identities>("/v1/identity/list/", pattern, show))
        }
        // clap asks for one of them.
        (None, None) => Ok(()),
    }
}

#[derive(Serialize)]
struct Known {
    identity: String,
}

fn identity_of(of: &str) -> Result<Identity, Error> {
    if is_api_key(of) {
        return of_api_key("the argument", of);
    }
    let (source, content) = if of == input::STANDARD {
        ("standard input", input::read("API key or certificate")?)
    } else {
        (of, read(Path::new(of))?)
    };
    match std::str::from_utf8(&content).map(str::trim) {
        Ok(text) if is_api_key(text) => of_api_key("what is in it", text),
        _ => certificate::chain(&content)
            .and_then(|chain| certificate::identity(&chain))
            .map_err(|reason| Error::CertificateFile {
                path: source.into(),
                reason,
            }),
    }
}

fn is_api_key(text: &str) -> bool {
    text.starts_with("kes:")
}

fn of_api_key(source: &'static str, text: &str) -> Result<Identity, Error> {
    text.parse()
        .map(|key: ApiKey| key.identity())
        .map_err(|reason| Error::ApiKey { source, reason })
}

fn info(common: Common, identity: Option<&str>) -> Result<(), Error> {
    let client = Client::from_environment(common)?;
    let info: IdentityInfo = match identity {
        Some(identity) => {
            let (info, _) = client
                .get("/v1/identity/describe/", identity)
                .map_err(|error| error.about(identity))?;
            IdentityInfo {
                identity: Some(identity.to_owned()),
                ..info
            }
        }
        None => client.get("/v1/identity/self/describe", "")?.0,
    };
    Output::new(common).show(&info, |info| {
        let mut rows = Vec::new();
        rows.extend(info.identity.clone().map(|identity| ("identity", identity)));
        rows.extend(info.auth.clone().map(|method| ("auth", method)));
        rows.push(("role", if info.admin { "admin" } else { "user" }.to_owned()));
        rows.extend(
            info.policy
                .clone()
                .filter(|policy| !policy.is_empty())
                .map(|policy| ("policy", policy)),
        );
        rows.extend(created(&info.created));
        fields(&rows)
    })
}

#[derive(Serialize, Zeroize, ZeroizeOnDrop)]
struct NewApiKey {
    api_key: String,
    identity: String,
}

#[derive(Serialize)]
struct NewFiles {
    key: PathBuf,
    cert: PathBuf,
    identity: String,
}

impl New {
    fn run(&self, common: Common) -> Result<(), Error> {
        if self.wants_files() {
            self.write_files(common)
        } else {
            new_api_key(common)
        }
    }

    fn wants_files(&self) -> bool {
        self.name.is_some()
            || self.key.is_some()
            || self.cert.is_some()
            || !self.ip.is_empty()
            || !self.dns.is_empty()
            || self.expiry.is_some()
            || self.algorithm.is_some()
            || self.encrypt
    }

    fn write_files(&self, common: Common) -> Result<(), Error> {
        let key_file = self.key.clone().unwrap_or_else(|| "private.key".into());
        let certificate_file = self.cert.clone().unwrap_or_else(|| "public.crt".into());
        if key_file == certificate_file {
            return Err(Error::SameFile { path: key_file });
        }
        if !self.force {
            files::check_absent([&key_file, &certificate_file])?;
        }

        let key = self.algorithm.unwrap_or_default().generate()?;
        let identity = Identity::of_public_key(&key.subject_public_key_info());
        let certificate =
            certificate::self_signed(&key, self.subject(identity)).map_err(Error::Certificate)?;
        let mut pem = Zeroizing::new(key.serialize_pem());
        if self.encrypt {
            pem = private_key::encrypt(pem.as_bytes(), &new_password()?)
                .map_err(Error::Encryption)?;
        }
        files::write_secret(&key_file, pem.as_bytes(), self.force)?;
        files::write(&certificate_file, certificate.pem().as_bytes(), self.force)?;

        Output::new(common).show(
            &NewFiles {
                key: key_file,
                cert: certificate_file,
                identity: identity.to_string(),
            },
            |new| {
                fields(&[
                    ("private key", new.key.display().to_string()),
                    ("certificate", new.cert.display().to_string()),
                    ("identity", new.identity.clone()),
                ])
            },
        )
    }

    fn subject(&self, identity: Identity) -> Subject {
        Subject {
            name: self.name.clone().unwrap_or_else(|| identity.to_string()),
            alternative_names: self
                .dns
                .iter()
                .cloned()
                .chain(self.ip.iter().map(IpAddr::to_string))
                .collect(),
            validity: self.expiry.unwrap_or(Duration::from_secs(720 * 60 * 60)),
            usages: vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ],
        }
    }
}

impl Algorithm {
    /// A new key pair.
    fn generate(self) -> Result<KeyPair, Error> {
        match self {
            // Not the generator of rcgen: its PKCS#8 version 2 is not read by OpenSSL.
            Self::Ed25519 => certificate::key_pair(&random_api_key()?),
            Self::Ecdsa => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
                .map_err(CertificateError::Generate),
        }
        .map_err(Error::Certificate)
    }
}

fn new_password() -> Result<Zeroizing<String>, Error> {
    let password = ask_password("New password: ")?;
    let again = ask_password("Again: ")?;
    if password.is_empty() || password != again {
        Err(Error::NewPassword)
    } else {
        Ok(password)
    }
}

fn random_api_key() -> Result<ApiKey, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(&mut *seed)
        .map_err(|_| Error::Random)?;
    Ok(ApiKey::from_seed(&seed))
}

fn new_api_key(common: Common) -> Result<(), Error> {
    let key = random_api_key()?;
    let new = NewApiKey {
        api_key: key.to_text().to_string(),
        identity: key.identity().to_string(),
    };
    Output::new(common).show(&new, |new| {
        fields(&[("API key", new.api_key.clone()), ("identity", new.identity.clone())])
            + "\nKeep the API key secret: it is not shown again. The identity is public: give it a policy.\n"
    })
}

/// As Go and people write it: `720h`, `1h30m`, `90d`.
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::Span = text
        .parse()
        .map_err(|_| "a duration is written as 90d, 720h or 1h30m".to_owned())?;
    let duration = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "a duration is in days, hours, minutes and seconds".to_owned())?;
    Duration::try_from(duration)
        .ok()
        .filter(|it| !it.is_zero() && *it <= LONGEST)
        .ok_or_else(|| "the duration must be more than nothing and at most 100 years".to_owned())
}

const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|it| it.as_secs());
        assert_eq!(seconds("720h"), Ok(2_592_000));
        assert_eq!(seconds("90d"), Ok(7_776_000));
        assert_eq!(seconds("1h30m"), Ok(5_400));
        for bad in ["", "5", "-1h", "0s", "1mo", "101y", "40000d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_refused(text in ".{0,20}|[0-9a-z -]{0,20}") {
            if let Ok(found) = duration(&text) {
                prop_assert!(!found.is_zero() && found <= LONGEST);
            }
        }
    }
}
