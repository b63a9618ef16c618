//! The configuration, from the variables and secrets of the Worker.

use sealedge_core::config::{Config, Parsed, parse_for_workers};
use wasm_bindgen::JsValue;

use crate::binding;

/// The variable with the configuration (YAML).
const NAME: &str = "SEALEDGE_CONFIG";

/// Reads the configuration: what it says, and what the operator should know, a line each.
///
/// # Errors
/// All that is wrong with it, a line each.
pub fn read(env: &JsValue) -> Result<(Config, Vec<String>), Vec<String>> {
    let Some(document) = binding::text(env, NAME) else {
        return Err(vec![format!(
            "the variable `{NAME}` with the configuration is missing: `npx wrangler secret put {NAME}`"
        )]);
    };
    let variable = |name: &str| binding::text(env, name);
    let line = |problem: &dyn ToString| format!("{NAME}: {}", problem.to_string());
    match parse_for_workers(&document, &variable) {
        Ok(Parsed { config, warnings }) => {
            Ok((config, warnings.iter().map(|it| line(it)).collect()))
        }
        Err(problems) => Err(problems.iter().map(|it| line(it)).collect()),
    }
}
