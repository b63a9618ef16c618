//! What can go wrong on the command line, and what to do then.

use std::fmt;
use std::io;
use std::path::PathBuf;

use sealedge_core::api_key::NotAnApiKey;
use sealedge_core::identity::Identity;

use super::certificate::CertificateError;
use super::credential::{API_KEY, CERTIFICATE_FILE, KEY_FILE};
use super::endpoint::{Endpoint, NotAnEndpoint, SERVER};
use super::fault::Fault;
use super::seal::SealError;
use crate::private_key::PrivateKeyError;
use crate::proxy::ProxyError;
use crate::server::StartError;

/// Why a command failed. Its text says what happened, [`Error::hint`] what to do. Neither has a secret in it.
#[derive(Debug)]
pub enum Error {
    /// The arguments don't go together, which clap can't know.
    Usage(clap::Error),
    /// Some of several things could not be done: each one's reason, in their order.
    Several(Vec<Error>),
    /// Nothing was done for this name: the error before it would come again.
    NotTried {
        /// The name of the key.
        name: String,
    },
    /// No variable says who we are.
    NoCredential,
    /// A key file without a certificate file, or the reverse.
    HalfCredential {
        /// The variable that is set.
        set: &'static str,
        /// One of these should be, too.
        missing: [&'static str; 3],
    },
    /// What should be an API key is none.
    ApiKey {
        /// The variable or argument it came from.
        source: &'static str,
        /// What is wrong with it.
        reason: NotAnApiKey,
    },
    /// A server's address is none.
    Endpoint(NotAnEndpoint),
    /// A file could not be read.
    Read { path: PathBuf, reason: io::Error },
    /// A file could not be written.
    Write { path: PathBuf, reason: io::Error },
    /// A file is there already.
    Exists { path: PathBuf },
    /// One file was named for both the key and the certificate.
    SameFile { path: PathBuf },
    /// No certificate can be made.
    Certificate(CertificateError),
    /// A file has no certificate that can be used.
    CertificateFile {
        path: PathBuf,
        reason: CertificateError,
    },
    /// A file has no private key (no reason), or one that cannot be used with the certificate.
    KeyFile {
        path: PathBuf,
        reason: Option<rustls::Error>,
    },
    /// A private key is under a password in a way that is not read.
    OldEncryption { path: PathBuf },
    /// A private key under a password could not be read.
    PasswordOfKey {
        path: PathBuf,
        reason: PrivateKeyError,
    },
    /// A new private key could not be put under a password.
    Encryption(PrivateKeyError),
    /// There is no terminal to ask for a password at.
    AskPassword(io::Error),
    /// The new password was not typed twice, or is empty.
    NewPassword,
    /// The HTTP library does not take the private key.
    PrivateKey(ureq::Error),
    /// The certificates to trust could not be read, or there are none (no reason).
    Roots(Option<rustls_native_certs::Error>),
    /// The private key of the files can't sign requests.
    CannotSign,
    /// No server could be asked: each one's reason.
    Unreachable(Vec<(Endpoint, Fault)>),
    /// The server refused or failed.
    Answer(Answer),
    /// What the server sent is not of the KES protocol.
    Protocol {
        server: Endpoint,
        problem: ProtocolProblem,
    },
    /// A request could not be written as JSON.
    Encode(serde_json::Error),
    /// A text is not padded standard base64.
    NotBase64 {
        /// What the text should be.
        what: &'static str,
    },
    /// The operating system gave no random bytes.
    Random,
    /// Standard input could not be read.
    Input(io::Error),
    /// There is nothing on standard input.
    NoInput {
        /// What should be there.
        what: &'static str,
    },
    /// What is on standard input is no text.
    BinaryInput {
        /// What it should be.
        what: &'static str,
    },
    /// A request would be longer than servers take.
    LongRequest,
    /// Standard output could not be written.
    Output(io::Error),
    /// The server did not start, or its configuration can't be used.
    Server(StartError),
    /// The proxy did not start.
    Proxy(ProxyError),
    /// Nothing is sealed.
    Seal(SealError),
}

/// An answer other than 200.
#[derive(Debug)]
pub struct Answer {
    /// The key, policy or identity in question.
    pub subject: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// What the server says.
    pub message: String,
    /// The path asked for.
    pub path: String,
    /// Who asked.
    pub identity: Identity,
    /// Whether it has proved that by a signature, and has shown no certificate.
    pub is_signed: bool,
}

/// How an answer is not of the protocol.
#[derive(Debug)]
pub enum ProtocolProblem {
    /// The body is longer than 1 MiB.
    TooLong,
    /// The body of a success is not the JSON that it should be.
    Body(serde_json::Error),
    /// A listing goes on where it has been.
    EndlessList,
}

impl Error {
    /// The HTTP status, if it was the server that refused.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Answer(answer) => Some(answer.status),
            _ => None,
        }
    }

    /// The key, policy or identity that it is about.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Answer(answer) => answer.subject.as_deref(),
            Self::NotTried { name } => Some(name),
            Self::Seal(reason) => reason.name(),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let any_of = |names: [&str; 3]| names.join(", ");
        Some(match self {
            Self::NoCredential => format!(
                "set an API key ({}),\nor a key file ({})\nand a certificate file ({});\n`sealedge identity new` makes an API key",
                any_of(API_KEY),
                any_of(KEY_FILE),
                any_of(CERTIFICATE_FILE),
            ),
            Self::HalfCredential { missing, .. } => {
                format!("set one of {} as well", any_of(*missing))
            }
            Self::ApiKey { .. } => "`sealedge identity new` makes an API key".to_owned(),
            Self::Endpoint(_) => format!(
                "set one of {} to `host:port` or `https://host:port`",
                any_of(SERVER)
            ),
            Self::Exists { .. } => {
                "choose another file, or overwrite this one with --force".to_owned()
            }
            Self::SameFile { .. } => "name two files with --key and --cert".to_owned(),
            Self::KeyFile { reason: None, .. } => {
                "a PEM file with a PRIVATE KEY block is needed".to_owned()
            }
            Self::KeyFile { .. } => {
                "the key file and the certificate file must belong together".to_owned()
            }
            Self::OldEncryption { path } => format!(
                "rewrite it: openssl pkey -in {} -aes256 -out FILE",
                path.display()
            ),
            Self::AskPassword(_) => {
                "use a private key without a password, or an API key, where nobody can be asked"
                    .to_owned()
            }
            Self::CannotSign => {
                "set an API key, or the files of a key that signs (`sealedge identity new --key FILE --cert FILE`);\n\
                 a P-256 key in an older form is rewritten by `openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW`"
                    .to_owned()
            }
            Self::NewPassword => {
                "type the same password twice; an empty one protects nothing".to_owned()
            }
            Self::Roots(_) => "check SSL_CERT_FILE and SSL_CERT_DIR".to_owned(),
            Self::Unreachable(faults) => return faults.last().and_then(|(_, fault)| fault.hint()),
            Self::Answer(answer) => return answer.hint(),
            Self::Proxy(reason) => return reason.hint(),
            Self::Seal(reason) => return reason.hint(),
            Self::Protocol { server, .. } => format!("is {server} a sealedge or KES server?"),
            Self::NoInput { what: "message" } => {
                "an empty message can be given as an argument: ''".to_owned()
            }
            Self::BinaryInput { .. } => "give it in base64, as `base64 FILE` prints it".to_owned(),
            Self::NotBase64 { .. } => {
                "base64 with the alphabet `A-Za-z0-9+/` and `=` at the end is needed".to_owned()
            }
            _ => return None,
        })
    }

    /// The same error, saying which key, policy or identity it is about.
    pub fn about(mut self, subject: &str) -> Self {
        if let Self::Answer(answer) = &mut self {
            answer.subject = Some(subject.to_owned());
        }
        self
    }
}

