//! The configuration, in lines for the host.

use sealedge_core::config::{Config, Parsed, parse_for_host};

/// Reads a configuration (YAML): what it says, and what the operator should know, a line each.
/// `variable` gives the value of an environment variable.
///
/// # Errors
/// All that is wrong with it, a line each.
pub fn read(
    document: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<String>), Vec<String>> {
    let Parsed { config, warnings } = parse_for_host(document, variable).map_err(lines)?;
    Ok((config, lines(warnings)))
}

fn lines(problems: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    problems
        .into_iter()
        .map(|problem| problem.to_string())
        .collect()
}
