//! Answers, before a door turns them into its platform's.

use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::log::Subscription;

/// How a request ends.
pub enum Answer {
    /// At once.
    Response(Response),
    /// With a log, record by record.
    Subscription(Subscription),
}

impl Answer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Response(response) => response.status,
            Self::Subscription(_) => 200,
        }
    }
}

/// What a client gets.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The kind of body; `None` if there is none.
    pub content_type: Option<ContentType>,
    /// Whether the client is told how to sign requests, by the header `Accept-Signature` with
    /// [`crate::auth::signature::ACCEPT`].
    pub asks_for_signature: bool,
    /// The value of the header `WWW-Authenticate` (RFC 9110, 11.6.1): there is one with status 401.
    pub challenge: Option<&'static str>,
    /// The body, which may hold a DEK.
    pub body: Zeroizing<Vec<u8>>,
}

/// The kinds of body that the service answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// JSON (RFC 8259).
    Json,
    /// Plain text in UTF-8.
    Text,
    /// Prometheus's text format.
    Metrics,
}

impl ContentType {
    /// The value of the header `Content-Type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Metrics => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        }
    }
}

impl Response {
    /// Success without a body.
    pub fn empty() -> Self {
        Self {
            status: 200,
            content_type: None,
            asks_for_signature: false,
            challenge: None,
            body: Zeroizing::default(),
        }
    }

    /// Success with a JSON body.
    pub fn json(body: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self::text(ContentType::Json, body)
    }

    /// Success with a body of this kind.
    pub fn text(content_type: ContentType, body: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self {
            status: 200,
            content_type: Some(content_type),
            asks_for_signature: false,
            challenge: None,
            body: body.into(),
        }
    }

    /// The answer to a request that was not served.
    pub fn error(error: &Error) -> Self {
        #[derive(Serialize)]
        struct Body {
            message: String,
        }

        let message = error.to_string();
        let (content_type, body) = if *error == Error::NoRoute {
            // Go's own answer to an unknown path: plain text with a line's end.
            (
                ContentType::Text,
                [message.as_str(), "\n"].concat().into_bytes(),
            )
        } else {
            (
                ContentType::Json,
                serde_json::to_vec(&Body { message }).unwrap_or_default(),
            )
        };
        Self {
            status: error.status(),
            ..Self::text(content_type, body)
        }
    }
}
