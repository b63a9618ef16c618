//! The configuration, from the variables and secrets of the Worker, or from what it was built with.

use std::cell::RefCell;

use sealedge_core::config::{Config, Parsed, parse_for_workers};
use wasm_bindgen::JsValue;

use crate::binding;

/// The variable with the configuration (YAML).
const NAME: &str = "SEALEDGE_CONFIG";

/// The file that becomes part of the Worker, if it is there when that is built.
const FILE: &str = "sealedge.yml";

thread_local! {
    static BUNDLED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the configuration which the Worker was built with.
pub fn bundle(configuration: Option<String>) {
    BUNDLED.set(configuration);
}

/// Reads the configuration: what it says, and what the operator should know, a line each. The variable comes first:
/// `.dev.vars` has it, so that `wrangler dev` serves no deployment's.
///
/// # Errors
/// All that is wrong with it, a line each.
pub fn read(env: &JsValue) -> Result<(Config, Vec<String>), Vec<String>> {
    let bundled = BUNDLED.with_borrow(Clone::clone);
    let is_bundled = bundled.is_some();
    let (name, document) = match (binding::text(env, NAME), bundled) {
        (Some(document), _) => (NAME, document),
        (None, Some(document)) => (FILE, document),
        (None, None) => {
            return Err(vec![format!(
                "there is no configuration: write `{FILE}` and deploy again, or set the variable `{NAME}`: \
                 `npx wrangler secret put {NAME}`"
            )]);
        }
    };
    let variable = |name: &str| binding::text(env, name);
    let line = |problem: &dyn ToString| format!("{name}: {}", problem.to_string());
    let unused = (name == NAME && is_bundled).then(|| {
        format!("{FILE} is part of this Worker and not used: the variable `{NAME}` comes first")
    });
    match parse_for_workers(&document, &variable) {
        Ok(Parsed { config, warnings }) => {
            let warnings = warnings.iter().map(|it| line(it));
            Ok((config, unused.into_iter().chain(warnings).collect()))
        }
        Err(problems) => Err(problems.iter().map(|it| line(it)).collect()),
    }
}
