//! The logs as streams, which clients read while they are written.
//!
//! The service says who may read which one, and until when; a platform hands the records out.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

use crate::time::Time;

/// A log that can be read as a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// [Records](crate::audit::Record) of requests.
    Audit,
    /// What goes wrong, as [`error_record`] writes it.
    Error,
}

/// The answer to a client that may read a log: status 200, and a body of [`CONTENT_TYPE`] that has
/// each record from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Which log.
    pub topic: Topic,
    /// When the stream has to end; `None` if it may go on.
    pub until: Option<Time>,
}

/// The kind of body that a stream is: one JSON object a line.
pub const CONTENT_TYPE: &str = "application/x-ndjson";

/// A record of the error log's stream, as a line: `{message}`, in the form of KES's.
pub fn error_record(message: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Record<'a> {
        message: &'a str,
    }

    line(&Record { message })
}

/// A record as a line of JSON, in ASCII: what else a client may have put into it could be taken for the
/// end of a line, or for an order by a terminal (U+0085, U+009B, U+2028).
pub(crate) fn line(record: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut line, Ascii);
    // Neither a vector nor a record of texts and numbers can fail.
    let _ = record.serialize(&mut serializer);
    line.push(b'\n');
    line
}

/// JSON's strings in printable ASCII. Control characters below U+0020 are escaped in any JSON.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        const DELETE: char = '\u{7f}';
        if fragment.bytes().all(|byte| char::from(byte) < DELETE) {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if character < DELETE {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_message_is_one_printable_line_that_says_it(message: String) {
            let mut line = error_record(&message);
            prop_assert_eq!(line.pop(), Some(b'\n'));
            prop_assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
            let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(read["message"].as_str(), Some(message.as_str()));
        }
    }
}
