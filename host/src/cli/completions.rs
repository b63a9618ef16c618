//! `sealedge completions SHELL`.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::error::Error;

/// Print the completion script of a shell
///
/// For example, in bash: source <(sealedge completions bash)
#[derive(Args)]
pub struct Arguments {
    /// The shell to write for
    shell: Shell,
}

pub fn run<Root: CommandFactory>(arguments: &Arguments) -> Result<(), Error> {
    // Through a buffer: the generator panics on a pipe that is closed.
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Root::command(),
        "sealedge",
        &mut script,
    );
    std::io::stdout().write_all(&script).map_err(Error::Output)
}
