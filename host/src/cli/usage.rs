//! Arguments that are wrong, said as text or as JSON like any other error. The exit code is clap's: 2.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::ColorChoice;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::output::{Report, tell};

/// Whether arguments that can't be parsed ask for JSON. An option's value can't begin with `--`, so
/// nothing else is meant by these letters before a `--` alone.
pub fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    before_names(arguments).any(|argument| argument == "--json")
}

/// An error of clap's, which names the variable instead of the option where a value came from there.
pub fn with_source(
    mut error: clap::Error,
    arguments: impl Iterator<Item = OsString>,
) -> clap::Error {
    let option = "--auth";
    let is_of = |argument: &OsString| argument.to_string_lossy().starts_with(option);
    let is_it = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(invalid)) => invalid.starts_with(option),
        _ => false,
    };
    if is_it && !before_names(arguments).any(|argument| is_of(&argument)) {
        let variable = ContextValue::String("SEALEDGE_AUTH".to_owned());
        error.insert(ContextKind::InvalidArg, variable);
    }
    error
}

/// Those that may be options: after a `--` alone none is.
fn before_names(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments.take_while(|argument| argument != "--")
}

/// Prints what clap has to say: an error to standard error, help that was asked for to standard output.
pub fn report(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        let (message, hint) = explanation(error);
        tell(
            &Report::of_usage(message, hint).to_line(),
            ColorChoice::Never,
        );
    } else if error.use_stderr() {
        tell(&error.render().ansi().to_string(), ColorChoice::Auto);
    } else {
        // Where the stream is closed, nobody can be told.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// What is wrong, and what clap says to do about it: the paragraphs after the first.
fn explanation(error: &clap::Error) -> (String, Option<String>) {
    let help = "For more information, try '--help'.";
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return ("a command is missing".to_owned(), Some(help.to_owned()));
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let mut paragraphs = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty());
    let message = paragraphs.next().unwrap_or_default();
    let hint = paragraphs.collect::<Vec<_>>().join("; ");
    (message, Some(hint).filter(|hint| !hint.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_before_the_arguments_that_only_look_like_options() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        assert!(wants("sealedge --json keys"));
        assert!(wants("sealedge key encrypt --json"));
        assert!(!wants("sealedge key encrypt my-key -- --json"));
        assert!(!wants("sealedge key ls --enclave json"));
    }
}
