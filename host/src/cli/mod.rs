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
mod key;
mod output;
mod policy;
mod protocol;
pub mod server;
mod status;

use std::process::ExitCode;

use clap::{Args, ColorChoice, Parser, Subcommand};

use crate::{Parts, memory};
use error::Error;

/// A key encryption service for the edge, and its client.
#[derive(Parser)]
#[command(name = "sealedge", bin_name = "sealedge", version, arg_required_else_help = true, after_help = ENVIRONMENT)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const ENVIRONMENT: &str = "\
Environment (the first one set wins):
  server       MINIO_KES_SERVER, KES_SERVER, MINIO_KMS_KES_ENDPOINT
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
    Ls(key::TopLevelList),
    Status(status::Arguments),
    Completions(completions::Arguments),
}

const COMMON: &str = "Common options";

/// Options of every command that talks to a server.
#[derive(Args, Clone, Copy)]
struct Common {
    /// Do not verify the server's certificate
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
    let command = Arguments::parse().command;
    let (result, common) = match command {
        Command::Server(it) => return crate::server::run(&it, parts),
        Command::Key(it) => (key::run(&it), Some(it.common)),
        Command::Policy(it) => (policy::run(&it), Some(it.common)),
        Command::Identity(it) => (identity::run(&it), Some(it.common)),
        Command::Ls(it) => (it.run(), Some(it.common)),
        Command::Status(it) => (status::run(&it), Some(it.common)),
        Command::Completions(it) => (completions::run::<Arguments>(&it), None),
        // A new subcommand is one variant above and one line here.
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as `head` has.
        Err(Error::Output(reason)) if reason.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::report(
                &error,
                common.is_some_and(|it| it.json),
                common.map_or(ColorChoice::Auto, |it| it.color),
            );
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
    fn common_options_stand_before_and_after_the_verb() {
        for line in [
            "sealedge key ls -k --json",
            "sealedge key -k --json ls",
            "sealedge ls -k --json",
        ] {
            let common = match Arguments::try_parse_from(line.split(' ')).map(|it| it.command) {
                Ok(Command::Key(it)) => it.common,
                Ok(Command::Ls(it)) => it.common,
                _ => panic!("{line}"),
            };
            assert!(common.insecure && common.json, "{line}");
        }
    }
}
