//! The configuration, from the variables of the application.

use sealedge_core::config::{Config, Parsed, parse_for_spin};
use spin_sdk::variables;

/// The variable with the configuration (YAML).
const NAME: &str = "sealedge_config";

/// Reads the configuration: what it says, and what the operator should know, a line each.
///
/// It is never in the key-value store: whoever writes that must not change a policy.
///
/// # Errors
/// All that is wrong with it, a line each.
pub fn read() -> Result<(Config, Vec<String>), Vec<String>> {
    let document = variable(NAME).ok_or_else(|| {
        vec![format!(
            "there is no configuration: give the application the variable `{NAME}`, such as by `SPIN_VARIABLE_{}`",
            NAME.to_uppercase()
        )]
    })?;
    let line = |problem: &dyn ToString| format!("{NAME}: {}", problem.to_string());
    match parse_for_spin(&document, &|name| variable(&name.to_lowercase())) {
        Ok(Parsed { config, warnings }) => {
            Ok((config, warnings.iter().map(|it| line(it)).collect()))
        }
        Err(problems) => Err(problems.iter().map(|it| line(it)).collect()),
    }
}

/// The variable of this name, if it is set. Spin's are in lower case.
fn variable(name: &str) -> Option<String> {
    variables::get(name).ok().filter(|value| !value.is_empty())
}
