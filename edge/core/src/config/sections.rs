//! The sections of the configuration, but for `keystore`.

use std::collections::BTreeMap;
use std::fmt;

use super::auth::{auth, needs_authorities};
use super::keystore::keystore;
use super::seal::seal;
use super::tls::tls;
use super::walk::{At, Fields, Noted, listed, nearest};
use super::{ApiSettings, CacheExpiry, Config, Keystore, LogSettings, PolicySettings, Supported};
use crate::conceal::begins_as_identity;
use crate::identity::Identity;
use crate::name::Name;

const VERSION: &str = "v1";
const DEFAULT_ADDRESS: &str = "0.0.0.0:7373";
const NOT_SEALED: &str = "keys that the platform keeps have to be sealed: write `recipients`, and `unseal.identity` with `${NAME}` of a secret (`sealedge seal new`)";
const NOT_KEPT: &str = "without `seal` no sealed copies of keys are kept, so this lasts only as long as the platform keeps an instance in memory";
const NOT_A_NAME: &str = "a name is 1 to 80 of A-Z, a-z, 0-9, `-` and `_`, with `-` neither first nor last, and not `_` alone";
const NO_CLIENT: &str =
    "no client can have this identity: it is not 64 hexadecimal digits in lower case";

/// The whole configuration; `None` if it has no key store.
pub(super) fn config(root: &At<'_>, supported: &Supported<'_>) -> Option<Config> {
    let fields = root.fields(&[
        "version", "address", "admin", "tls", "auth", "api", "policy", "cache", "log", "keys",
        "keystore", "seal",
    ]);
    version(&fields);
    let mut holders = Holders::default();
    let address = fields
        .read("address", address)
        .unwrap_or_else(|| DEFAULT_ADDRESS.into());
    let admin = admin(root, fields.get("admin"), &mut holders);
    let tls = tls(root, fields.get("tls"), supported, &mut holders);
    let auth = fields.get("auth").map(|at| auth(at, tls.verify_clients));
    let auth = auth.unwrap_or_default();
    needs_authorities(root, &auth, supported);
    let api = fields
        .get("api")
        .map(|at| api(at, supported))
        .unwrap_or_default();
    let policies = fields
        .get("policy")
        .map(|at| policies(at, supported, &mut holders))
        .unwrap_or_default();
    let log = fields.get("log").map(log).unwrap_or_default();
    let keys = fields.get("keys").map(keys).unwrap_or_default();
    let keystore = keystore(root, fields.get("keystore"), supported);
    let destinations = keystore.as_ref().map_or(0, |it| it.destinations().len());
    // One with nothing in it is a mistake: what is stored would not be sealed.
    let section = fields.get("seal");
    let seal = section.map(|at| seal(at, supported, destinations));
    let is_kept_here = matches!(
        keystore,
        Some(Keystore::DurableObjects | Keystore::SpinKeyValue { .. })
    );
    if section.is_none() && is_kept_here {
        root.missing("seal", NOT_SEALED);
    }
    // Elsewhere memory lasts, and keys that the platform keeps itself are not away without it.
    let is_brief = !supported.memory
        && section.is_none()
        && keystore
            .as_ref()
            .is_some_and(|it| !it.destinations().is_empty());
    let cache = fields.get("cache").map(|at| cache(at, is_brief));
    let cache = cache.unwrap_or_default();
    Some(Config {
        address,
        admin,
        tls,
        auth,
        api,
        policies,
        cache,
        log,
        keys,
        keystore: keystore?,
        seal: match seal {
            Some(seal) => Some(seal?),
            None => None,
        },
        is_for_development: false,
    })
}

fn version(fields: &Fields<'_>) {
    let message = format!("write `version: {VERSION}`, the only version there is");
    if fields
        .required("version", &message)
        .is_some_and(|version| version != VERSION)
        && let Some(at) = fields.get("version")
    {
        at.error(message);
    }
}

fn address(at: &At<'_>) -> Result<Option<String>, Noted> {
    let Some(text) = at.text()? else {
        return Ok(None);
    };
    match host_and_port(&text) {
        Some((host, port)) => Ok(Some(format!("{host}:{port}"))),
        None => {
            at.error(format!(
                "write a host and a port, such as `{DEFAULT_ADDRESS}` or `[::1]:7373`"
            ));
            Err(Noted)
        }
    }
}

/// The parts of `host:port`; no host means every interface, as in Go.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port
        .parse()
        .ok()
        .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    let bare = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if bare.contains(|c: char| c.is_whitespace() || c.is_control() || "[]/".contains(c)) {
        return None;
    }
    Some((if host.is_empty() { "0.0.0.0" } else { host }, port))
}

