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
use zeroize::Zeroizing;

use super::upstream::Fault;
use crate::admission::Admitted;
use crate::outside::causes;
use crate::server::activity::Underway;

/// How long a client may leave a piece of a stream untaken. The server waits longer and then ends the
/// connection, which all clients share.
const UNTAKEN: Duration = Duration::from_secs(20);

/// How many pieces are kept for it.
const PIECES: usize = 4;

/// The longest answer that is taken whole.
const LONGEST: usize = 8 << 20;

/// The longest piece in which an answer is handed to HTTP: the client has to read as much of it in time.
const PIECE: usize = 16 << 10;

/// A body on its way to a client.
pub struct Answer {
    content: Content,
    underway: Underway,
}

/// What a body has.
pub enum Content {
    /// What HTTP has not taken yet.
    Whole(Bytes),
    /// What comes, and what let its request in.
    Stream {
        pieces: mpsc::Receiver<Piece>,
        _admitted: Admitted,
    },
}

/// Of a stream.
pub enum Piece {
    /// The next bytes.
    Data(Bytes),
    /// There is no more.
    End,
}

/// A whole body, and what let its request in: held until the last byte is written.
struct Held {
    // It may be a DEK: it wipes itself when it is sent.
    body: Zeroizing<Vec<u8>>,
    _admitted: Admitted,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Content {
    /// Waits for all of an answer; `is_head` if what it announces does not come.
    ///
    /// # Errors
    /// It is not all there, too long, or there is no room for it.
    pub async fn whole(
        mut from: Incoming,
        is_head: bool,
        mut admitted: Admitted,
    ) -> Result<Self, Fault> {
        let mut room = |length: usize| match length <= LONGEST {
            true => admitted.reach(length).map_err(Fault::NoRoom),
            false => Err(Fault::TooLong),
        };
        let announced = from.size_hint().exact().filter(|_| !is_head);
        let announced = announced.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        room(announced.unwrap_or_default())?;
        let mut body = Zeroizing::new(Vec::with_capacity(announced.unwrap_or_default()));
        while let Some(frame) = from.frame().await {
            let frame = frame.map_err(|error| Fault::BrokenOff(causes(&error)))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            room(body.len() + data.len())?;
            body.extend_from_slice(&data);
        }
        // By HTTP/2 an answer that is given up without an error seems to be at its end.
        if let Some(announced) = announced.filter(|announced| *announced != body.len()) {
            let why = format!("{} bytes of {announced}", body.len());
            return Err(Fault::BrokenOff(why));
        }
        admitted.holds(body.len());
        Ok(Self::Whole(Bytes::from_owner(Held {
            body,
            _admitted: admitted,
        })))
    }

    /// What the server sends, until one side ends it or `stopping` becomes true.
    pub fn stream(from: Incoming, mut admitted: Admitted, stopping: watch::Receiver<bool>) -> Self {
        let (to, pieces) = mpsc::channel(PIECES);
        tokio::spawn(hand_on(from, to, stopping));
        admitted.holds(0);
        Self::Stream {
            pieces,
            _admitted: admitted,
        }
    }
}

impl Answer {
    /// With it the request stays under way until HTTP has taken it.
    pub fn new(content: Content, mut underway: Underway) -> Self {
        if matches!(content, Content::Stream { .. }) {
            underway.streams();
        }
        Self { content, underway }
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
        let Self { content, underway } = &mut *self;
        let next = match content {
            Content::Whole(body) if body.is_empty() => None,
            Content::Whole(body) => Some(body.split_to(body.len().min(PIECE))),
            Content::Stream { pieces, .. } => match ready!(pieces.poll_recv(cx)) {
                Some(Piece::Data(data)) => Some(data),
                Some(Piece::End) => None,
                None => return Poll::Ready(Some(Err(BrokenOff))),
            },
        };
        let piece = next.map(|piece| underway.unread(piece));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(body) if body.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Content::Stream { .. } => SizeHint::default(),
        }
    }
}
