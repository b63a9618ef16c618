//! A typed walk over the tree that knows where it is and collects problems.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use zeroize::Zeroizing;

use super::Problem;
use super::tree::{Content, Node};
use crate::conceal::has_secret;
use crate::secret_text::SecretText;

/// The most characters of a field's name that a message shows.
const SHOWN: usize = 80;

/// The longest path that Linux takes, in bytes.
const LONGEST_PATH: usize = 4096;

/// What the whole walk shares.
pub(super) struct Reader<'r> {
    variables: &'r dyn Fn(&str) -> Option<String>,
    /// Whether there are files to be named.
    has_files: bool,
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'r> Reader<'r> {
    pub fn new(variables: &'r dyn Fn(&str) -> Option<String>, has_files: bool) -> Self {
        Self {
            variables,
            has_files,
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub fn root<'w>(&'w self, node: &'w Node) -> At<'w> {
        At {
            reader: self,
            node,
            line: node.line,
            parent: None,
            step: Step::Root,
        }
    }

    /// The errors and the warnings, each by line.
    pub fn problems(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |problems: RefCell<Vec<Problem>>| {
            let mut problems = problems.into_inner();
            problems.sort_by_key(|problem| problem.line);
            problems
        };
        (sorted(self.errors), sorted(self.warnings))
    }
}

/// The problem of this value is noted already; there is nothing more to say about it.
#[derive(Debug)]
pub(super) struct Noted;

enum Step<'w> {
    Root,
    Field(&'w str),
    Index(usize),
}

/// A place in the tree: a node, and the way to it.
pub(super) struct At<'w> {
    reader: &'w Reader<'w>,
    node: &'w Node,
    /// The line of the field's name, or of the list's item.
    pub line: usize,
    parent: Option<&'w At<'w>>,
    step: Step<'w>,
}

/// The place's field path.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if let (Step::Field(_), Some(_)) = (&self.step, parent.parent) {
                f.write_str(".")?;
            }
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) => f.write_str(&shown(name)),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl<'w> At<'w> {
    pub fn error(&self, message: impl Into<String>) {
        self.reader.errors.borrow_mut().push(self.problem(message));
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.reader
            .warnings
            .borrow_mut()
            .push(self.problem(message));
    }

    /// Notes that a field below this one, such as `tls.key` at the root, is missing.
    pub fn missing(&self, field: &str, message: impl Into<String>) {
        let mut problem = self.problem(message);
        if self.parent.is_some() {
            problem.field.push('.');
        } else {
            problem.line = None;
        }
        problem.field.push_str(field);
        self.reader.errors.borrow_mut().push(problem);
    }

    fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            line: Some(self.line),
            field: self.to_string(),
            message: message.into(),
        }
    }

    /// The name of the field that leads here.
    pub fn name(&self) -> &'w str {
        match self.step {
            Step::Field(name) => name,
            Step::Root | Step::Index(_) => "",
        }
    }

    /// The items of a list; none if there is no value.
    pub fn items(&'w self) -> impl Iterator<Item = At<'w>> {
        let items = match &self.node.content {
            Content::Sequence(items) => items.as_slice(),
            Content::Null => &[],
            Content::Scalar(_) | Content::Mapping(_) => {
                self.error("this must be a list, with `- ` before each item");
                &[]
            }
        };
        items.iter().enumerate().map(|(index, node)| At {
            reader: self.reader,
            node,
            line: node.line,
            parent: Some(self),
            step: Step::Index(index),
        })
    }

    /// Whether nothing is here.
    pub fn is_null(&self) -> bool {
        matches!(self.node.content, Content::Null)
    }

    /// How many items the list here has; `None` if none is here.
    pub fn length(&self) -> Option<usize> {
        match &self.node.content {
            Content::Sequence(items) => Some(items.len()),
            _ => None,
        }
    }

    fn may_hold_fields(&self) -> bool {
        matches!(self.node.content, Content::Mapping(_) | Content::Null)
    }

    /// The fields of a mapping in the order of the text, each name once.
    pub fn entries(&'w self) -> Vec<At<'w>> {
        let pairs = match &self.node.content {
            Content::Mapping(pairs) => pairs.as_slice(),
            Content::Null => &[],
            Content::Scalar(_) | Content::Sequence(_) => {
                self.error("this must hold fields, `name: value`");
                &[]
            }
        };
        let mut lines = BTreeMap::new();
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, node) in pairs {
            let name = match &key.content {
                Content::Scalar(name) => name.as_str(),
                Content::Null | Content::Sequence(_) | Content::Mapping(_) => {
                    self.error(format!(
                        "the name of the field on line {} must be text",
                        key.line
                    ));
                    continue;
                }
            };
            let step = Step::Field(name);
            let entry = At {
                reader: self.reader,
                node,
                line: key.line,
                parent: Some(self),
                step,
            };
            match lines.get(name) {
                Some(first) => {
                    entry.error(format!("this field is on line {first} already; keep one"));
                }
                None => {
                    lines.insert(name, key.line);
                    entries.push(entry);
                }
            }
        }
        entries
    }

    /// The fields of a mapping whose names are known; any other name is an error.
    pub fn fields(&'w self, known: &[&'static str]) -> Fields<'w> {
        let (entries, unknown) = self
            .entries()
            .into_iter()
            .partition(|entry| known.contains(&entry.name()));
        for entry in unknown as Vec<At<'w>> {
            let name = shown(entry.name());
            entry.error(match nearest(entry.name(), known) {
                Some(near) => format!("unknown field `{name}`; did you mean `{near}`?"),
                None => format!(
                    "unknown field `{name}`; the fields here are {}",
                    listed(known)
                ),
            });
        }
        Fields { at: self, entries }
    }

    /// The text of a scalar, with its variable looked up; `None` if that is null or empty.
    pub fn text(&self) -> Result<Option<Zeroizing<String>>, Noted> {
        let text = match &self.node.content {
            Content::Null => return Ok(None),
            Content::Scalar(text) => text,
            Content::Sequence(_) | Content::Mapping(_) => {
                self.error("this must be a single value");
                return Err(Noted);
            }
        };
        let text = match variable(text) {
            Some(name) => match (self.reader.variables)(name) {
                Some(value) => Zeroizing::new(value),
                None => {
                    self.error(format!("the variable `{}` is not set", shown(name)));
                    return Err(Noted);
                }
            },
            None => {
                if text.contains("${") {
                    self.warn("`${...}` is replaced only if it is the whole value");
                }
                text.clone()
            }
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The path of a file. Messages show it, and a folder may be made of it.
    pub fn path(&self) -> Result<Option<Zeroizing<String>>, Noted> {
        let text = self.text()?;
        self.error(match &text {
            Some(_) if !self.reader.has_files => {
                "this platform has no files: remove this, or write what would be in the file as `${NAME}` of a \
                 secret where that is taken"
            }
            Some(path) if has_secret(path) => {
                "this looks like a secret, and a path belongs here: write it to a file of mode 0600"
            }
            Some(path) if path.contains(char::is_control) => {
                "no path has line breaks or other control characters"
            }
            Some(path) if path.len() > LONGEST_PATH => "no path is longer than 4096 bytes",
            _ => return Ok(text),
        });
        Err(Noted)
    }

    /// `on` or `true`, `off` or `false`.
    pub fn switch(&self) -> Result<Option<bool>, Noted> {
        self.one_of(&[
            ("on", true),
            ("true", true),
            ("off", false),
            ("false", false),
        ])
    }

    /// One of a few words in any case, as what it means.
    pub fn one_of<T: Copy>(&self, words: &[(&'static str, T)]) -> Result<Option<T>, Noted> {
        let Some(text) = self.text()? else {
            return Ok(None);
        };
        match words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&text))
        {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.error(format!("write one of {}", listed(&words)));
                Err(Noted)
            }
        }
    }

    /// A duration as Go writes it.
    pub fn duration(&self) -> Result<Option<Duration>, Noted> {
        let Some(text) = self.text()? else {
            return Ok(None);
        };
        duration(&text).map(Some).map_err(|problem| {
            self.error(problem);
            Noted
        })
    }
}