fn admin(root: &At<'_>, section: Option<&At<'_>>, holders: &mut Holders) -> Option<Identity> {
    const MISSING: &str =
        "no admin; write the identity of the client that may do everything, or `disabled`";
    let Some(section) = section else {
        root.missing("admin.identity", MISSING);
        return None;
    };
    let fields = section.fields(&["identity"]);
    let text = fields.required("identity", MISSING)?;
    if text == "disabled" {
        return None;
    }
    let at = fields.get("identity")?;
    if let Some(mistake) = mistaken(&text) {
        at.error(mistake);
        return None;
    }
    match text.parse() {
        Ok(identity) => {
            holders.0.insert(identity, Role::Admin);
            Some(identity)
        }
        Err(_) => {
            at.warn("this turns the admin off: it is not 64 hexadecimal digits in lower case; write `disabled` if that is meant");
            None
        }
    }
}

/// What a text is that was meant to be an identity, if that can be told. It is not shown: it may be
/// a secret.
fn mistaken(text: &str) -> Option<&'static str> {
    if text.starts_with("kes:v1:") {
        return Some(
            "this is an API key and so a secret; write its identity (`sealedge identity of`), \
             and use another key if others can read this file",
        );
    }
    let is_upper = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_upper && text.parse::<Identity>().is_err()).then_some("write the identity in lower case")
}

fn api(section: &At<'_>, supported: &Supported<'_>) -> BTreeMap<String, ApiSettings> {
    let mut api = BTreeMap::new();
    for at in section.entries() {
        let fields = at.fields(&["skip_auth", "timeout"]);
        let settings = ApiSettings {
            skip_auth: fields.read("skip_auth", At::switch).unwrap_or_default(),
            timeout: fields
                .read("timeout", At::duration)
                .filter(|limit| !limit.is_zero()),
        };
        let Some((path, may_skip)) = route(&at, supported) else {
            continue;
        };
        if settings.skip_auth && !may_skip {
            let paths = supported.api_paths.iter().filter(|(_, may_skip)| *may_skip);
            let paths: Vec<&str> = paths.map(|(path, _)| *path).collect();
            at.error(format!(
                "`skip_auth` is only for {}; remove it here",
                listed(&paths)
            ));
        }
        if api.insert(path.to_owned(), settings).is_some() {
            at.error(format!(
                "the settings of `{path}` are here already; keep one of them"
            ));
        }
    }
    api
}

/// The path that this field names, and whether it may have `skip_auth`.
fn route<'s>(at: &At<'_>, supported: &Supported<'s>) -> Option<(&'s str, bool)> {
    let bare = |path: &str| path.strip_suffix('/').unwrap_or(path).to_owned();
    let name = bare(at.name());
    let found = supported
        .api_paths
        .iter()
        .find(|(path, _)| bare(path) == name);
    if found.is_none() {
        let paths: Vec<&str> = supported.api_paths.iter().map(|(path, _)| *path).collect();
        at.error(match nearest(at.name(), &paths) {
            Some(near) => format!("no such path; did you mean `{near}`?"),
            None => format!(
                "no such path; the paths with settings are {}",
                listed(&paths)
            ),
        });
    }
    found.copied()
}

fn policies(
    section: &At<'_>,
    supported: &Supported<'_>,
    holders: &mut Holders,
) -> BTreeMap<Name, PolicySettings> {
    let mut policies = BTreeMap::new();
    for at in section.entries() {
        let fields = at.fields(&["allow", "deny", "identities"]);
        let Some(name) = Name::new(at.name()) else {
            at.error(not_a_name(at.name()));
            continue;
        };
        let role = Role::Policy(name.clone());
        let identities = fields.get("identities").map(|list| {
            list.items()
                .filter_map(|at| holders.claim(&at, &role))
                .collect()
        });
        let settings = PolicySettings {
            allow: patterns(fields.get("allow"), supported),
            deny: patterns(fields.get("deny"), supported),
            identities: identities.unwrap_or_default(),
        };
        policies.insert(name, settings);
    }
    policies
}

fn patterns<'w>(list: Option<&'w At<'w>>, supported: &Supported<'_>) -> Vec<String> {
    let items = list.into_iter().flat_map(At::items);
    items.filter_map(|at| pattern(&at, supported)).collect()
}

fn pattern(at: &At<'_>, supported: &Supported<'_>) -> Option<String> {
    let text = at.text().ok()?;
    let pattern = text
        .map(|mut text| std::mem::take(&mut *text))
        .unwrap_or_default();
    let prefix = pattern.strip_suffix('*');
    if prefix.unwrap_or(&pattern).contains('*') {
        at.warn("a `*` that is not last stands for itself only, so this matches no usual path");
    } else if !pattern.starts_with('/') && prefix != Some("") {
        // A path begins with `/`; the prefix "" is every path.
        at.warn("this matches nothing: a path begins with `/`");
    } else if !reaches(&pattern, supported) {
        at.warn("this matches nothing: the API has no such path");
    }
    Some(pattern)
}

