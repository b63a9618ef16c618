//! The two ways to print: text for people, JSON for machines.
//!
//! `--json` prints one line:
//!
//! | command | JSON |
//! |---|---|
//! | `ls`, `key ls`, `policy ls`, `identity ls` | an array of names, of all pages |
//! | `key info`, `policy info`, `policy show`, `identity info` | the answer of the server; `identity info` always with `identity` |
//! | `key encrypt`, `key decrypt`, `key dek` | the answer of the server; also without `--json` where standard output is no terminal |
//! | `key create`, `key import`, `key rm` | nothing |
//! | `identity of` | `{identity}` |
//! | `identity new` | `{api_key, identity}`, or `{key, cert, identity}` with the names of the files |
//! | `seal new` | `{recipient, fingerprint, file}`, or `{recipient, fingerprint, identity}` with `--out -` |
//! | `seal of` | `{recipient, fingerprint}` |
//! | `seal rewrap` | `{total, sealed, resealed, unchanged, failed, dry_run}`: numbers of keys, and whether nothing was written; what was not tried is in `total` alone |
//! | `status` | the answer of the server, and `{server, commit, latency}`, with `--api` also `{api}`; `latency` is in nanoseconds as `keystore_latency` is |
//! | `server`, `completions` | what they print without it, but for an error that ends them |
//! | any error, on standard error | `{message, name?, status?, hint?}`: the key, policy or identity that it is about, and the HTTP status if the server refused; `key create`, `key rm` and `seal rewrap` print such a line for each name that was not done |

use std::fmt::Write as _;
use std::io::{IsTerminal, Write, stderr, stdout};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use sealedge_core::conceal::conceal;
use serde::Serialize;

use super::Common;
use super::error::Error;
use super::protocol::Created;

const LABEL: Style = AnsiColor::Cyan.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Standard output.
pub struct Output {
    json: bool,
    color: ColorChoice,
}

impl Output {
    /// As the options say.
    pub const fn new(common: Common) -> Self {
        Self {
            json: common.json,
            color: common.color,
        }
    }

    /// For results that are data to hand on: JSON also where no person reads, as `kes` does,
    /// so that `kes key dek my-key | jq -r .ciphertext` works.
    pub fn of_data(common: Common) -> Self {
        Self {
            json: common.json || !stdout().is_terminal(),
            color: common.color,
        }
    }

    /// Prints `value` as one line of JSON, or `text` of it.
    pub fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Error> {
        if self.json {
            let mut line = serde_json::to_string(value).map_err(Error::Encode)?;
            line.push('\n');
            self.write(&line)
        } else {
            self.write(&text(value))
        }
    }

