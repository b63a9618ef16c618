//! The configuration of the service: KES's `server-config.yaml`, version `v1`.
//!
//! [`parse`] reads it once, for every platform, and reports all that is wrong with it, each problem
//! with its line and field. What a platform can do is declared in [`Supported`].

mod auth;
mod keystore;
mod known;
mod proxies;
mod seal;
mod sections;
mod tls;
mod tree;
mod values;
mod vault;
mod walk;

#[cfg(test)]
mod tests;

pub use auth::{Auth, Once};
pub use seal::{Seal, Unseal, Unwrapping, Wrapped};
pub use tls::Tls;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use crate::auth::forwarded::Form;
use crate::conceal::conceal;
use crate::development;
use crate::identity::Identity;
use crate::name::Name;
use crate::outgoing::Destination;
use crate::route::configurable;
use crate::secret_text::SecretText;
use crate::store::vault::Settings as Vault;

/// Everything that the configuration says, with its defaults filled in.
///
/// It holds a password, so it has no `Debug`.
pub struct Config {
    /// Where to listen, `host:port`; an IPv6 host stands in brackets. Default: `0.0.0.0:7373`.
    pub address: String,
    /// The client that may do everything. `None` turns the admin off: the value is no identity,
    /// such as `disabled`.
    pub admin: Option<Identity>,
    /// The server's certificate and how clients prove who they are.
    pub tls: Tls,
    /// How clients may prove who they are, beside their certificates.
    pub auth: Auth,
    /// Settings of single routes, by the path as written in [`Supported::api_paths`].
    pub api: BTreeMap<String, ApiSettings>,
    /// What clients may do, by the policy's name. An identity stands in one policy at most, and
    /// neither the admin nor a proxy stands in any.
    pub policies: BTreeMap<Name, PolicySettings>,
    /// How long keys stay in memory.
    pub cache: CacheExpiry,
    /// What is logged.
    pub log: LogSettings,
    /// Keys to create at start if they are absent; each is named once.
    pub keys: Vec<Name>,
    /// Where keys are stored.
    pub keystore: Keystore,
    /// How what is stored is sealed; `None` leaves it as KES has it.
    pub seal: Option<Seal>,
    /// Whether it has a key that everybody knows, on a platform where such a configuration can get onto a server: then
    /// clients on the same machine alone are served.
    pub is_for_development: bool,
}

impl Config {
    /// The servers that the service needs: those of the key store, and then those that unwrap the node's
    /// identity. A request names one by its place here.
    pub fn destinations(&self) -> Vec<Destination> {
        let mut destinations = self.keystore.destinations();
        let of_seal = self.seal.iter().flat_map(|seal| seal.unseal.destinations());
        destinations.extend(of_seal);
        destinations
    }

    /// The files that are read while the service runs.
    pub fn files(&self) -> Vec<File> {
        let of_store = self.keystore.files().into_iter();
        let mut files: Vec<File> = of_store
            .map(|path| File {
                path,
                is_private: false,
            })
            .collect();
        files.extend(self.seal.iter().flat_map(|seal| seal.unseal.files()));
        files
    }
}

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Whether it is refused if others than its owner can read it.
    pub is_private: bool,
}

/// TLS proxies that may forward a client's certificate, the section `tls.proxy`.
///
/// It holds a secret, so it has no `Debug`.
pub struct Proxies {
    /// Those that show by mTLS who they are.
    pub identities: Vec<Identity>,
    /// The addresses of those that show it by a secret.
    pub addresses: Vec<IpNet>,
    /// That secret, of at least 32 bytes, if there are addresses.
    pub secret: Option<SecretText>,
    /// The header with the secret, in lower case. Default: `x-proxy-secret`.
    pub secret_header: String,
    /// How they write the certificate. Default: URL-escaped PEM.
    pub form: Form,
    /// The header in which they write it, in lower case. Default: that of the form.
    pub header: String,
}

impl Proxies {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.addresses.is_empty()
    }
}

impl Default for Proxies {
    fn default() -> Self {
        Self {
            identities: Vec::new(),
            addresses: Vec::new(),
            secret: None,
            secret_header: "x-proxy-secret".into(),
            form: Form::Pem,
            header: Form::Pem.header().into(),
        }
    }
}

/// The settings of one route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiSettings {
    /// Whether clients need no certificate and no policy here.
    pub skip_auth: bool,
    /// The time limit of a request. `None` keeps the route's own; so does a configured zero.
    pub timeout: Option<Duration>,
}

/// One policy (section 5 of the protocol's description).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySettings {
    /// Patterns of paths that are allowed: a prefix if the last character is `*`, else the path.
    pub allow: Vec<String>,
    /// Patterns of paths that are denied though `allow` has them.
    pub deny: Vec<String>,
    /// The clients that have this policy, each once.
    pub identities: Vec<Identity>,
}

/// How long a key stays in memory, the section `cache.expiry`.
///
/// KES reads a zero in `any` and in `unused` as "not set" and takes its default, and so do we, with
/// a warning: a zero must never come to mean that keys are kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheExpiry {
    /// A key's greatest age. Default: 5 minutes; never zero.
    pub any: Duration,
    /// A key is dropped when it was not used for so long. Default: 30 seconds; never zero.
    pub unused: Duration,
    /// How long keys are kept, whatever the other two say, while the key store can't be reached.
    /// Default: zero, which turns this off.
    pub offline: Duration,
}

impl Default for CacheExpiry {
    fn default() -> Self {
        Self {
            any: Duration::from_secs(5 * 60),
            unused: Duration::from_secs(30),
            offline: Duration::ZERO,
        }
    }
}