/// Whether a pattern can match a path of the API.
fn reaches(pattern: &str, supported: &Supported<'_>) -> bool {
    let prefix = pattern.strip_suffix('*');
    supported.api_paths.iter().any(|(path, _)| {
        let path = path.strip_suffix('/').unwrap_or(path);
        prefix.is_some_and(|prefix| path.starts_with(prefix))
            || pattern
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// `is_brief`: only memory has what `offline` is about, and that does not last.
fn cache<'w>(section: &'w At<'w>, is_brief: bool) -> CacheExpiry {
    let mut expiry = CacheExpiry::default();
    let fields = section.fields(&["expiry"]);
    let Some(at) = fields.get("expiry") else {
        return expiry;
    };
    let fields = at.fields(&["any", "unused", "offline"]);
    for (name, limit) in [("any", &mut expiry.any), ("unused", &mut expiry.unused)] {
        let Some(at) = fields.get(name) else { continue };
        match at.duration() {
            Ok(Some(duration)) if duration.is_zero() => {
                at.warn(format!(
                    "0 means the default, {limit:?}; write a short time instead"
                ));
            }
            Ok(Some(duration)) => *limit = duration,
            Ok(None) | Err(Noted) => {}
        }
    }
    expiry.offline = fields
        .read("offline", At::duration)
        .unwrap_or(expiry.offline);
    if is_brief
        && !expiry.offline.is_zero()
        && let Some(at) = fields.get("offline")
    {
        at.warn(NOT_KEPT);
    }
    expiry
}

fn log<'w>(section: &'w At<'w>) -> LogSettings {
    const WORDS: [(&str, bool); 8] = [
        ("on", true),
        ("off", false),
        ("true", true),
        ("false", false),
        ("debug", true),
        ("info", true),
        ("warn", true),
        ("error", true),
    ];
    let default = LogSettings::default();
    let fields = section.fields(&["error", "audit"]);
    let read = |name| fields.read(name, |at| at.one_of(&WORDS));
    LogSettings {
        error: read("error").unwrap_or(default.error),
        audit: read("audit").unwrap_or(default.audit),
    }
}

fn not_a_name(text: &str) -> &'static str {
    if begins_as_identity(text) {
        "this is a node's identity, which is secret, and a name belongs here"
    } else {
        NOT_A_NAME
    }
}

fn keys<'w>(section: &'w At<'w>) -> Vec<Name> {
    let mut lines = BTreeMap::new();
    let mut keys = Vec::new();
    for at in section.items() {
        let fields = at.fields(&["name"]);
        let Some(text) = fields.required("name", "write the name of the key") else {
            continue;
        };
        let Some(at) = fields.get("name") else {
            continue;
        };
        let Some(name) = Name::new(&text) else {
            at.error(not_a_name(&text));
            continue;
        };
        match lines.get(&name) {
            Some(line) => at.error(format!(
                "this key is on line {line} already; keep one of them"
            )),
            None => {
                lines.insert(name.clone(), at.line);
                keys.push(name);
            }
        }
    }
    keys
}

/// What an identity stands for in the configuration.
#[derive(Clone, PartialEq)]
pub(super) enum Role {
    Admin,
    Proxy,
    Policy(Name),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("the admin"),
            Self::Proxy => f.write_str("a TLS proxy"),
            Self::Policy(name) => write!(f, "in the policy `{name}`"),
        }
    }
}

/// The identities so far; each has one role.
#[derive(Default)]
pub(super) struct Holders(BTreeMap<Identity, Role>);

impl Holders {
    /// The identity at this place, if it is one and is new.
    pub(super) fn claim(&mut self, at: &At<'_>, role: &Role) -> Option<Identity> {
        let text = at.text().ok()?;
        if let Some(mistake) = text.as_ref().and_then(|text| mistaken(text)) {
            at.error(mistake);
            return None;
        }
        let Some(identity) = text.and_then(|text| text.parse().ok()) else {
            at.warn(NO_CLIENT);
            return None;
        };
        match self.0.get(&identity) {
            Some(first) if first == role => {
                at.warn("this identity is in the list already");
                None
            }
            Some(first) => {
                at.error(format!(
                    "this identity is {first} already and can't be {role} too"
                ));
                None
            }
            None => {
                self.0.insert(identity, role.clone());
                Some(identity)
            }
        }
    }
}
