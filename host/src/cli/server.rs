//! `sealedge server`: the options; the server itself is elsewhere.

use std::path::PathBuf;

use clap::Args;

/// Start a server
#[derive(Args, Clone, Debug)]
pub struct ServerOptions {
    /// Listen on this address, whatever the configuration says [default: 0.0.0.0:7373; with --dev 127.0.0.1:7373]
    ///
    /// KES also writes `:7373` for all addresses, so this is text until the server resolves it.
    #[arg(long, value_name = "IP:PORT")]
    pub addr: Option<String>,

    /// The configuration file (YAML)
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    pub config: Option<PathBuf>,

    /// Try it out: keys are kept in memory, a fresh admin API key is printed
    #[arg(long, conflicts_with = "config")]
    pub dev: bool,
}
