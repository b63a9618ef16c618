//! The body of an answer: whole, or piece by piece as the server sends it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::admission::Admitted;

/// How long a client may leave a piece of a stream untaken. The server waits longer and then ends the
/// connection, which all clients share.
const UNTAKEN: Duration = Duration::from_secs(20);

/// How many pieces are kept for it.
const PIECES: usize = 4;

/// A body, and what let its request in: held until it is sent.
pub struct Answer {
    content: Content,
    _admitted: Option<Admitted>,
}

enum Content {
    /// What is not sent yet.
    Whole(Bytes),
    Stream(mpsc::Receiver<Piece>),
}

enum Piece {
    Data(Bytes),
    End,
}

impl Answer {
    /// A body of these bytes.
    pub const fn whole(body: Bytes, admitted: Option<Admitted>) -> Self {
        Self {
            content: Content::Whole(body),
            _admitted: admitted,
        }
    }

    /// What the server sends, until one side ends it or `stopping` becomes true.
    pub fn stream(
        body: Incoming,
        admitted: Option<Admitted>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (to, pieces) = mpsc::channel(PIECES);
        tokio::spawn(hand_on(body, to, stopping));
        Self {
            content: Content::Stream(pieces),
            _admitted: admitted,
        }
    }
}

/// Takes what comes, so that a slow client does not hold up the connection to the server.
async fn hand_on(mut body: Incoming, to: mpsc::Sender<Piece>, mut stopping: watch::Receiver<bool>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = stopping.wait_for(|stopping| *stopping) => None,
            () = to.closed() => return,
        };
        let (piece, is_last) = match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => (Piece::Data(data), false),
                Err(_trailers) => continue,
            },
            None => (Piece::End, true),
            // Without an end the stream is broken off for the client as well.
            Some(Err(_)) => return,
        };
        if !matches!(timeout(UNTAKEN, to.send(piece)).await, Ok(Ok(()))) || is_last {
            return;
        }
    }
}

/// The stream ended before its end.
#[derive(Debug)]
pub struct BrokenOff;

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream broke off")
    }
}

impl std::error::Error for BrokenOff {}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        Poll::Ready(match &mut self.content {
            Content::Whole(body) if body.is_empty() => None,
            Content::Whole(body) => Some(Ok(Frame::data(std::mem::take(body)))),
            Content::Stream(pieces) => match ready!(pieces.poll_recv(cx)) {
                Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Piece::End) => None,
                None => Some(Err(BrokenOff)),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(body) if body.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
