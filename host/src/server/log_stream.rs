//! A log as an answer's body, which goes on until something ends it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::sleep;

use super::terms::InForce;
use crate::admission::Admitted;
use crate::guest::{Reader, wall_clock};

/// How often it is looked at the clock, which may step.
const LOOK: Duration = Duration::from_secs(60);

/// What ends a stream.
pub struct End {
    /// The terms in force.
    pub in_force: Arc<InForce>,
    /// The number of those that the client was judged by: under others it has to ask again.
    pub generation: u64,
    /// Becomes true when the server is told to stop.
    pub stopping: watch::Receiver<bool>,
    /// The last moment, in nanoseconds since the Unix epoch, if there is one.
    pub until: Option<u64>,
}

impl End {
    async fn reached(mut self) {
        tokio::select! {
            () = self.in_force.succeeded(self.generation) => {}
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
            () = passed(self.until) => {}
        }
    }
}

/// Waits for a moment; without end if there is none.
async fn passed(until: Option<u64>) {
    let Some(until) = until else {
        return std::future::pending().await;
    };
    loop {
        let left = Duration::from_nanos(until.saturating_sub(wall_clock()));
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK)).await;
    }
}

/// The records of a log, from now until the end.
pub struct LogStream {
    /// `None` after the end.
    next: Option<Task<Option<(Bytes, Source)>>>,
    /// A stream is a request under way.
    _admitted: Option<Admitted>,
}

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where the records come from.
struct Source {
    reader: Reader,
    end: Task<()>,
}

impl Source {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        tokio::select! {
            biased;
            () = &mut self.end => None,
            lines = self.reader.next() => Some((lines, self)),
        }
    }
}

impl LogStream {
    /// What `reader` reads until `end`.
    pub fn new(reader: Reader, end: End, admitted: Option<Admitted>) -> Self {
        let end = Box::pin(end.reached());
        let source = Source { reader, end };
        Self {
            next: Some(Box::pin(source.next())),
            _admitted: admitted,
        }
    }

    /// The next records, as lines; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(next) = &mut self.next else {
            return Poll::Ready(None);
        };
        let next = ready!(next.as_mut().poll(cx));
        let (lines, source) = next.unzip();
        self.next = source.map(|source| Box::pin(source.next()) as Task<_>);
        Poll::Ready(lines)
    }
}
