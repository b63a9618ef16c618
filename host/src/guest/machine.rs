//! The machine and the process under the service: clock, figures, logs.

use std::fs;
use std::io::{BufWriter, Write};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use sealedge_core::time::Time;

use super::types;

/// How many audit records may wait for a slow reader of standard output. Then requests wait too:
/// no record is lost.
const AUDIT_BACKLOG: usize = 8192;

/// What all instances share of the process.
pub struct Machine {
    started: u64,
    cpus: u32,
    usable_cpus: u32,
    audit: Mutex<Option<Audit>>,
}

struct Audit {
    lines: SyncSender<Vec<u8>>,
    writer: JoinHandle<()>,
}

impl Machine {
    /// The machine now: this is when the server has started.
    ///
    /// # Errors
    /// There is no thread for the audit log.
    pub fn new() -> std::io::Result<Self> {
        let usable = std::thread::available_parallelism().map_or(1, |count| count.get());
        let usable_cpus = u32::try_from(usable).unwrap_or(u32::MAX);
        let (lines, backlog) = sync_channel(AUDIT_BACKLOG);
        let writer = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || write_lines(&backlog))?;
        Ok(Self {
            started: wall_clock(),
            cpus: processors().unwrap_or(usable_cpus).max(usable_cpus),
            usable_cpus,
            audit: Mutex::new(Some(Audit { lines, writer })),
        })
    }

    /// Nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        wall_clock()
    }

    /// Writes a line to the audit log.
    pub fn audit(&self, line: Vec<u8>) {
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(audit) = &*audit {
            // It fails only if standard output is gone, which the writer has reported.
            let _ = audit.lines.send(line);
        }
    }

    /// Writes a line to the error log.
    pub fn error(&self, message: &str) {
        let time = Time::from_nanos(wall_clock()).timestamp();
        // Nothing can be done about a standard error that is gone.
        let _ = writeln!(std::io::stderr().lock(), "{time:.3} error: {message}");
    }

    /// Waits until the audit log is written. What comes later is lost.
    pub fn flush(&self) {
        let audit = self
            .audit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Audit { lines, writer }) = audit {
            drop(lines);
            let _ = writer.join();
        }
    }

    /// The figures of the process now.
    pub fn system(&self) -> types::Machine {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        types::Machine {
            commit: env!("SEALEDGE_COMMIT").to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: match std::env::consts::ARCH {
                "x86_64" => "amd64".to_owned(),
                "aarch64" => "arm64".to_owned(),
                other => other.to_owned(),
            },
            started: self.started,
            cpus: self.cpus,
            usable_cpus: self.usable_cpus,
            threads: u32::try_from(figure(&status, "Threads:")).unwrap_or(u32::MAX),
            heap: figure(&status, "RssAnon:") * 1024,
            stack: figure(&status, "VmStk:") * 1024,
        }
    }
}

fn wall_clock() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// A number in Linux's `/proc/self/status`; 0 where there is none.
fn figure(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

/// The machine's logical processors.
fn processors() -> Option<u32> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let count = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    u32::try_from(count).ok()
}

fn write_lines(backlog: &Receiver<Vec<u8>>) {
    let mut output = BufWriter::new(std::io::stdout());
    while let Ok(line) = backlog.recv() {
        let mut next = Some(line);
        let mut written = Ok(());
        while let Some(line) = next {
            written = written.and_then(|()| output.write_all(&line));
            next = backlog.try_recv().ok();
        }
        if let Err(reason) = written.and_then(|()| output.flush()) {
            eprintln!("the audit log can't be written to standard output: {reason}");
            return;
        }
    }
}
