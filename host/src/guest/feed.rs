//! A log that clients read while it is written.
//!
//! Whoever makes a record only puts it into a buffer. A task empties that now and then, and hands it to
//! all readers as one piece: so the cost of readers is that task's and theirs. A reader that is too
//! slow loses pieces, and is told of how many records they were.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::broadcast::{self, error::RecvError};

/// How long records are gathered.
const GATHER: Duration = Duration::from_millis(10);

/// How many bytes of records are gathered; what comes beyond them is lost, for all readers.
const LARGEST_PIECE: usize = 1 << 20;

/// How many pieces are kept for readers that are behind.
const PIECES: usize = 64;

/// The records of one log, for whoever reads them now.
pub struct Feed {
    readers: AtomicUsize,
    gathered: Mutex<Gathered>,
    begun: Notify,
    /// Locked while a piece is handed out, so that a new reader begins between two pieces.
    pieces: Mutex<broadcast::Sender<Piece>>,
}

/// Records that are not handed out yet.
#[derive(Default)]
struct Gathered {
    /// The number of the first one; each record has one more than that before.
    first: u64,
    lines: Vec<u8>,
    count: u64,
    /// Those that came after them and for which there was no room.
    lost: u64,
}

/// Records that follow each other.
#[derive(Clone)]
struct Piece {
    first: u64,
    lines: Bytes,
    count: u64,
}

impl Feed {
    /// Nobody reads yet.
    pub fn new() -> Self {
        Self {
            readers: AtomicUsize::new(0),
            gathered: Mutex::default(),
            begun: Notify::new(),
            pieces: Mutex::new(broadcast::Sender::new(PIECES)),
        }
    }

    /// Whether somebody reads: if not, a record need not be made.
    pub fn is_read(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// Takes a record: a JSON object that is not empty, with its line's end.
    pub fn push(&self, record: &[u8]) {
        let mut gathered = locked(&self.gathered);
        let is_first = gathered.lines.is_empty();
        let is_full = gathered.lines.len() + record.len() > LARGEST_PIECE;
        if gathered.lost > 0 || (is_full && !is_first) {
            gathered.lost += 1;
            return;
        }
        gathered.lines.extend_from_slice(record);
        gathered.count += 1;
        drop(gathered);
        if is_first {
            self.begun.notify_one();
        }
    }

    /// Hands records out without end.
    pub async fn run(&self) {
        loop {
            self.begun.notified().await;
            tokio::time::sleep(GATHER).await;
            self.hand_out(&locked(&self.pieces));
        }
    }

    /// Hands out what is gathered: the number of the next record.
    fn hand_out(&self, pieces: &broadcast::Sender<Piece>) -> u64 {
        let mut gathered = locked(&self.gathered);
        let next = gathered.first + gathered.count + gathered.lost;
        let Gathered {
            first,
            lines,
            count,
            ..
        } = std::mem::replace(
            &mut *gathered,
            Gathered {
                first: next,
                ..Gathered::default()
            },
        );
        drop(gathered);
        if count > 0 {
            let lines = Bytes::from(lines);
            // If nobody reads any more nobody misses it.
            let _ = pieces.send(Piece {
                first,
                lines,
                count,
            });
        }
        next
    }

    /// Reads all records from now on.
    pub fn read(self: &Arc<Self>) -> Reader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        let pieces = locked(&self.pieces);
        Reader {
            next: self.hand_out(&pieces),
            pieces: pieces.subscribe(),
            feed: self.clone(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One reader of a feed.
pub struct Reader {
    feed: Arc<Feed>,
    pieces: broadcast::Receiver<Piece>,
    /// The number of the record that it should read next.
    next: u64,
}

impl Reader {
    /// The next records, as lines. If some before them are lost, the first one has their number in
    /// the field `lost`.
    pub async fn next(&mut self) -> Bytes {
        loop {
            match self.pieces.recv().await {
                Ok(piece) => {
                    let lost = piece.first.saturating_sub(self.next);
                    self.next = piece.first + piece.count;
                    return match lost {
                        0 => piece.lines,
                        lost => with_loss(&piece.lines, lost),
                    };
                }
                // The numbers of the records tell how many that were.
                Err(RecvError::Lagged(_)) => {}
                // Not while this holds the feed.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.feed.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lines whose first object begins with the field `lost`.
fn with_loss(lines: &[u8], lost: u64) -> Bytes {
    let fields = lines.strip_prefix(b"{").unwrap_or(lines);
    [format!("{{\"lost\":{lost},").as_bytes(), fields]
        .concat()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize) -> String {
        format!("{{\"number\":{number}}}\n")
    }

    /// What a reader gets next, line by line.
    async fn lines(reader: &mut Reader) -> Vec<String> {
        let lines = String::from_utf8(reader.next().await.to_vec()).unwrap();
        lines.lines().map(ToOwned::to_owned).collect()
    }

    /// As the task does it.
    fn hand_out(feed: &Feed) {
        feed.hand_out(&locked(&feed.pieces));
    }

    #[tokio::test]
    async fn a_reader_gets_each_record_from_its_beginning_on() {
        let feed = Arc::new(Feed::new());
        assert!(!feed.is_read());
        let mut first = feed.read();
        feed.push(record(1).as_bytes());
        feed.push(record(2).as_bytes());
        let mut second = feed.read();
        feed.push(record(3).as_bytes());
        hand_out(&feed);
        assert_eq!(
            lines(&mut first).await,
            ["{\"number\":1}", "{\"number\":2}"]
        );
        for reader in [&mut first, &mut second] {
            assert_eq!(lines(reader).await, ["{\"number\":3}"]);
        }
        drop(first);
        assert!(feed.is_read());
        drop(second);
        assert!(!feed.is_read());
    }

    #[tokio::test]
    async fn the_number_of_lost_records_is_in_the_next_one() {
        let feed = Arc::new(Feed::new());
        let mut reader = feed.read();
        for number in 0..PIECES + 7 {
            feed.push(record(number).as_bytes());
            hand_out(&feed);
        }
        assert_eq!(lines(&mut reader).await, ["{\"lost\":7,\"number\":7}"]);
        assert_eq!(lines(&mut reader).await, ["{\"number\":8}"]);
    }

    #[tokio::test]
    async fn records_that_nobody_could_hand_out_in_time_are_lost() {
        let feed = Arc::new(Feed::new());
        let mut reader = feed.read();
        let half = format!("{{\"text\":\"{}\"}}\n", "a".repeat(LARGEST_PIECE / 2));
        for _ in 0..3 {
            feed.push(half.as_bytes());
        }
        // Nothing after what is lost, and be it small, or their order would not hold.
        feed.push(record(4).as_bytes());
        hand_out(&feed);
        feed.push(record(5).as_bytes());
        hand_out(&feed);
        assert_eq!(lines(&mut reader).await.len(), 1);
        assert_eq!(lines(&mut reader).await, ["{\"lost\":3,\"number\":5}"]);
    }

    #[tokio::test]
    async fn records_are_handed_out_by_themselves() {
        let feed = Arc::new(Feed::new());
        let mut reader = feed.read();
        let task = tokio::spawn({
            let feed = feed.clone();
            async move { feed.run().await }
        });
        for number in 0..3 {
            feed.push(record(number).as_bytes());
            assert_eq!(lines(&mut reader).await.len(), 1);
        }
        task.abort();
    }
}
