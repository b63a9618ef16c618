//! What can go wrong with a request, and the one place that turns it into HTTP.
//!
//! Each error has two readers. The client gets a status and a message that many programs compare
//! to the letter (section 4 of the protocol), so nothing of the inside may show in it. The operator
//! gets [`Error::detail`] in the error log: hosts, paths, the reason.

use std::fmt;

use crate::api_key::NotAnApiKey;
use crate::auth::forwarded::Form;
use crate::auth::nonces::Replay;
use crate::auth::signature::SignatureError;
use crate::auth::{BadHeader, Method};
use crate::certificate::ForwardedError;
use crate::conceal::conceal;
use crate::identity::Identity;
use crate::key::{CorruptKey, InvalidKeySize, NoHmacKey, UnsupportedCipher};
use crate::name::Name;
use crate::sealing::SealingError;
use crate::store::StoreError;

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No route has this path.
    NoRoute,
    /// The path's percent-encoding is broken.
    BadPath,
    /// The route takes another method.
    Method {
        /// The request's method.
        got: String,
        /// The route's.
        expected: &'static str,
    },
    /// The route wants a certificate, and there is none.
    NoCertificate,
    /// The same where clients can't show a certificate.
    NoCredential,
    /// More than one certificate could be the client's.
    SeveralCertificates,
    /// The client's certificate is not the one whose key signed the handshake.
    CertificateNotFirst,
    /// One of the certificates is none.
    UnreadableCertificate,
    /// The client's certificate has expired since its connection began.
    ExpiredCertificate,
    /// The client's certificate is not trusted, or not any more.
    UntrustedCertificate,
    /// The header with a forwarded certificate came from a client that is no listed proxy.
    NotAProxy(NotAProxy),
    /// The forwarded certificate does not identify a client.
    Forwarded(ForwardedError),
    /// The request's signature proves nothing.
    Signature(SignatureError),
    /// A signed request is not answered.
    Replay(Replay),
    /// Clients may not prove in this way who they are.
    MethodOff(Method),
    /// More than one thing says who sends the request: these two, at least.
    SeveralCredentials(Method, Method),
    /// A header that may prove who sends the request can't be read.
    Header(BadHeader),
    /// A client has shown no certificate of a trusted authority, and must.
    NotCertified,
    /// A bearer key came over plain HTTP from elsewhere than this machine.
    ExposedKey,
    /// What is sent as a bearer key is none.
    BearerKey(NotAnApiKey),
    /// No policy allows the request.
    NotAllowed,
    /// A name breaks the rule for names.
    InvalidName(Kind, String),
    /// A pattern breaks the rule for patterns.
    InvalidPattern(String),
    /// The body is missing, too large, no JSON, or has the wrong fields.
    InvalidBody,
    /// The same for an import without a body, which KES words in another way.
    InvalidImport,
    /// An import of a key for an unknown cipher.
    Unsupported(UnsupportedCipher),
    /// An import of a key that is not as long as its cipher wants.
    KeySize(InvalidKeySize),
    /// The ciphertext is not authentic under key and context.
    NotAuthentic,
    /// The key was made before keys had a second one for HMAC.
    NoHmac(NoHmacKey),
    /// There is nothing of this kind and name.
    NotFound(Kind),
    /// A key of this name exists.
    KeyExists,
    /// The key store failed.
    Store {
        /// What was asked of it.
        action: Action,
        /// What it said.
        source: StoreError,
    },
    /// What is stored can't be sealed or opened.
    Sealing {
        /// What was to be done with it.
        action: Action,
        /// The key's name.
        name: Name,
        /// Why not.
        source: SealingError,
    },
    /// The node can't open what is stored, for its identity is not there.
    NotUnsealed(SealingError),
    /// What the key store holds is no key.
    Corrupt {
        /// The key's name.
        name: Name,
        /// What is wrong with it.
        source: CorruptKey,
    },
    /// The platform does not hand out logs.
    NoLogStreams,
    /// Nothing is counted on the platform.
    NoMetrics,
    /// The configuration has a key that everybody knows, and the client is elsewhere.
    Development,
    /// The request took longer than its route allows.
    TimedOut {
        /// The request's path.
        path: String,
        /// Who asked, if that was to be found out.
        client: Option<Identity>,
        /// From which address.
        ip: String,
    },
}

/// Why a client is no listed TLS proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAProxy {
    /// Neither its identity is listed nor its address, which is this one.
    NotListed(String),
    /// Its address is, and the header with the secret is missing, which is this one.
    NoSecret(String),
    /// What is in it is not the secret.
    WrongSecret(String),
}

