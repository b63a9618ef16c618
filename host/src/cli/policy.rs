//! `sealedge policy …`.

use clap::{Args, Subcommand};

use super::Common;
use super::client::Client;
use super::error::Error;
use super::output::{Output, created, fields};
use super::protocol::{Names, Policy, PolicyInfo};

/// Show policies
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show what is known of a policy
    Info {
        /// The name of the policy
        name: String,
    },
    /// List policies
    Ls {
        /// A name, or the beginning of names and `*`
        #[arg(default_value = "*", hide_default_value = true)]
        pattern: String,
    },
    /// Show what a policy allows and denies
    Show {
        /// The name of the policy
        name: String,
    },
}

pub fn run(arguments: &Arguments, common: Common) -> Result<(), Error> {
    let client = Client::from_environment(common)?;
    let output = Output::new(common);
    match &arguments.verb {
        Verb::Info { name } => {
            let (policy, _) = client
                .get("/v1/policy/describe/", name)
                .map_err(|error| error.about(name))?;
            output.show(&policy, |policy: &PolicyInfo| {
                let rows: Vec<_> = std::iter::once(("name", policy.name.clone()))
                    .chain(created(&policy.created))
                    .collect();
                fields(&rows)
            })
        }
        Verb::Ls { pattern } => {
            output.show_names(|show| client.list::<Names>("/v1/policy/list/", pattern, show))
        }
        Verb::Show { name } => {
            let (policy, _) = client
                .get("/v1/policy/read/", name)
                .map_err(|error| error.about(name))?;
            output.show(&policy, rules)
        }
    }
}

/// The patterns, in columns: deny first, as the server looks at them.
fn rules(policy: &Policy) -> String {
    let deny = policy.deny.keys().map(|pattern| ("deny", pattern.clone()));
    let allow = policy
        .allow
        .keys()
        .map(|pattern| ("allow", pattern.clone()));
    let rules: Vec<_> = deny.chain(allow).collect();
    if rules.is_empty() {
        "The policy allows nothing.\n".to_owned()
    } else {
        fields(&rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_without_rules_says_so() {
        let policy = serde_json::from_str(r#"{"name": "p"}"#).unwrap();
        assert_eq!(rules(&policy), "The policy allows nothing.\n");
    }

    #[test]
    fn denials_come_first() {
        let json = r#"{"name": "p", "allow": {"/v1/key/a*": {}, "/version": {}}, "deny": {"/v1/key/ab": {}}}"#;
        let text = rules(&serde_json::from_str(json).unwrap());
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "deny   /v1/key/ab\nallow  /v1/key/a*\nallow  /version\n"
        );
    }
}
