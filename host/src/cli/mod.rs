//! The command line: one file per noun, as `kes` has them.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 success,
//! 1 failure, 2 wrong usage. `client` knows the wire, `protocol` the bodies, `output` the
//! two ways to print (for people, or `--json`), `error` what can go wrong and what to do then.

mod certificate;
mod client;
mod completions;
mod credential;
mod endpoint;
mod error;
mod fault;
mod files;
mod identity;
mod input;
mod key;
mod output;
mod policy;
mod protocol;
mod seal;
pub mod server;
mod status;
mod usage;

use std::process::ExitCode;

use clap::{Args, ColorChoice, Parser, Subcommand};

use crate::{Parts, memory};
use error::Error;

/// A key encryption service for the edge, and its client.
#[derive(Parser)]
#[command(name = "sealedge", bin_name = "sealedge", version, arg_required_else_help = true, after_help = ENVIRONMENT)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const ENVIRONMENT: &str = "\
Environment (the first one set wins):
  server       MINIO_KES_SERVER, KES_SERVER, MINIO_KMS_KES_ENDPOINT
               `host:port`, or `host` for port 7373, or `https://host`, which has port 443
               (several separated by commas are tried in order; default 127.0.0.1:7373)
  API key      MINIO_KES_API_KEY, KES_API_KEY, MINIO_KMS_KES_API_KEY
  or files     MINIO_KES_KEY_FILE, KES_CLIENT_KEY, MINIO_KES_CLIENT_KEY
               and MINIO_KES_CERT_FILE, KES_CLIENT_CERT, MINIO_KES_CLIENT_CERT
  proxy        HTTPS_PROXY, NO_PROXY
  trust        SSL_CERT_FILE, SSL_CERT_DIR (instead of the system's certificates)";

#[derive(Subcommand)]
enum Command {
    Server(server::ServerOptions),
    Key(key::Arguments),
    Policy(policy::Arguments),
    Identity(identity::Arguments),
    Seal(seal::Arguments),
    Ls(key::TopLevelList),
    Status(status::Arguments),
    Completions(completions::Arguments),
}

const COMMON: &str = "Common options";

/// Options that every command takes, before and after its name.
#[derive(Args, Clone, Copy)]
struct Common {
    /// As a client, do not verify the server's certificate
    #[arg(short = 'k', long, global = true, help_heading = COMMON)]
    insecure: bool,

    /// Print JSON instead of text; errors too
    #[arg(long, global = true, help_heading = COMMON)]
    json: bool,

    /// When to print colours
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, help_heading = COMMON)]
    color: ColorChoice,
}

/// Runs the command that this process was started with.
pub fn main(parts: Parts) -> ExitCode {
    if !parts.inspectable
        && let Err(reason) = memory::forbid_dumps()
    {
        eprintln!("error: can't turn core dumps off, which would hold keys: {reason}");
        return ExitCode::FAILURE;
    }
    let Arguments { common, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage::report(&error, usage::wants_json(std::env::args_os())),
    };
    let result = match command {
        Command::Server(it) => crate::server::run(&it, parts).map_err(Error::Server),
        Command::Key(it) => key::run(&it, common),
        Command::Policy(it) => policy::run(&it, common),
        Command::Identity(it) => identity::run(&it, common),
        Command::Seal(it) => seal::run(&it, common),
        Command::Ls(it) => it.run(common),
        Command::Status(it) => status::run(&it, common),
        Command::Completions(it) => completions::run::<Arguments>(&it),
        // A new subcommand is one variant above and one line here.
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as `head` has.
        Err(Error::Output(reason)) if reason.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Error::Usage(error)) => usage::report(&error, common.json),
        Err(error) => {
            output::report(&error, common);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn common_options_stand_anywhere() {
        for line in [
            "sealedge -k --json --color never key ls",
            "sealedge key -k --json --color never ls",
            "sealedge key ls -k --json --color never",
            "sealedge -k ls --json --color=never",
        ] {
            let common = Arguments::try_parse_from(line.split(' ')).map(|it| it.common);
            let Ok(common) = common else { panic!("{line}") };
            assert!(common.insecure && common.json, "{line}");
            assert_eq!(common.color, ColorChoice::Never, "{line}");
        }
    }
}