impl fmt::Display for NotAProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed(ip) => write!(
                f,
                "remove the header, or add the proxy to tls.proxy, by its identity or its address, {ip}"
            ),
            Self::NoSecret(header) => write!(
                f,
                "its address is listed, and the secret is missing: send it in '{header}'"
            ),
            Self::WrongSecret(header) => write!(
                f,
                "its address is listed, and what it sends in '{header}' is not tls.proxy.secret"
            ),
        }
    }
}

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Kind {
    Key,
    Policy,
    Identity,
}

/// What the service wanted of the key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Action {
    Create,
    Read,
    List,
    Delete,
    Status,
}

impl Error {
    /// The HTTP status (RFC 9110, 15).
    pub fn status(&self) -> u16 {
        match self {
            Self::NoCertificate
            | Self::BadPath
            | Self::SeveralCertificates
            | Self::CertificateNotFirst
            | Self::UnreadableCertificate
            | Self::ExpiredCertificate
            | Self::UntrustedCertificate
            | Self::NotAProxy(_)
            | Self::Forwarded(_)
            | Self::Signature(_)
            | Self::Replay(Replay::Seen | Replay::Late)
            | Self::MethodOff(_)
            | Self::SeveralCredentials(..)
            | Self::Header(_)
            | Self::NotCertified
            | Self::ExposedKey
            | Self::BearerKey(_)
            | Self::InvalidName(..)
            | Self::InvalidPattern(_)
            | Self::InvalidBody
            | Self::InvalidImport
            | Self::NotAuthentic
            | Self::KeyExists => 400,
            Self::NoCredential => 401,
            Self::NotAllowed | Self::Development => 403,
            Self::NoRoute | Self::NotFound(_) => 404,
            Self::Method { .. } => 405,
            Self::Unsupported(_) | Self::KeySize(_) => 406,
            Self::NoHmac(_) => 409,
            Self::NoLogStreams | Self::NoMetrics => 501,
            Self::Store {
                action: Action::Status,
                source: StoreError::Unreachable(_),
            }
            | Self::NotUnsealed(SealingError::Away(_)) => 504,
            Self::Store { .. }
            | Self::Sealing { .. }
            | Self::NotUnsealed(_)
            | Self::Corrupt { .. } => 502,
            Self::TimedOut { .. } => 504,
            Self::Replay(Replay::Full | Replay::Away) => 503,
        }
    }

    /// Whether it is the key store that is away, or what unseals the node.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Store { source, .. } => matches!(source, StoreError::Unreachable(_)),
            Self::Sealing { source, .. } | Self::NotUnsealed(source) => {
                matches!(source, SealingError::Away(_))
            }
            _ => false,
        }
    }

    /// What the operator should read in the error log; `None` where the client alone is at fault.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Store { action, source } => Some(format!("{}: {source}", failed_to(*action))),
            Self::Sealing {
                action,
                name,
                source,
            } => Some(format!("{}: '{name}': {source}", failed_to(*action))),
            Self::NotUnsealed(source) => Some(source.to_string()),
            Self::Corrupt { name, source } => Some(format!(
                "failed to read key: what is stored for '{name}' is no key: {source}"
            )),
            Self::TimedOut { path, client, ip } => {
                let client =
                    client.map_or_else(|| "a client".to_owned(), |client| client.to_string());
                Some(format!("{self}: {path:?} for {client} at {ip}"))
            }
            _ => None,
        }
    }
}

