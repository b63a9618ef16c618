use std::fmt;

use crate::outgoing::Destination;
use crate::secret_text::SecretText;

/// What the configuration says of a Vault, `keystore.vault`.
///
/// KES's `status.ping` has no place here: nothing runs between requests that could ask. The store is
/// asked how it is whenever `/v1/ready` or `/v1/status` is asked for, and any request shows an outage.
///
/// It holds secrets, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// How the service gets there.
    pub access: Access,
    /// The path of the secrets engine, without slashes around it. Default: `kv`.
    pub engine: String,
    /// Which secrets engine that is. Default: `v1`.
    pub version: EngineVersion,
    /// The folder in the engine that has the keys, without slashes around it; may be empty.
    pub prefix: String,
    /// Encrypts what is stored, if it is set.
    pub transit: Option<Transit>,
}

/// What an operator should see of it: where keys are. There is no secret in it.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            access,
            engine,
            version,
            prefix,
            transit,
        } = self;
        let (origin, base) = (&access.server.origin, &access.base);
        write!(f, "{origin}{base}, engine {engine} ({version})")?;
        if !prefix.is_empty() {
            write!(f, ", prefix {prefix}")?;
        }
        if let Some(namespace) = &access.namespace {
            write!(f, ", namespace {namespace}")?;
        }
        match transit {
            Some(Transit { engine, key }) => write!(f, ", transit key {engine}/{key}"),
            None => Ok(()),
        }
    }
}

/// A Vault, and how the service gets into it.
///
/// It holds secrets, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// The server's place among the configured destinations.
    pub destination: usize,
    /// The server.
    pub server: Destination,
    /// What its paths begin with: empty, or `/` and more.
    pub base: String,
    /// The namespace of the engines; `None` for the root.
    pub namespace: Option<String>,
    /// How the service logs in.
    pub login: Login,
}

impl Access {
    /// The files that are read at each login.
    pub fn files(&self) -> Vec<String> {
        match &self.login.credentials {
            Credentials::Kubernetes {
                jwt: Jwt::File(path),
                ..
            } => vec![path.clone()],
            _ => Vec::new(),
        }
    }
}

/// A version of the secrets engine KV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineVersion {
    /// One value under a name.
    V1,
    /// Values have versions.
    V2,
}

/// As the configuration has it.
impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// A key of the transit engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transit {
    /// The engine's path. Default: `transit`.
    pub engine: String,
    /// The key's name.
    pub key: String,
}

/// How the service logs in.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The path of the authentication method. Default: its name.
    pub engine: String,
    /// Its namespace; `None` for the root. Default: that of the engines.
    pub namespace: Option<String>,
    /// What the service shows there.
    pub credentials: Credentials,
}

/// What the service shows to log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A role and its secret.
    AppRole {
        /// The role's id.
        id: SecretText,
        /// The secret's id.
        secret: SecretText,
    },
    /// A service account of Kubernetes.
    Kubernetes {
        /// The name of Vault's role.
        role: String,
        /// The account's token.
        jwt: Jwt,
    },
}

/// The token of a service account.
#[derive(Clone, PartialEq, Eq)]
pub enum Jwt {
    /// The token itself.
    Token(SecretText),
    /// Path of a file with it, which is read at each login: Kubernetes replaces it.
    File(String),
}

#[cfg(test)]
impl Access {
    /// A server with this origin, with an AppRole of these two, and all else as it is by default.
    pub fn by_role(origin: &str, id: &str, secret: &str) -> Self {
        let text = |text: &str| SecretText::new(text.to_owned().into());
        Self {
            destination: 0,
            server: Destination {
                origin: origin.to_owned(),
                authorities: None,
                certificate: None,
            },
            base: String::new(),
            namespace: None,
            login: Login {
                engine: "approle".to_owned(),
                namespace: None,
                credentials: Credentials::AppRole {
                    id: text(id),
                    secret: text(secret),
                },
            },
        }
    }
}
