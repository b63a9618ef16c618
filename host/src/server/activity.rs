//! What goes on on a connection, and when that is too little.
//!
//! hyper knows no idle time, and takes a kept-alive connection for one that is slow with its next
//! head. So the connection is watched from both sides: by the bytes that go through its stream, and
//! by its requests and the pieces of their answers.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep};
use tokio_rustls::server::TlsStream;

use crate::limits::Limits;

/// A connection's activity.
pub struct Activity {
    limits: Limits,
    /// Whether bytes that come while nothing is under way begin the head of a request. By HTTP/2 they
    /// may be anything.
    bytes_are_heads: bool,
    state: Mutex<State>,
}

/// What a connection is waited for, and does not do in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// To send the head of a request.
    Head,
    /// To begin anything, for long enough that it may sleep.
    Quiet,
    /// To begin anything.
    Idle,
    /// To read its answer.
    Unread,
    /// To end.
    End,
}

struct State {
    /// Requests whose answers hyper has not taken yet.
    requests: usize,
    /// Those beside them that are answered by a stream.
    streams: usize,
    /// The pieces of answers that are not written yet: since when each is there, and its number.
    unread: BTreeSet<(Instant, u64)>,
    /// How many of them are not of streams.
    owed: usize,
    /// The number of the next one.
    next_piece: u64,
    /// The head of a request is on its way.
    head: bool,
    /// All of the last request has been read.
    is_whole: bool,
    /// The connection should end.
    closing: bool,
    /// When one of these changed.
    since: Instant,
    /// Since when the client takes no bytes although there are some.
    blocked: Option<Instant>,
    /// It is to be looked whether the client has hung up.
    look: bool,
}

impl Activity {
    /// A connection on which the first request is awaited.
    pub fn new(limits: Limits, bytes_are_heads: bool) -> Arc<Self> {
        Arc::new(Self {
            limits,
            bytes_are_heads,
            state: Mutex::new(State {
                requests: 0,
                streams: 0,
                unread: BTreeSet::new(),
                owed: 0,
                next_piece: 0,
                head: true,
                is_whole: false,
                closing: false,
                since: Instant::now(),
                blocked: None,
                look: false,
            }),
        })
    }

    /// A request has come.
    pub fn begin(self: &Arc<Self>) -> Underway {
        let mut state = self.state();
        state.head = false;
        state.is_whole = false;
        state.requests += 1;
        Underway {
            on: self.clone(),
            is_stream: false,
        }
    }

    /// The connection is to end as soon as nothing is under way.
    pub fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        state.since = Instant::now();
    }

    /// All of the request has been read. Only then may the connection sleep: whoever reads on must know
    /// that the next head begins there.
    pub fn has_whole_request(&self) {
        self.state().is_whole = true;
    }

    /// Waits until the connection is overdue. To be polled whenever something happens on it.
    pub async fn overdue(&self) -> Overdue {
        self.wait_overdue(false).await
    }

    /// The same while it is asleep. It is then to be woken, and does not sleep again: it ends.
    pub async fn overdue_asleep(&self) {
        self.wait_overdue(true).await;
        self.state().is_whole = false;
    }

    async fn wait_overdue(&self, is_asleep: bool) -> Overdue {
        let mut timer = pin!(sleep(self.limits.head));
        poll_fn(|cx| {
            loop {
                // Most requests begin and end without a change of the timer.
                if let Some((at, _)) = self.deadline(is_asleep)
                    && at < timer.deadline()
                {
                    timer.as_mut().reset(at);
                }
                ready!(timer.as_mut().poll(cx));
                let now = Instant::now();
                match self.deadline(is_asleep) {
                    Some((at, overdue)) if at <= now => return Poll::Ready(overdue),
                    Some((at, _)) => timer.as_mut().reset(at),
                    // Some more of an answer may come without this being polled.
                    None => {
                        timer.as_mut().reset(now + self.limits.send);
                        self.state().look = true;
                        // So that the stream is polled.
                        cx.waker().wake_by_ref();
                    }
                }
            }
        })
        .await
    }

    /// When the connection is overdue if nothing happens until then, and with what; `None` while it is
    /// the service that is waited for, whose routes have limits of their own.
    fn deadline(&self, is_asleep: bool) -> Option<(Instant, Overdue)> {
        let state = self.state();
        let oldest = state.unread.first().map(|(since, _)| *since);
        let unread = oldest.into_iter().chain(state.blocked).min();
        let (since, limit, overdue) = if state.closing && state.requests + state.owed == 0 {
            // Streams have been told to end, and nobody waits until a slow reader has seen it.
            (state.since, self.limits.head, Overdue::End)
        } else if let Some(since) = unread {
            (since, self.limits.send, Overdue::Unread)
        } else if state.requests + state.streams > 0 {
            return None;
        } else if state.head {
            (state.since, self.limits.head, Overdue::Head)
        } else if self.may_sleep(&state) && !is_asleep {
            (state.since, self.limits.quiet, Overdue::Quiet)
        } else {
            (state.since, self.limits.idle, Overdue::Idle)
        };
        Some((since + limit, overdue))
    }

    /// By HTTP/2 there is more to remember than where a request ends.
    fn may_sleep(&self, state: &State) -> bool {
        self.bytes_are_heads && state.is_whole && self.limits.quiet < self.limits.idle
    }

    fn received(&self) {
        if !self.bytes_are_heads {
            return;
        }
        let mut state = self.state();
        if state.requests + state.streams == 0 && !state.head {
            state.head = true;
            state.since = Instant::now();
        }
    }

    /// Notes whether bytes that are there can't be sent; whether it is to be looked if anybody is there
    /// to read them.
    fn sent(&self, is_blocked: bool) -> bool {
        let mut state = self.state();
        if is_blocked {
            state.blocked.get_or_insert_with(Instant::now);
        } else {
            state.blocked = None;
        }
        std::mem::take(&mut state.look)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, from its head until hyper has taken its answer or the connection is gone.
pub struct Underway {
    on: Arc<Activity>,
    is_stream: bool,
}

impl Underway {
    /// The answer is a stream: it comes bit by bit, and may be silent for long.
    pub fn streams(&mut self) {
        let mut state = self.on.state();
        state.requests -= 1;
        state.streams += 1;
        self.is_stream = true;
    }

    /// A piece of its answer is there: it is the client's turn until all of it is written.
    pub fn unread(&self, piece: Bytes) -> Bytes {
        let mut state = self.on.state();
        let key = (Instant::now(), state.next_piece);
        state.next_piece += 1;
        state.unread.insert(key);
        state.owed += usize::from(!self.is_stream);
        drop(state);
        Bytes::from_owner(Unread {
            on: self.on.clone(),
            key,
            is_stream: self.is_stream,
            piece,
        })
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut state = self.on.state();
        if self.is_stream {
            state.streams -= 1;
        } else {
            state.requests -= 1;
        }
        state.since = Instant::now();
    }
}

/// A piece of an answer. HTTP keeps it until the client has read so much, or the connection is gone.
struct Unread {
    on: Arc<Activity>,
    key: (Instant, u64),
    is_stream: bool,
    piece: Bytes,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let mut state = self.on.state();
        state.unread.remove(&self.key);
        state.owed -= usize::from(!self.is_stream);
    }
}

