//! `sealedge server`: the options; the server itself is elsewhere.

use std::path::PathBuf;

use clap::Args;

/// Start a server
#[derive(Args, Clone, Debug)]
pub struct ServerOptions {
    /// Listen on this address, whatever the configuration says [default: 0.0.0.0:7373; with --dev 127.0.0.1:7373]
    #[arg(long, value_name = "IP:PORT")]
    pub addr: Option<String>,

    /// The configuration file (YAML)
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    pub config: Option<PathBuf>,

    /// Try it out: keys are kept in memory, a fresh admin API key is printed
    #[arg(long, conflicts_with = "config")]
    pub dev: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn parse(line: &str) -> Result<ServerOptions, clap::Error> {
        let command = ServerOptions::augment_args(Command::new("server"));
        command.clone().debug_assert();
        ServerOptions::from_arg_matches(&command.try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn a_server_has_a_configuration_or_is_for_trying_out() {
        let options = parse("server --config c.yml --addr :7373").unwrap();
        assert_eq!(
            (options.config, options.addr.as_deref(), options.dev),
            (Some("c.yml".into()), Some(":7373"), false)
        );
        assert!(parse("server --dev").unwrap().dev);
        assert!(parse("server").is_err());
        assert!(parse("server --dev --config c.yml").is_err());
    }
}
