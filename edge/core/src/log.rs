//! The logs as streams, which clients read while they are written.
//!
//! The service says who may read which one, and until when; a platform hands the records out.

use serde::Serialize;

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

    let mut line = serde_json::to_vec(&Record { message }).unwrap_or_default();
    line.push(b'\n');
    line
}
