//! Makes what a deployment of the Worker needs, without the native host: `sealedge.yml`, which becomes part of the
//! Worker, `sealedge.identity`, which becomes its secret, and the admin's API key, which is shown once.

use std::env;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use sealedge_core::api_key::ApiKey;
use sealedge_core::config::parse_for_workers;
use sealedge_core::seal::NodeIdentity;
use zeroize::Zeroizing;

const CONFIG: &str = "sealedge.yml";
const IDENTITY: &str = "sealedge.identity";
const USAGE: &str = "usage: cargo run --package sealedge-worker-new -- HOST\n\n\
                     HOST is the name by which clients will call the Worker, such as `kms.example.com` or\n\
                     `sealedge.my-account.workers.dev`.";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let (Some(host), None) = (arguments.next(), arguments.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match make(&host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn make(host: &str) -> Result<(), Box<dyn Error>> {
    let made = Made::new(host)?;
    for name in [CONFIG, IDENTITY] {
        if Path::new(name).try_exists()? {
            return Err(format!(
                "{name} is there already: keys that are sealed for its deployment open by no other \
                 identity; move it away if you want another deployment"
            )
            .into());
        }
    }
    // The secret first: a configuration without it would be of no use.
    write(IDENTITY, made.node.text(), true)?;
    write(CONFIG, &made.config, false)?;
    println!(
        "{CONFIG}       the configuration: it becomes part of the Worker\n\
         {IDENTITY}  the Worker's secret: without it, no key opens. Keep a copy in a safe place\n\n\
         The admin's API key, which is shown this once:\n\n    {}\n\n\
         Next:\n\n    \
         npx wrangler secret put SEALEDGE_IDENTITY < {IDENTITY}\n    \
         npx wrangler deploy",
        *made.api_key
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
    /// For clients that call the Worker by this name.
    fn new(host: &str) -> Result<Self, Box<dyn Error>> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())?;
        let api_key = ApiKey::from_seed(&seed);
        let mut filled = Ok(());
        let node =
            NodeIdentity::generate(&mut |buffer| filled = filled.and(getrandom::fill(buffer)));
        filled?;
        let made = Self {
            config: config(host, &api_key, &node),
            api_key: api_key.to_text(),
            node,
        };
        let variable =
            |name: &str| (name == "SEALEDGE_IDENTITY").then(|| made.node.text().to_owned());
        if let Err(problems) = parse_for_workers(&made.config, &variable) {
            let problems: Vec<_> = problems.iter().map(|it| it.message.as_str()).collect();
            return Err(format!("with the name {host:?}: {}", problems.join("; ")).into());
        }
        Ok(made)
    }
}

fn config(host: &str, admin: &ApiKey, node: &NodeIdentity) -> String {
    let (admin, recipient) = (admin.identity(), node.recipient());
    format!(
        "# The configuration of the Worker, of which `wrangler deploy` makes it a part. README.md says what it can have.
version: v1

# The client that may do everything: whoever has the API key of this identity.
admin:
  identity: {admin}

# The names by which clients call the Worker.
auth:
  authorities: [{host:?}]

# Who else may do what.
policy: {{}}

keystore:
  cloudflare:
    durableobjects: {{}}

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
        let [one, two] =
            ["kms.example.com", "sealedge.me.workers.dev"].map(|host| Made::new(host).unwrap());
        assert_ne!(one.api_key, two.api_key);
        assert_ne!(one.node.text(), two.node.text());
        assert!(one.config.contains("[\"kms.example.com\"]"));
        assert!(!one.config.contains(one.node.text()) && !one.config.contains(&*one.api_key));
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
            assert!(Made::new(host).is_err(), "{host:?}");
        }
    }
}
