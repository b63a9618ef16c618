//! A log that is read while the server writes it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::client::Client;

/// A stream of records.
pub struct LogStream {
    body: Incoming,
    /// What has come, but for the lines that were taken.
    read: BytesMut,
}

/// How long a test waits for a record.
const PATIENCE: Duration = Duration::from_secs(60);

impl LogStream {
    /// Reads a log from now on, with what its path says: `audit` or `error`.
    ///
    /// # Panics
    /// If the head of the answer does not come, or is not that of a stream.
    pub async fn of(client: &mut Client, log: &str) -> Self {
        let path = format!("/v1/log/{log}");
        let answer = client.begin("GET", &path, &[], Bytes::new());
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.expect("no head in time").unwrap();
        assert_eq!(answer.status(), 200);
        let content_type = answer.headers().get("content-type").unwrap();
        assert_eq!(content_type, "application/x-ndjson");
        Self {
            body: answer.into_body(),
            read: BytesMut::new(),
        }
    }

    /// The next record; `None` at the end of the stream.
    ///
    /// # Panics
    /// If neither comes, or the stream breaks off.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1);
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let Some(frame) = frame.expect("no record in time") else {
                assert!(self.read.is_empty(), "the stream ends within a line");
                return None;
            };
            self.read
                .extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// The next record of a request with this in its path; those before it are skipped.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn of_path(&mut self, part: &str) -> Value {
        loop {
            let record = self.next().await.expect("the stream has ended");
            if record["request"]["path"].as_str().unwrap().contains(part) {
                return record;
            }
        }
    }
}
