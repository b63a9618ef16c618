//! The configuration, with what this door supports of it.

use sealedge_core::config::{Config, Parsed, Supported, parse};
use sealedge_core::route::configurable;

/// Reads a configuration (YAML): what it says, and what the operator should know, a line each.
/// `variable` gives the value of an environment variable.
///
/// # Errors
/// All that is wrong with it, a line each.
pub fn read(
    document: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<String>), Vec<String>> {
    let supported = Supported {
        keystores: &["fs", "mem", "vault"],
        tls: true,
        client_verification: true,
        memory: true,
        api_paths: &configurable(),
    };
    let Parsed { config, warnings } = parse(document, variable, &supported).map_err(lines)?;
    Ok((config, lines(warnings)))
}

fn lines(problems: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    problems
        .into_iter()
        .map(|problem| problem.to_string())
        .collect()
}
