//! What may be shown of a text that others wrote: without secrets, on one line, and not too long.
//!
//! Secrets get into texts in two ways. Somebody writes one where it does not belong, and it comes back as
//! the name of a field, a file or a host: [`conceal`] knows it by how it begins. Or a server elsewhere says
//! what it was asked: [`Secrets`] has what was secret in that very request.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

/// What stands for a secret.
const HIDDEN: &str = "***";

const IDENTITY: &str = "SEALEDGE-IDENTITY-***";
const API_KEY: &str = "kes:v1:***";

/// How a secret of sealedge begins, in any case; what is shown of it; and which bytes may belong to it.
struct Mark(&'static str, &'static str, fn(u8) -> bool);

const MARKS: [Mark; 5] = [
    Mark("SEALEDGE-IDENTITY-1", IDENTITY, in_word),
    // The same in base64, from capitals and from small letters: so it goes to a server that wraps it.
    Mark("U0VBTEVER0UtSURFTlRJVFkt", IDENTITY, in_base64),
    Mark("c2VhbGVkZ2UtaWRlbnRpdHkt", IDENTITY, in_base64),
    Mark("kes:v1:", API_KEY, in_base64),
    // In a URL.
    Mark("kes%3Av1%3A", API_KEY, in_base64),
];

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn in_base64(byte: u8) -> bool {
    in_word(byte) || matches!(byte, b'+' | b'/' | b'=' | b'%')
}

/// The text without what looks like a node's identity or an API key.
pub fn conceal(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, mark, after)) = first_secret(rest) {
        shown.push_str(before);
        shown.push_str(mark);
        rest = after;
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Whether the text has something in it that looks like a node's identity or an API key.
pub fn has_secret(text: &str) -> bool {
    first_secret(text).is_some()
}

/// Whether a text begins like an identity.
pub fn begins_as_identity(text: &str) -> bool {
    let [Mark(begin, ..), ..] = &MARKS;
    let head = text.get(..begin.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(begin))
}

/// What is before the first secret, what is shown of it, and what comes after it.
fn first_secret(text: &str) -> Option<(&str, &'static str, &str)> {
    text.char_indices().find_map(|(at, _)| {
        let (before, from) = text.split_at_checked(at)?;
        MARKS.iter().find_map(|Mark(begin, shown, belongs)| {
            let (head, body) = from.split_at_checked(begin.len())?;
            // First, so that all of a long text is looked at once: a client may have chosen it.
            if !head.eq_ignore_ascii_case(begin) {
                return None;
            }
            let length = body.bytes().take_while(|byte| belongs(*byte)).count();
            (length > 0).then_some((before, *shown, body.get(length..)?))
        })
    })
}

/// How many characters in a row of a secret give it away: a server may say only a part of it.
const TELLING: usize = 8;

/// A secret that is shorter keeps none, and would hide parts of words.
const SHORTEST: usize = 4;

/// Texts that nobody may see, of one request.
#[derive(Default)]
pub struct Secrets(Vec<Zeroizing<String>>);

impl Secrets {
    /// One more.
    pub fn add(&mut self, secret: &str) {
        if secret.chars().nth(SHORTEST - 1).is_some() {
            self.0.push(Zeroizing::new(secret.to_owned()));
        }
    }

    /// The text with `***` for each part of it that gives one of these away, as it is, or as JSON, a URL or
    /// base64 write it.
    pub fn hide(&self, text: &str) -> String {
        let mut hidden = vec![false; text.len()];
        for secret in &self.0 {
            for form in forms(secret) {
                mark(text, &form, &mut hidden);
            }
        }
        let mut shown = String::with_capacity(text.len());
        let mut was_hidden = false;
        for (character, is_hidden) in text
            .char_indices()
            .filter_map(|(at, character)| Some((character, *hidden.get(at)?)))
        {
            if !is_hidden {
                shown.push(character);
            } else if !was_hidden {
                shown.push_str(HIDDEN);
            }
            was_hidden = is_hidden;
        }
        shown
    }
}

/// How a secret may be written in what a server says.
fn forms(secret: &str) -> Vec<Zeroizing<String>> {
    let mut forms = vec![
        Zeroizing::new(secret.to_owned()),
        Zeroizing::new(one_line(secret)),
        Zeroizing::new(utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string()),
    ];
    let json = Zeroizing::new(serde_json::to_string(secret).unwrap_or_default());
    forms.push(Zeroizing::new(json.trim_matches('"').to_owned()));
    // Wherever it stands in what is encoded: without the characters that its neighbours have a part in.
    for before in 0..3 {
        let mut bytes = Zeroizing::new(vec![0; before]);
        bytes.extend_from_slice(secret.as_bytes());
        let shared_at_begin = if before == 0 { 0 } else { before + 1 };
        let shared_at_end = usize::from(!bytes.len().is_multiple_of(3));
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = Zeroizing::new(alphabet.encode(&bytes));
            let own = text.get(shared_at_begin..text.len() - shared_at_end);
            forms.extend(own.map(|own| Zeroizing::new(own.to_owned())));
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// Marks the bytes of a text in which this is, or a part of it that gives it away.
fn mark(text: &str, form: &str, hidden: &mut [bool]) {
    let mut hide = |from: usize, to: usize| {
        if let Some(part) = hidden.get_mut(from..to) {
            part.fill(true);
        }
    };
    if form.chars().nth(TELLING - 1).is_none() {
        for (at, found) in text.match_indices(form) {
            hide(at, at + found.len());
        }
        return;
    }
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let ends: Vec<usize> = ends.collect();
    for window in ends.windows(TELLING + 1) {
        if let (Some(from), Some(to)) = (window.first(), window.last())
            && text.get(*from..*to).is_some_and(|part| form.contains(part))
        {
            hide(*from, *to);
        }
    }
}

/// A text on one line and printable.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line = words.join(" ");
    line.retain(|character| !character.is_control());
    line
}

/// The most characters of what a server says that a message shows.
const SHOWN: usize = 200;

/// What a server says, as a message shows it: on one line, printable, and not too long.
pub fn shown(text: &str) -> String {
    let mut line = Zeroizing::new(one_line(text));
    if let Some((end, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(end);
        line.push_str("...");
    }
    std::mem::take(&mut *line)
}