/// The known fields of a mapping.
pub(super) struct Fields<'w> {
    pub at: &'w At<'w>,
    entries: Vec<At<'w>>,
}

impl<'w> Fields<'w> {
    pub fn get(&'w self, name: &str) -> Option<&'w At<'w>> {
        self.entries.iter().find(|entry| entry.name() == name)
    }

    /// The fields that are there.
    pub fn iter(&'w self) -> impl Iterator<Item = &'w At<'w>> {
        self.entries.iter()
    }

    /// What `read` makes of the field; `None` if it is not set or wrong, which is noted then.
    pub fn read<T>(
        &'w self,
        name: &str,
        read: impl Fn(&'w At<'w>) -> Result<Option<T>, Noted>,
    ) -> Option<T> {
        read(self.get(name)?).ok().flatten()
    }

    /// The text of a field that may be left out.
    pub fn text(&'w self, name: &str) -> Option<String> {
        self.read(name, At::text)
            .map(|mut text| std::mem::take(&mut *text))
    }

    /// The path in a field that may be left out.
    pub fn path(&'w self, name: &str) -> Option<String> {
        self.read(name, At::path)
            .map(|mut text| std::mem::take(&mut *text))
    }

    /// The text of a field that may be left out and is secret.
    pub fn secret(&'w self, name: &str) -> Option<SecretText> {
        self.read(name, At::text).map(SecretText::new)
    }

