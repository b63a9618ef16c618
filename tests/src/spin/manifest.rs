//! `spin.toml`, version 2, and what becomes of it under an operator's variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::hosts::Hosts;

/// What the harness reads of a manifest.
#[derive(Debug, Deserialize)]
struct Manifest {
    spin_manifest_version: u32,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    trigger: Triggers,
    component: BTreeMap<String, Component>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    #[expect(dead_code, reason = "known, so that a misspelt field is refused")]
    description: Option<String>,
    #[serde(default)]
    required: bool,
    default: Option<String>,
    #[expect(dead_code, reason = "likewise")]
    secret: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Triggers {
    http: Vec<HttpTrigger>,
}

#[derive(Debug, Deserialize)]
struct HttpTrigger {
    route: String,
    component: String,
}

#[derive(Debug, Deserialize)]
struct Component {
    source: String,
    #[serde(default)]
    key_value_stores: BTreeSet<String>,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    build: Option<Build>,
}

#[derive(Debug, Deserialize)]
struct Build {
    command: String,
    workdir: Option<PathBuf>,
}

/// A component as it is to be run.
#[derive(Debug)]
pub struct Resolved {
    /// What `spin build` runs, and where.
    pub build: Option<(String, PathBuf)>,
    /// The component.
    pub source: PathBuf,
    /// The labels of key-value stores that it may open.
    pub stores: BTreeSet<String>,
    /// Where it may send requests. An error, if an entry is none once its variables are in it: Spin starts
    /// nevertheless, and denies every request.
    pub hosts: Result<Hosts, String>,
    /// What it sees of the application's variables.
    pub variables: BTreeMap<String, String>,
    /// The values of the application's variables.
    pub values: BTreeMap<String, String>,
}

impl Resolved {
    /// Reads a manifest, which must have one component that answers all requests, and an `.env` if there is one;
    /// `given` goes before what is in there. Variables of the test's own environment count for nothing.
    ///
    /// # Errors
    /// What Spin would refuse to start for as well, and what this harness does not know.
    pub fn read(
        manifest: &Path,
        env: Option<&Path>,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let text = std::fs::read_to_string(manifest)
            .map_err(|reason| format!("{}: {reason}", manifest.display()))?;
        let mut set = env.map(read_env).transpose()?.unwrap_or_default();
        set.extend(given.clone());
        let folder = manifest.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder, &set)
    }

    /// The same from a manifest's text, whose paths begin at `folder`.
    ///
    /// # Errors
    /// As [`Resolved::read`].
    pub fn parse(
        text: &str,
        folder: &Path,
        set: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let mut manifest: Manifest = toml::from_str(text).map_err(|it| it.to_string())?;
        if manifest.spin_manifest_version != 2 {
            return Err("spin_manifest_version is not 2".into());
        }
        let [trigger] = manifest.trigger.http.as_slice() else {
            return Err("the harness runs one trigger".into());
        };
        if trigger.route != "/..." {
            return Err(format!("the harness knows no route {:?}", trigger.route));
        }
        let name = &trigger.component;
        let component = manifest
            .component
            .remove(name)
            .ok_or_else(|| format!("there is no component {name:?}"))?;
        let values = values(&manifest.variables, set)?;
        let mut variables = BTreeMap::new();
        for (name, template) in &component.variables {
            check_name(name)?;
            variables.insert(name.clone(), fill(template, &values)?);
        }
        Ok(Self {
            build: component.build.map(|build| {
                let place = build.workdir.map_or(folder.into(), |it| folder.join(it));
                (build.command, place)
            }),
            source: folder.join(component.source),
            stores: component.key_value_stores,
            hosts: hosts(&component.allowed_outbound_hosts, &values)?,
            variables,
            values,
        })
    }
}

/// The variables of an `.env`.
fn read_env(file: &Path) -> Result<BTreeMap<String, String>, String> {
    let problem = |reason: dotenvy::Error| format!("{}: {reason}", file.display());
    let mut set = BTreeMap::new();
    for entry in dotenvy::from_path_iter(file).map_err(problem)? {
        let (name, value) = entry.map_err(problem)?;
        if let Some(name) = name.strip_prefix("SPIN_VARIABLE_") {
            set.insert(name.to_lowercase(), value);
        }
    }
    Ok(set)
}

/// The value of each variable that is declared. What else is set is not noticed, as in Spin.
fn values(
    declared: &BTreeMap<String, Variable>,
    set: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    for (name, variable) in declared {
        check_name(name)?;
        if variable.required == variable.default.is_some() {
            return Err(format!(
                "the variable {name:?} must be required, or have a default"
            ));
        }
        let value = set.get(name).or(variable.default.as_ref());
        let value = value.ok_or_else(|| format!("the required variable {name:?} is not set"))?;
        values.insert(name.clone(), value.clone());
    }
    Ok(values)
}

/// Entries without variables are judged at the start, others not before a request is to be sent.
fn hosts(
    entries: &[String],
    values: &BTreeMap<String, String>,
) -> Result<Result<Hosts, String>, String> {
    let fixed = entries.iter().filter(|entry| !entry.contains("{{"));
    Hosts::parse(&fixed.cloned().collect::<Vec<_>>())?;
    let filled: Result<Vec<_>, _> = entries.iter().map(|it| fill(it, values)).collect();
    Ok(Hosts::parse(&filled?))
}

/// Whether Spin takes this as the name of a variable: in lower case, with single `_` in between.
///
/// # Errors
/// It is none.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let known = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    let is_name = name.starts_with(|it: char| it.is_ascii_lowercase())
        && name.chars().all(known)
        && !name.ends_with('_')
        && !name.contains("__");
    let why = "names have lower-case letters, digits and single underscores between them";
    is_name.then_some(()).ok_or(format!("{name:?}: {why}"))
}

/// Puts variables into a template.
fn fill(template: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((text, expression)) = rest.split_once("{{") {
        let (name, after) = expression
            .split_once("}}")
            .ok_or_else(|| format!("{template:?} has no end"))?;
        let name = name.trim();
        let value = values.get(name);
        filled.push_str(text);
        filled.push_str(value.ok_or_else(|| format!("there is no variable {name:?}"))?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}