impl Answer {
    fn hint(&self) -> Option<String> {
        Some(match (self.status, self.message.as_str()) {
            // As the server says it: a proxy before it has its own reasons.
            (403, "not authorized: insufficient permissions") => format!(
                "you are the identity {};\n\
                 let it do this by a policy on the server that allows `{}` and does not deny it",
                self.identity, self.path
            ),
            (400, "tls: client certificate is required") if self.is_signed => {
                "signatures don't count there, as at a `sealedge proxy`: show a certificate\n\
                 (--auth mtls, or SEALEDGE_AUTH)"
                    .to_owned()
            }
            (400, "tls: client certificate is required") => {
                "your certificate does not get to the server, so TLS ends before it: sign instead\n\
                 (--auth auto, with an API key or a private key that is Ed25519 or P-256)"
                    .to_owned()
            }
            (404, "key does not exist") => "`sealedge key ls` shows the keys that do".to_owned(),
            (404, "policy does not exist") => {
                "`sealedge policy ls` shows the policies that do".to_owned()
            }
            (404, "identity does not exist") => {
                "`sealedge identity ls` shows the identities that do".to_owned()
            }
            (400, "decryption failed: ciphertext is not authentic") => {
                "the key, the ciphertext or the context is not the one of the encryption".to_owned()
            }
            (502..=504, _) => {
                "the server has trouble with its key store; see its log and `sealedge status`"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(reason) => reason.fmt(f),
            Self::Several(errors) => {
                for (at, error) in errors.iter().enumerate() {
                    write!(f, "{}{error}", if at == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
            Self::NotTried { name } => write!(f, "`{name}`: not tried"),
            Self::NoCredential => {
                f.write_str("nothing says who you are: neither an API key nor a certificate is set")
            }
            Self::HalfCredential { set, .. } => {
                write!(f, "{set} is only one half of a key and its certificate")
            }
            Self::ApiKey { source, reason } => write!(f, "{source}: {reason}"),
            Self::Endpoint(reason) => reason.fmt(f),
            Self::Read { path, reason } => write!(f, "cannot read `{}`: {reason}", path.display()),
            Self::Write { path, reason } => {
                write!(f, "cannot write `{}`: {reason}", path.display())
            }
            Self::Exists { path } => write!(f, "`{}` exists", path.display()),
            Self::SameFile { path } => write!(
                f,
                "`{}` cannot hold both key and certificate",
                path.display()
            ),
            Self::Certificate(reason) => reason.fmt(f),
            Self::CertificateFile { path, reason } => write!(f, "`{}`: {reason}", path.display()),
            Self::KeyFile { path, reason: None } => {
                write!(f, "`{}`: there is no private key in it", path.display())
            }
            Self::KeyFile {
                path,
                reason: Some(reason),
            } => {
                write!(
                    f,
                    "`{}`: the private key cannot be used: {reason}",
                    path.display()
                )
            }
            Self::OldEncryption { path } => write!(
                f,
                "`{}`: the private key is under a password in an old, weak way",
                path.display()
            ),
            Self::PasswordOfKey { path, reason } => write!(f, "`{}`: {reason}", path.display()),
            Self::Encryption(reason) => reason.fmt(f),
            Self::AskPassword(reason) => write!(f, "cannot ask for a password: {reason}"),
            Self::NewPassword => f.write_str("no new password"),
            Self::CannotSign => f.write_str("requests can't be signed by this private key: it has to be Ed25519, or ECDSA on P-256, in PKCS#8"),
            Self::PrivateKey(reason) => write!(f, "the private key cannot be used: {reason}"),
            Self::Roots(None) => f.write_str("there is no certificate to trust"),
            Self::Roots(Some(reason)) => {
                write!(f, "cannot read the certificates to trust: {reason}")
            }
            Self::Unreachable(faults) => {
                for (at, (server, fault)) in faults.iter().enumerate() {
                    write!(f, "{}{server}: {fault}", if at == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
            Self::Answer(Answer {
                subject: Some(subject),
                message,
                ..
            }) => write!(f, "`{subject}`: {message}"),
            Self::Answer(answer) => f.write_str(&answer.message),
            Self::Protocol { server, problem } => write!(f, "{server}: {problem}"),
            Self::Encode(reason) => write!(f, "cannot write JSON: {reason}"),
            Self::NotBase64 { what } => write!(f, "the {what} is not base64"),
            Self::Random => f.write_str("the operating system gives no random bytes"),
            Self::Input(reason) => write!(f, "cannot read standard input: {reason}"),
            Self::NoInput { what } => {
                write!(f, "standard input is empty: the {what} should be there")
            }
            Self::BinaryInput { what } => write!(f, "the {what} on standard input is binary"),
            Self::LongRequest => f.write_str("the request would be longer than 1 MiB"),
            Self::Output(reason) => write!(f, "cannot write standard output: {reason}"),
            Self::Server(reason) => reason.fmt(f),
            Self::Proxy(reason) => reason.fmt(f),
            Self::Seal(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for ProtocolProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the answer is longer than 1 MiB"),
            // serde_json would quote a part of the body; where it stopped is enough.
            Self::Body(reason) => write!(
                f,
                "the answer is not as expected (at column {})",
                reason.column()
            ),
            Self::EndlessList => f.write_str("the listing never ends"),
        }
    }
}
