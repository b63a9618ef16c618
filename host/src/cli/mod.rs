//! The command line: one file per noun, as `kes` has them.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 success,
//! 1 failure, 2 wrong usage. `client` knows the wire, `protocol` the bodies, `output` the
//! two ways to print (for people, or `--json`), `error` what can go wrong and what to do then.

pub(crate) mod certificate;
mod client;
mod completions;
pub(crate) mod credential;
pub(crate) mod endpoint;
pub(crate) mod error;
mod fault;
pub(crate) mod files;
mod identity;
mod input;
mod key;
pub(crate) mod output;
mod policy;
mod protocol;
pub mod proxy;
mod seal;
pub mod server;
mod signing;
mod status;
mod usage;

use std::process::ExitCode;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

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
  how          SEALEDGE_AUTH (as --auth)
  proxy        HTTPS_PROXY, NO_PROXY
  trust        SSL_CERT_FILE, SSL_CERT_DIR (instead of the system's certificates)";

#[derive(Subcommand)]
enum Command {
    Server(server::ServerOptions),
    Proxy(proxy::ProxyOptions),
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
pub(crate) struct Common {
    /// As a client, do not verify the server's certificate
    #[arg(short = 'k', long, global = true, help_heading = COMMON)]
    pub insecure: bool,

    /// As a client, say who we are by a certificate (mtls), by signing each request, or by a certificate
    /// until a server asks for signatures (auto)
    #[arg(long, value_name = "HOW", value_enum, default_value = "auto", env = "SEALEDGE_AUTH", hide_env = true, global = true, help_heading = COMMON)]
    pub auth: Auth,

    /// Print JSON instead of text; errors too
    #[arg(long, global = true, help_heading = COMMON)]
    pub json: bool,

    /// When to print colours
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true, help_heading = COMMON)]
    pub color: ColorChoice,
}

/// How a client says who it is.
// What is said of each by `///` would be in the help of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Auth {
    // By a certificate, and by signatures once a server asks for them.
    Auto,
    // By a certificate in the TLS handshake.
    Mtls,
    // By a signature of each request.
    Signature,
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
        Err(error) => {
            let error = usage::with_source(error, std::env::args_os());
            return usage::report(&error, usage::wants_json(std::env::args_os()));
        }
    };
    let result = match command {
        Command::Server(it) => crate::server::run(&it, parts).map_err(Error::Server),
        Command::Proxy(it) => crate::proxy::run(&it, common, parts.limits),
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
