//! Lines that go to a standard stream by a thread of their own.
//!
//! Whoever reads the stream may be slow or stuck. Instances of the service, which must never wait,
//! hand their lines over and go on.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How many lines may wait for a slow reader.
const BACKLOG: usize = 8192;

/// A stream of lines.
pub struct Log {
    /// `None` once the log has ended.
    lines: Mutex<Option<Sender<Vec<u8>>>>,
    backlog: Arc<Backlog>,
    writer: JoinHandle<()>,
}

/// The lines that are not written yet.
#[derive(Default)]
struct Backlog {
    length: AtomicUsize,
    shrunk: Notify,
}

impl Log {
    /// A log to `stream`. `failed` hears when the stream begins to fail.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn new(
        name: &str,
        stream: impl Write + Send + 'static,
        failed: impl Fn(io::Error) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, lines) = channel();
        let backlog = Arc::new(Backlog::default());
        let left = backlog.clone();
        let writer = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || write(&lines, &left, BufWriter::new(stream), failed))?;
        Ok(Self {
            lines: Mutex::new(Some(sender)),
            backlog,
            writer,
        })
    }

    /// Hands over a line, with its end. It never waits.
    pub fn write(&self, line: Vec<u8>) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = &*lines {
            self.backlog.length.fetch_add(1, Ordering::Relaxed);
            // The writer ends after all senders.
            let _ = lines.send(line);
        }
    }

    /// Whether more lines wait than may.
    pub fn is_full(&self) -> bool {
        self.backlog.length.load(Ordering::Relaxed) >= BACKLOG
    }

    /// Waits until fewer lines wait than may.
    pub async fn room(&self) {
        while self.is_full() {
            let shrunk = self.backlog.shrunk.notified();
            if self.is_full() {
                shrunk.await;
            }
        }
    }

    /// Ends the log, once all lines are written or `patience` has run out. How many lines are lost.
    pub fn end(&self, patience: Duration) -> usize {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let begun = Instant::now();
        while !self.writer.is_finished() && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.backlog.length.load(Ordering::Relaxed)
    }
}

/// Writes lines until there are no more senders. A stream that fails is tried again with the next
/// lines, since a full disk may have room again.
fn write(
    lines: &Receiver<Vec<u8>>,
    backlog: &Backlog,
    mut stream: BufWriter<impl Write>,
    failed: impl Fn(io::Error),
) {
    let mut works = true;
    while let Ok(line) = lines.recv() {
        let mut count = 0;
        let mut written = Ok(());
        let mut next = Some(line);
        while let Some(line) = next {
            written = written.and(stream.write_all(&line));
            count += 1;
            next = lines.try_recv().ok();
        }
        let written = written.and_then(|()| stream.flush());
        backlog.length.fetch_sub(count, Ordering::Relaxed);
        backlog.shrunk.notify_waiters();
        let worked = std::mem::replace(&mut works, written.is_ok());
        if let Err(reason) = written
            && worked
        {
            failed(reason);
        }
    }
}
