//! What a component writes: lines, which a test can wait for.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// How much of a line may be written at a time.
const CHUNK: usize = 64 * 1024;

/// All that was written to a stream so far, by all instances.
#[derive(Clone, Default)]
pub struct Lines {
    text: Arc<Mutex<Vec<u8>>>,
}

impl Lines {
    /// As text.
    ///
    /// # Panics
    /// If another test has panicked.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// The lines, once there are so many.
    ///
    /// # Panics
    /// If there are fewer after half a minute.
    pub fn lines(&self, count: usize) -> Vec<String> {
        for _ in 0..3000 {
            let lines: Vec<_> = self.text().lines().map(str::to_owned).collect();
            if lines.len() >= count {
                return lines;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("there are no {count} lines: {}", self.text());
    }

    /// Waits until a line has this in it; the line.
    ///
    /// # Panics
    /// If none comes within half a minute.
    pub fn wait_for(&self, part: &str) -> String {
        for _ in 0..3000 {
            if let Some(line) = self.text().lines().find(|line| line.contains(part)) {
                return line.to_owned();
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("no line says {part:?}: {}", self.text());
    }

    /// Adds bytes, which need not be a line.
    pub(super) fn write(&self, bytes: &[u8]) {
        self.text.lock().unwrap().extend_from_slice(bytes);
    }

    /// Adds a line.
    pub(super) fn say(&self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // For WASI 0.3 alone.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        Lines::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(CHUNK)
    }
}