    /// Prints all the names of a listing: one a line as they come, or one JSON array.
    pub fn show_names(
        &self,
        list: impl FnOnce(&mut dyn FnMut(&[String]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut all = Vec::new();
        list(&mut |names| {
            if self.json {
                all.extend_from_slice(names);
                Ok(())
            } else {
                self.write(
                    &names
                        .iter()
                        .fold(String::new(), |text, name| text + &printable(name) + "\n"),
                )
            }
        })?;
        if self.json {
            self.show(&all, |_| String::new())
        } else {
            Ok(())
        }
    }

    fn write(&self, text: &str) -> Result<(), Error> {
        let mut stream = AutoStream::new(stdout(), choice(self.color));
        stream
            .write_all(text.as_bytes())
            .and_then(|()| stream.flush())
            .map_err(Error::Output)
    }
}

/// A text of the server without what would steer the terminal.
pub fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// Lines of a label and its value, the values below each other.
pub fn fields(rows: &[(&str, String)]) -> String {
    let width = rows
        .iter()
        .map(|(label, _)| label.len())
        .max()
        .unwrap_or_default();
    rows.iter().fold(String::new(), |mut text, (label, value)| {
        let _ = writeln!(text, "{LABEL}{label:width$}{LABEL:#}  {}", printable(value));
        text
    })
}

/// The rows that say when and by whom something was made; without what is not known.
pub fn created(created: &Created) -> impl Iterator<Item = (&'static str, String)> {
    let at = created
        .created_at
        .as_deref()
        .and_then(|at| at.parse::<jiff::Timestamp>().ok());
    // Go writes the year 1 for no time at all.
    let at = at
        .filter(|at| at.as_second() > 0)
        .map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    let by = created.created_by.clone().filter(|by| !by.is_empty());
    at.map(|at| ("created", at))
        .into_iter()
        .chain(by.map(|by| ("by", by)))
}

/// Prints an error and what to do about it to standard error. Several are printed one after the other.
pub fn report(error: &Error, common: Common) {
    let errors = match error {
        Error::Several(errors) => errors.as_slice(),
        error => std::slice::from_ref(error),
    };
    let reports: Vec<_> = errors.iter().map(Report::of).collect();
    let text: String = if common.json {
        reports.iter().map(Report::to_line).collect()
    } else {
        reports_text(&reports)
    };
    tell(&text, common.color);
}

/// Prints text to standard error, without what looks like a secret in it: somebody has given one in the
/// place of a name, a file or a server.
pub fn tell(text: &str, color: ColorChoice) {
    // Where standard error is closed, nobody can be told.
    let _ = AutoStream::new(stderr(), choice(color)).write_all(conceal(text).as_bytes());
}

/// Prints something of several fields that is no result to standard error: as JSON, or `text` of it.
pub fn notice<T: Serialize>(value: &T, text: impl FnOnce(&T) -> String, common: Common) {
    let text = if common.json {
        serde_json::to_string(value).unwrap_or_default() + "\n"
    } else {
        text(value)
    };
    let _ = AutoStream::new(stderr(), choice(common.color)).write_all(text.as_bytes());
}

/// Prints something that is no result to standard error.
pub fn note(message: &str, common: Common) {
    let text = if common.json {
        let report = Report {
            message: message.to_owned(),
            name: None,
            status: None,
            hint: None,
        };
        report.to_line()
    } else {
        format!("{}\n", printable(message))
    };
    tell(&text, common.color);
}

/// What is printed of an error.
#[derive(Serialize)]
pub struct Report<'a> {
    message: String,
    /// The key, policy or identity that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// The HTTP status, if the server refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl<'a> Report<'a> {
    fn of(error: &'a Error) -> Self {
        Self {
            message: error.to_string(),
            name: error.name(),
            status: error.status(),
            hint: error.hint(),
        }
    }

    /// Of arguments that are wrong.
    pub fn of_usage(message: String, hint: Option<String>) -> Self {
        Self {
            message,
            name: None,
            status: None,
            hint,
        }
    }

    /// One line of JSON.
    pub fn to_line(&self) -> String {
        let line = Self {
            message: in_one_line(&self.message),
            hint: self.hint.as_ref().map(|hint| hint.replace('\n', " ")),
            ..*self
        };
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }
}

/// Lines as one. A list below a line comes behind its colon.
fn in_one_line(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.join("; ").replace(":; ", ": ")
}

/// For people: what is to be done about several errors alike is said once.
fn reports_text(reports: &[Report<'_>]) -> String {
    let indented = |text: &str| text.replace('\n', "\n       ");
    let mut text = String::new();
    let mut next = reports.iter().skip(1);
    for Report { message, hint, .. } in reports {
        let message = indented(message);
        let _ = writeln!(text, "{ERROR}error:{ERROR:#} {message}");
        let is_said_later = next.next().is_some_and(|next| next.hint == *hint);
        if let Some(hint) = hint.as_deref().filter(|_| !is_said_later) {
            let hint = indented(hint);
            let _ = writeln!(text, "{HINT}hint:{HINT:#}  {hint}");
        }
    }
    text
}

const fn choice(color: ColorChoice) -> anstream::ColorChoice {
    match color {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::error::Answer;
    use sealedge_core::identity::Identity;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn forbidden() -> Error {
        Error::Answer(Answer {
            subject: Some("k1".to_owned()),
            status: 403,
            message: "not authorized: insufficient permissions".to_owned(),
            path: "/v1/key/create/k1".to_owned(),
            identity: Identity::from_bytes([0xab; 32]),
            is_signed: false,
        })
    }

    #[test]
    fn values_stand_below_each_other() {
        let text = fields(&[("a", "1".to_owned()), ("long", "2".to_owned())]);
        assert_eq!(plain(&text), "a     1\nlong  2\n");
        assert_ne!(plain(&text), text, "labels have a colour");
        assert!(
            fields(&[("a", "\u{1b}[2J\r\n".to_owned())])
                .ends_with("  \u{fffd}[2J\u{fffd}\u{fffd}\n")
        );
    }

    #[test]
    fn no_time_is_not_shown() {
        let made = |at: &str, by: &str| {
            created(&Created {
                created_at: Some(at.to_owned()),
                created_by: Some(by.to_owned()),
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(made("0001-01-01T00:00:00Z", ""), []);
        assert_eq!(
            made("2026-11-24T05:06:24.501482756Z", "x"),
            [
                ("created", "2026-11-24 05:06:24 UTC".to_owned()),
                ("by", "x".to_owned())
            ]
        );
    }

    #[test]
    fn a_refusal_names_who_was_refused_and_what() {
        let identity = "ab".repeat(32);
        assert_eq!(
            plain(&reports_text(&[Report::of(&forbidden())])),
            format!(
                "error: `k1`: not authorized: insufficient permissions\n\
                 hint:  you are the identity {identity};\n       \
                 let it do this by a policy on the server that allows `/v1/key/create/k1` and does not deny it\n"
            )
        );
    }

    #[test]
    fn what_to_do_about_errors_alike_is_said_once() {
        let errors = [forbidden(), forbidden(), Error::Random];
        let text = reports_text(&errors.each_ref().map(Report::of));
        assert_eq!(text.matches("error:").count(), 3);
        assert_eq!(text.matches("hint:").count(), 1);
    }

    #[test]
    fn a_json_report_has_message_and_status() {
        let report: serde_json::Value =
            serde_json::from_str(&Report::of(&forbidden()).to_line()).unwrap();
        assert_eq!(
            report["message"],
            "`k1`: not authorized: insufficient permissions"
        );
        assert_eq!(
            (&report["name"], &report["status"]),
            (&"k1".into(), &403.into())
        );
        let report: serde_json::Value =
            serde_json::from_str(&Report::of(&Error::Random).to_line()).unwrap();
        assert_eq!(report.get("status"), None);
    }
}