/// The message for the client.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("404 page not found"),
            Self::BadPath => f.write_str("the path is not valid percent-encoded UTF-8"),
            Self::Method { got, expected } => {
                write!(f, "received method '{got}' expected '{expected}'")
            }
            Self::NoCertificate => f.write_str("tls: client certificate is required"),
            Self::NoCredential => f.write_str(
                "no credential: sign the request (RFC 9421), or send a bearer key where that is on",
            ),
            Self::SeveralCertificates => {
                f.write_str("tls: received more than one client certificate")
            }
            Self::CertificateNotFirst => {
                f.write_str("tls: the client certificate must be the first of its chain")
            }
            Self::UnreadableCertificate => f.write_str("tls: the client certificate is malformed"),
            Self::ExpiredCertificate => f.write_str("tls: the client certificate has expired"),
            Self::UntrustedCertificate => {
                f.write_str("tls: the client certificate is not trusted: no trusted authority has issued it, or it is revoked")
            }
            Self::NotAProxy(why) => write!(
                f,
                "tls: only a listed TLS proxy may forward a client certificate: {why}"
            ),
            Self::Forwarded(why) => write!(f, "tls: the forwarded client certificate {why}"),
            Self::Signature(why) => write!(f, "signature: {why}"),
            Self::Replay(why) => write!(f, "signature: {why}"),
            Self::MethodOff(method) => write!(
                f,
                "{method} is not taken here: use another credential, or turn it on in the section `auth`"
            ),
            Self::SeveralCredentials(one, other) => {
                write!(f, "more than one credential, {one} and {other}: send one")?;
                match one {
                    // Then the client can do nothing about it.
                    Method::Mtls => f.write_str(
                        " (the certificate of a TLS proxy is none, if tls.proxy.identities lists it)",
                    ),
                    _ => Ok(()),
                }
            }
            Self::Header(why) => why.fmt(f),
            Self::NotCertified => f.write_str(
                "a client certificate of a trusted authority is required: in the TLS handshake, or else in the \
                 header 'client-cert' of a signed request; bearer keys and keys alone are not enough",
            ),
            Self::ExposedKey => f.write_str(
                "a bearer key over plain HTTP, which others may have read: use another key, and HTTPS",
            ),
            Self::BearerKey(why) => why.fmt(f),
            Self::NotAllowed => f.write_str("not authorized: insufficient permissions"),
            Self::InvalidName(kind, name) => {
                let what = match kind {
                    Kind::Key => "key name",
                    Kind::Policy => "policy name",
                    Kind::Identity => "identity",
                };
                write!(
                    f,
                    "{what} '{}' is empty, too long or contains invalid characters",
                    conceal(name)
                )
            }
            Self::InvalidPattern(pattern) => {
                write!(
                    f,
                    "listing pattern '{}' is empty, too long or is invalid",
                    conceal(pattern)
                )
            }
            Self::InvalidBody => f.write_str("invalid request body"),
            Self::InvalidImport => f.write_str("invalid import key request body"),
            Self::Unsupported(error) => fmt::Display::fmt(error, f),
            Self::KeySize(error) => fmt::Display::fmt(error, f),
            Self::NotAuthentic => f.write_str("decryption failed: ciphertext is not authentic"),
            Self::NoHmac(error) => fmt::Display::fmt(error, f),
            Self::NotFound(Kind::Key) => f.write_str("key does not exist"),
            Self::NotFound(Kind::Policy) => f.write_str("policy does not exist"),
            Self::NotFound(Kind::Identity) => f.write_str("identity does not exist"),
            Self::KeyExists => f.write_str("key already exists"),
            Self::Store {
                action: Action::Status,
                source,
            } => f.write_str(match source {
                StoreError::Unreachable(_) => "key store is not reachable",
                _ => "key store is unavailable",
            }),
            Self::NotUnsealed(source) => f.write_str(match source {
                SealingError::Away(_) => "key store is not reachable",
                _ => "key store is unavailable",
            }),
            Self::Store { action, .. } | Self::Sealing { action, .. } => {
                f.write_str(failed_to(*action))
            }
            Self::Corrupt { .. } => f.write_str(failed_to(Action::Read)),
            Self::NoLogStreams => f.write_str(
                "logs can't be read as a stream here: read them where the platform keeps them",
            ),
            Self::NoMetrics => f.write_str(
                "there are no metrics here: nothing outlives a request on this platform, so nothing is counted; \
                 count the records of the audit log",
            ),
            Self::Development => f.write_str(
                "this server has a key for development that everybody knows, so it serves this machine alone: \
                 configure `admin.identity` and `seal` of your own",
            ),
            Self::TimedOut { .. } => f.write_str("the request took too long"),
        }
    }
}

impl std::error::Error for Error {}

const fn failed_to(action: Action) -> &'static str {
    match action {
        Action::Create => "failed to create key",
        Action::Read => "failed to read key",
        Action::List => "failed to list keys",
        Action::Delete => "failed to delete key",
        Action::Status => "the key store does not answer",
    }
}

impl fmt::Display for ForwardedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form(Form::Pem) => "is not one URL-escaped PEM certificate",
            Self::Form(Form::ClientCert) => "is not as RFC 9440 has it",
            Self::Form(Form::Der) => "is not DER in base64",
            Self::Form(Form::Xfcc) => {
                "is not in the last element of the header as `Cert`, URL-escaped PEM"
            }
            Self::Unreadable => "is malformed",
            Self::Usage => "is not for clients (its extended key usage)",
            Self::Authority => "is that of a certificate authority",
            Self::NotYetValid => "is not valid yet",
            Self::Expired => "has expired",
            Self::Untrusted => "is not of a trusted authority",
        })
    }
}
