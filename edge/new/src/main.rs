//! Makes what a deployment without the native host needs: a configuration, the node's identity, which is its secret,
//! and the admin's API key, which is shown once.

use std::env;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use sealedge_core::api_key::ApiKey;
use sealedge_core::config::{Parsed, Problem, parse_for_spin, parse_for_workers};
use sealedge_core::seal::NodeIdentity;
use zeroize::Zeroizing;

const USAGE: &str = "usage: cargo run --package sealedge-new -- worker HOST
       cargo run --package sealedge-new -- spin HOST

Makes the configuration and the secret of a Cloudflare Worker or a Spin application. HOST is the name by which
clients will call it, such as `kms.example.com` or `sealedge.my-account.workers.dev`; with a port, if that is
neither 80 nor 443.";

/// Reads a configuration as a platform does.
type Parse = fn(&str, &dyn Fn(&str) -> Option<String>) -> Result<Parsed, Vec<Problem>>;

/// Where the service is to run.
struct Target {
    name: &'static str,
    /// The files.
    config: &'static str,
    identity: &'static str,
    /// What becomes of the configuration.
    becomes: &'static str,
    /// The key store, as the configuration has it.
    keystore: &'static str,
    parse: Parse,
    next: &'static str,
}

const TARGETS: [Target; 2] = [
    Target {
        name: "worker",
        config: "sealedge.yml",
        identity: "sealedge.identity",
        becomes: "`wrangler deploy` makes it a part of the Worker",
        keystore: "  cloudflare:\n    durableobjects: {}",
        parse: parse_for_workers,
        next: "    npx wrangler secret put SEALEDGE_IDENTITY < sealedge.identity\n    npx wrangler deploy",
    },
    Target {
        name: "spin",
        config: "sealedge-spin.yml",
        identity: "sealedge-spin.identity",
        becomes: "the application has it as the variable `sealedge_config`",
        keystore: "  spin:\n    keyvalue: {}",
        parse: parse_for_spin,
        next: "    export SPIN_VARIABLE_SEALEDGE_CONFIG=\"$(cat sealedge-spin.yml)\"\n    \
               export SPIN_VARIABLE_SEALEDGE_IDENTITY=\"$(cat sealedge-spin.identity)\"\n    \
               spin build && spin up --listen 0.0.0.0:443 --tls-cert server.crt --tls-key server.key",
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (target, host) = match arguments.as_slice() {
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [target, host] => (TARGETS.iter().find(|it| it.name == *target), host),
        _ => (None, &""),
    };
    let Some(target) = target else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match make(target, host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn make(target: &Target, host: &str) -> Result<(), Box<dyn Error>> {
    let made = Made::new(target, host)?;
    for name in [target.config, target.identity] {
        if Path::new(name).try_exists()? {
            return Err(format!(
                "{name} is there already: keys that are sealed for its deployment open by no other \
                 identity; move it away if you want another deployment"
            )
            .into());
        }
    }
    // The secret first: a configuration without it would be of no use.
    write(target.identity, made.node.text(), true)?;
    write(target.config, &made.config, false)?;
    println!(
        "{}: the configuration; {}\n\
         {}: the secret. Without it no key opens: keep a copy in a safe place\n\n\
         The admin's API key, which is shown this once:\n\n    {}\n\n\
         Next:\n\n{}",
        target.config, target.becomes, target.identity, *made.api_key, target.next
    );
    Ok(())
}

/// What is made.
struct Made {
    config: String,
    node: NodeIdentity,
    api_key: Zeroizing<String>,
}

impl Made {
    /// For clients that call the service by this name.
    fn new(target: &Target, host: &str) -> Result<Self, Box<dyn Error>> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())?;
        let api_key = ApiKey::from_seed(&seed);
        let mut filled = Ok(());
        let node =
            NodeIdentity::generate(&mut |buffer| filled = filled.and(getrandom::fill(buffer)));
        filled?;
        let made = Self {
            config: config(target, host, &api_key, &node),
            api_key: api_key.to_text(),
            node,
        };
        let variable =
            |name: &str| (name == "SEALEDGE_IDENTITY").then(|| made.node.text().to_owned());
        if let Err(problems) = (target.parse)(&made.config, &variable) {
            let problems: Vec<_> = problems.iter().map(|it| it.message.as_str()).collect();
            return Err(format!("with the name {host:?}: {}", problems.join("; ")).into());
        }
        Ok(made)
    }
}

fn config(target: &Target, host: &str, admin: &ApiKey, node: &NodeIdentity) -> String {
    let (admin, recipient) = (admin.identity(), node.recipient());
    let Target {
        becomes, keystore, ..
    } = target;
    format!(
        "# The configuration: {becomes}. README.md says what it can have.
version: v1

# The client that may do everything: whoever has the API key of this identity.
admin:
  identity: {admin}

# The names by which clients call the service.
auth:
  authorities: [{host:?}]

# Who else may do what. An application has an API key of its own (`sealedge identity new`), whose identity stands here.
policy: {{}}
#  my-app:
#    allow: [/v1/key/create/my-app*, /v1/key/generate/my-app*, /v1/key/decrypt/my-app*]
#    identities: [...]

keystore:
{keystore}

# Who can open the keys. Another recipient, whose identity lies in a safe, opens them if this one's is lost.
seal:
  recipients:
    - {recipient}
  unseal:
    identity: ${{SEALEDGE_IDENTITY}}

log:
  audit: on
"
    )
}

fn write(name: &str, text: &str, is_secret: bool) -> Result<(), Box<dyn Error>> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if is_secret { 0o600 } else { 0o644 });
    }
    let mut file = options.open(name).map_err(|why| format!("{name}: {why}"))?;
    writeln!(file, "{}", text.trim_end()).map_err(|why| format!("{name}: {why}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_can_be_used_and_is_another_each_time() {
        for target in &TARGETS {
            let [one, two] = ["kms.example.com", "sealedge.me.workers.dev:8443"]
                .map(|host| Made::new(target, host).unwrap());
            assert_ne!(one.api_key, two.api_key);
            assert_ne!(one.node.text(), two.node.text());
            assert!(one.config.contains("[\"kms.example.com\"]"));
            assert!(!one.config.contains(one.node.text()) && !one.config.contains(&*one.api_key));
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        for host in [
            "",
            "https://kms.example.com",
            "*.example.com",
            "a\n",
            "a\"]\nadmin: {}",
        ] {
            for target in &TARGETS {
                assert!(Made::new(target, host).is_err(), "{host:?}");
            }
        }
    }
}