    /// The text of a field that must be there; `None` is noted, with `message` if it is not set.
    pub fn required(&'w self, name: &str, message: &str) -> Option<String> {
        self.needed(name, message, At::text)
            .map(|mut text| std::mem::take(&mut *text))
    }

    /// The same for a path.
    pub fn required_path(&'w self, name: &str, message: &str) -> Option<String> {
        self.needed(name, message, At::path)
            .map(|mut text| std::mem::take(&mut *text))
    }

    /// The same for a text that is secret.
    pub fn required_secret(&'w self, name: &str, message: &str) -> Option<SecretText> {
        self.needed(name, message, At::text).map(SecretText::new)
    }

    fn needed(
        &'w self,
        name: &str,
        message: &str,
        read: impl Fn(&'w At<'w>) -> Result<Option<Zeroizing<String>>, Noted>,
    ) -> Option<Zeroizing<String>> {
        let Some(at) = self.get(name) else {
            if self.at.may_hold_fields() {
                self.at.missing(name, message);
            }
            return None;
        };
        match read(at) {
            Ok(Some(text)) => Some(text),
            Ok(None) => {
                at.error(message);
                None
            }
            Err(Noted) => None,
        }
    }
}

/// The name in `${NAME}`, if the text is that and nothing else.
fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    (!name.contains(['$', '{', '}'])).then_some(name)
}

/// A duration as Go writes it. Longer names of units, such as `5 minutes`, are taken too; units
/// from small to large and a fraction before the last unit, which Go would take, are not.
fn duration(text: &str) -> Result<Duration, &'static str> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = SpanParser::new()
        .parse_duration(text)
        .map_err(|_| "write a duration with its units, such as `5m0s` or `300ms`")?;
    Duration::try_from(duration).map_err(|_| "a duration may not be negative")
}

/// A name from the configuration as a message shows it: on one line and not too long.
pub(super) fn shown(name: &str) -> Cow<'_, str> {
    if name.len() <= SHOWN && !name.contains(char::is_control) {
        return Cow::Borrowed(name);
    }
    let mut text: String = name
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(SHOWN).is_some() {
        text.push_str("...");
    }
    Cow::Owned(text)
}

/// Names in backquotes, with commas.
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The known name that `name` probably is, misspelt.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .filter(|near| name.len().abs_diff(near.len()) <= 2)
        .map(|near| (strsim::osa_distance(name, near), *near))
        .filter(|(distance, near)| *distance <= 2.min(near.len().div_ceil(3)))
        .min()
        .map(|(_, near)| near)
}
