//! YAML text as a tree whose nodes know their lines.

use std::collections::BTreeMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};
use zeroize::Zeroizing;

use super::Problem;

/// The deepest nesting as written; a configuration needs less than ten levels. With the next
/// constant it bounds the recursion that drops the tree.
const MAX_DEPTH: usize = 32;

/// How many nodes all aliases (`*name`) together may stand for. It bounds the work that a few lines
/// of nested aliases can ask for; an alias itself costs nothing, as it shares its node.
const MAX_ALIASED: usize = 100_000;

/// One node of the tree.
pub(super) struct Node {
    /// Where it begins, counted from 1.
    pub line: usize,
    pub content: Content,
    /// How many nodes it is made of, aliases written out.
    size: usize,
}

pub(super) enum Content {
    /// No value: nothing at all, `~` or `null`.
    Null,
    /// Text, which may be secret.
    Scalar(Zeroizing<String>),
    Sequence(Vec<Rc<Node>>),
    /// Keys and their values in the order of the text; a key may come twice.
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
}

/// Reads a text with one YAML document or none.
pub(super) fn read(text: &str) -> Result<Rc<Node>, Problem> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| invalid(text, &error))?;
        builder.take(event, span.start)?;
    }
    Ok(builder.root.unwrap_or_else(|| {
        Rc::new(Node {
            line: 1,
            content: Content::Null,
            size: 1,
        })
    }))
}

fn invalid(text: &str, error: &ScanError) -> Problem {
    let mut problem = problem(
        *error.marker(),
        format!("this is not valid YAML: {}", error.info()),
    );
    // The parser counts the end of the text as a line of its own.
    let line = error.marker().line().clamp(1, text.lines().count().max(1));
    problem.line = Some(line);
    if has_bare_variable(text, line) {
        problem
            .message
            .push_str("; `${NAME}` inside `{ }` or `[ ]` needs quotes");
    }
    problem
}

/// Whether a variable (`${NAME}`) stands without quotes where braces or brackets are open, and no later
/// than on this line: to YAML its own brace is one more.
fn has_bare_variable(text: &str, last: usize) -> bool {
    let mut open = 0_usize;
    for line in text.lines().take(last) {
        let mut quote = None;
        let mut before = ' ';
        for (at, character) in line.char_indices() {
            match (quote, character) {
                (Some(quoted), _) if quoted == character => quote = None,
                (Some(_), _) => {}
                // Within a word they mean nothing.
                (None, '"' | '\'') if !before.is_alphanumeric() => quote = Some(character),
                (None, '#') if before == ' ' => break,
                (None, '$')
                    if open > 0 && line.get(at..).is_some_and(|it| it.starts_with("${")) =>
                {
                    return true;
                }
                (None, '{') if before == '$' => open += 1,
                (None, '{' | '[') if !before.is_alphanumeric() => open += 1,
                (None, '}' | ']') => open = open.saturating_sub(1),
                (None, _) => {}
            }
            before = character;
        }
    }
    false
}

fn problem(at: Marker, message: String) -> Problem {
    Problem {
        line: Some(at.line().max(1)),
        field: String::new(),
        message,
    }
}

/// A collection whose end is still to come.
struct Open {
    line: usize,
    anchor: usize,
    children: Vec<Rc<Node>>,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// Finished nodes with an anchor (`&name`), by the parser's number for it; 0 is none.
    anchors: BTreeMap<usize, Rc<Node>>,
    aliased: usize,
    documents: usize,
    root: Option<Rc<Node>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(problem(
                        at,
                        "a second YAML document begins here; keep one".into(),
                    ));
                }
            }
            Event::DocumentEnd => self.anchors.clear(),
            Event::Scalar(.., Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(problem(
                    at,
                    "YAML tags (`!name`) have no meaning here; remove it".into(),
                ));
            }
            Event::Scalar(text, style, anchor, None) => {
                let null = style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let text = Zeroizing::new(text.into_owned());
                let content = if null {
                    Content::Null
                } else {
                    Content::Scalar(text)
                };
                self.add(
                    Node {
                        line: at.line(),
                        content,
                        size: 1,
                    },
                    anchor,
                );
            }
            Event::SequenceStart(anchor, None) | Event::MappingStart(anchor, None) => {
                if self.open.len() == MAX_DEPTH {
                    return Err(problem(
                        at,
                        format!("nested deeper than {MAX_DEPTH} levels"),
                    ));
                }
                self.open.push(Open {
                    line: at.line(),
                    anchor,
                    children: Vec::new(),
                });
            }
            Event::SequenceEnd => self.close(Content::Sequence),
            Event::MappingEnd => self.close(|children| {
                let mut children = children.into_iter();
                let pairs = std::iter::from_fn(|| Some((children.next()?, children.next()?)));
                Content::Mapping(pairs.collect())
            }),
            Event::Alias(anchor) => self.alias(anchor, at)?,
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Marker) -> Result<(), Problem> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(problem(
                at,
                "this alias stands inside of what it names".into(),
            ));
        };
        self.aliased = self.aliased.saturating_add(node.size);
        if self.aliased > MAX_ALIASED {
            return Err(problem(
                at,
                format!("aliases stand for more than {MAX_ALIASED} values; write them out"),
            ));
        }
        let node = Rc::clone(node);
        self.place(node);
        Ok(())
    }

    fn close(&mut self, content: impl FnOnce(Vec<Rc<Node>>) -> Content) {
        if let Some(Open {
            line,
            anchor,
            children,
        }) = self.open.pop()
        {
            let size = children
                .iter()
                .fold(1, |sum: usize, child| sum.saturating_add(child.size));
            self.add(
                Node {
                    line,
                    content: content(children),
                    size,
                },
                anchor,
            );
        }
    }

    fn add(&mut self, node: Node, anchor: usize) {
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node);
    }

    fn place(&mut self, node: Rc<Node>) {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(node),
            None => self.root = Some(node),
        }
    }
}