/// A stream of which can be told whether its client has closed it.
pub trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Ready as soon as there is something to read, or the client has closed.
    fn until_readable(&self) -> impl Future<Output = io::Result<Ready>>;
}

impl Socket for UnixStream {
    fn until_readable(&self) -> impl Future<Output = io::Result<Ready>> {
        self.ready(Interest::READABLE)
    }
}

/// A connection after its handshake. In a box: it moves through futures that each keep room for it.
pub type Stream = Box<TlsStream<TcpStream>>;

impl Socket for Stream {
    fn until_readable(&self) -> impl Future<Output = io::Result<Ready>> {
        self.get_ref().0.ready(Interest::READABLE)
    }
}

/// A connection's stream, whose bytes count as activity.
pub struct Watched<S = Stream> {
    stream: S,
    /// What was read of the stream and is to be read again.
    unread: Bytes,
    activity: Arc<Activity>,
}

impl<S: Socket> Watched<S> {
    /// Watches a stream.
    pub fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            unread: Bytes::new(),
            activity,
        }
    }

    /// What was read of the stream is to be read again.
    pub fn put_back(&mut self, unread: Bytes) {
        // Even if nothing is in it, it may hold on to a buffer.
        self.unread = if unread.is_empty() {
            Bytes::new()
        } else {
            unread
        };
    }

    /// Whether there is something that was put back.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, not watched any more.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn sent<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let look = self.activity.sent(done.is_pending());
        if look && self.has_hung_up() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        done
    }

    /// Whether the client has closed the connection. hyper sees that by reading; but it does not read
    /// while it has bytes of a next request, and a log stream may be silent for ever.
    fn has_hung_up(&self) -> bool {
        let ready = pin!(self.stream.until_readable());
        match ready.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }
}

impl<S: Socket> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = if self.unread.is_empty() {
            Pin::new(&mut self.stream).poll_read(cx, buffer)
        } else {
            let length = self.unread.len().min(buffer.remaining());
            buffer.put_slice(&self.unread.split_to(length));
            Poll::Ready(Ok(()))
        };
        if buffer.filled().len() > before {
            self.activity.received();
        }
        read
    }
}

impl<S: Socket> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.sent(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.sent(closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_sleeps_only_where_the_next_head_would_begin() {
        let next = |activity: &Activity, is_asleep| activity.deadline(is_asleep).map(|it| it.1);
        let activity = Activity::new(Limits::default(), true);
        assert_eq!(next(&activity, false), Some(Overdue::Head));
        drop(activity.begin());
        assert_eq!(next(&activity, false), Some(Overdue::Idle));
        let request = activity.begin();
        activity.has_whole_request();
        assert_eq!(next(&activity, false), None);
        drop(request);
        assert_eq!(next(&activity, false), Some(Overdue::Quiet));
        assert_eq!(next(&activity, true), Some(Overdue::Idle));
        activity.sent(true);
        assert_eq!(next(&activity, false), Some(Overdue::Unread));
        activity.sent(false);
        activity.received();
        assert_eq!(next(&activity, false), Some(Overdue::Head));
    }

    #[test]
    fn a_connection_that_ends_waits_for_answers_and_for_no_stream() {
        let next = |activity: &Activity| activity.deadline(false).map(|it| it.1);
        let activity = Activity::new(Limits::default(), true);
        let answer = activity.begin();
        let piece = answer.unread(Bytes::from_static(b"answer"));
        drop(answer);
        let mut stream = activity.begin();
        stream.streams();
        let record = stream.unread(Bytes::from_static(b"record"));
        activity.close();
        assert_eq!(next(&activity), Some(Overdue::Unread));
        drop(piece);
        assert_eq!(next(&activity), Some(Overdue::End));
        // It has ended, but nobody reads what it had.
        drop(stream);
        assert_eq!(next(&activity), Some(Overdue::End));
        drop(record);
        assert_eq!(next(&activity), Some(Overdue::End));
    }

    #[test]
    fn by_http2_none_sleeps() {
        let activity = Activity::new(Limits::default(), false);
        let request = activity.begin();
        activity.has_whole_request();
        drop(request);
        let next = activity.deadline(false).map(|it| it.1);
        assert_eq!(next, Some(Overdue::Idle));
    }
}