/// What is logged, the section `log`. Each is `on`, `off` or one of the levels `debug`, `info`,
/// `warn` and `error`, which all mean `on`: an event has no level here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Whether errors are written. Default: on.
    pub error: bool,
    /// Whether each request is written. Default: off.
    pub audit: bool,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            error: true,
            audit: false,
        }
    }
}

/// Where keys are stored, the section `keystore`.
///
/// It may hold secrets, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Keystore {
    /// In memory, lost at the end: `keystore: {mem: {}}`, which KES does not have.
    Memory,
    /// A folder with one file for each key.
    Fs {
        /// Path of the folder.
        path: String,
    },
    /// HashiCorp Vault or OpenBao.
    Vault(Box<Vault>),
    /// The Durable Objects of a Cloudflare Worker: `keystore: {cloudflare: {durableobjects: {}}}`, which
    /// KES does not have.
    DurableObjects,
    /// The key-value store of a Spin application: `keystore: {spin: {keyvalue: {}}}`, which KES does not have.
    SpinKeyValue {
        /// Whether creates are exact by its atomic `increment`, and refused where there is none. If not, one of
        /// racing creates may replace what another one has created. Default: true.
        atomics: bool,
    },
}

impl Keystore {
    /// The servers that the key store needs, the first ones of [`Config::destinations`].
    pub fn destinations(&self) -> Vec<Destination> {
        match self {
            Self::Vault(settings) => vec![settings.access.server.clone()],
            _ => Vec::new(),
        }
    }

    /// The files that the key store reads again and again.
    pub fn files(&self) -> Vec<String> {
        match self {
            Self::Vault(settings) => settings.access.files(),
            _ => Vec::new(),
        }
    }
}

/// What a platform can do. A configuration that asks for more is refused, by the field's name.
#[derive(Clone, Copy, Debug)]
pub struct Supported<'a> {
    /// The key stores, by their paths in the section `keystore`: `fs`, `mem`, `vault`,
    /// `cloudflare.durableobjects`, `spin.keyvalue`.
    pub keystores: &'a [&'a str],
    /// Whether it ends TLS itself, with `tls.key` and `tls.cert`. If not, these two and the password
    /// are refused, and the authorities are not in files.
    pub tls: bool,
    /// Whether it is Cloudflare that ends TLS, and tells of the certificates of clients.
    pub cloudflare: bool,
    /// Whether it has memory between requests. If not, `seal.unseal.vault` is refused: each request
    /// would wait for the server.
    pub memory: bool,
    /// Whether it has files. If not, every path of one is refused.
    pub files: bool,
    /// The paths that may stand in the section `api`, and whether each may have `skip_auth`.
    /// A path that ends in `/` takes a name after it; the configuration may leave out that slash.
    pub api_paths: &'a [(&'a str, bool)],
}

/// A configuration that can be used, and what is odd about it.
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// What probably is not meant, by line.
    pub warnings: Vec<Problem>,
}

/// Something wrong in the configuration. No value is quoted: it may be secret. Names are, and what looks
/// like a secret in them is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1. For a missing field it is the section's, and `None` if that is
    /// missing too.
    pub line: Option<usize>,
    /// The field's path, such as `policy.my-app.allow[0]`; empty for the file as a whole.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", conceal(&self.field))?;
        }
        f.write_str(&conceal(&self.message))
    }
}

/// Reads a configuration in YAML. A scalar that is wholly `${NAME}` stands for the variable `NAME`,
/// which `variables` looks up; an empty or null scalar counts as not set.
///
/// # Errors
///
/// All problems that keep the configuration from being used, by line; at least one.
pub fn parse(
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
    supported: &Supported<'_>,
) -> Result<Parsed, Vec<Problem>> {
    let tree = tree::read(text).map_err(|problem| vec![problem])?;
    let reader = walk::Reader::new(variables, supported.files);
    let config = sections::config(&reader.root(&tree), supported);
    let (errors, warnings) = reader.problems();
    match config {
        Some(config) if errors.is_empty() => Ok(Parsed { config, warnings }),
        _ => Err(errors),
    }
}

/// [`parse`] for the native host, be it the service in it or its command line.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_for_host(
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, Vec<Problem>> {
    let supported = Supported {
        keystores: &["fs", "mem", "vault"],
        tls: true,
        cloudflare: false,
        memory: true,
        files: true,
        api_paths: &configurable(),
    };
    parse(text, variables, &supported)
}

/// [`parse`] for Cloudflare Workers, where `variables` are secrets and variables of the Worker.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_for_workers(
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, Vec<Problem>> {
    let supported = Supported {
        keystores: &["cloudflare.durableobjects", "vault"],
        tls: false,
        cloudflare: true,
        memory: false,
        files: false,
        api_paths: &configurable(),
    };
    parse(text, variables, &supported)
}

/// [`parse`] for Spin, where `variables` are those of the application.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_for_spin(
    text: &str,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, Vec<Problem>> {
    let supported = Supported {
        keystores: &["spin.keyvalue", "vault"],
        tls: false,
        cloudflare: false,
        memory: false,
        files: false,
        api_paths: &configurable(),
    };
    let mut parsed = parse(text, variables, &supported)?;
    parsed.config.is_for_development = development::is_in(&parsed.config);
    if parsed.config.is_for_development {
        parsed.warnings.push(Problem {
            line: None,
            field: String::new(),
            message: development::WARNING.to_owned(),
        });
    }
    Ok(parsed)
}
