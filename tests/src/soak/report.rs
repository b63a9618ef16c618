//! What a soak tells: on its way, and at its end.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::tally::{Counts, Tally};
use super::{Memory, Plan};

/// How far a soak is.
pub struct Progress {
    /// Since its begin.
    pub elapsed: Duration,
    /// Well-formed requests so far.
    pub sent: u64,
    /// Things that no well-meaning client does, so far.
    pub nuisances: u64,
    /// Broken conditions so far.
    pub faults: u64,
    /// Resident memory of all servers, in MiB.
    pub mebibytes: f64,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            elapsed,
            sent,
            nuisances,
            faults,
            mebibytes,
        } = self;
        let seconds = elapsed.as_secs();
        write!(
            f,
            "{seconds} s: {sent} requests, {nuisances} nuisances, {faults} faults, {mebibytes:.1} MiB"
        )
    }
}

/// A server at the end.
pub struct ServerReport {
    /// Its key store.
    pub store: &'static str,
    /// Its memory.
    pub memory: Memory,
    /// How many files it had open before and after; `None` if only root may see that.
    pub files: Option<(usize, usize)>,
}

/// What a soak has shown.
pub struct Report {
    elapsed: Duration,
    seed: u64,
    servers: Vec<ServerReport>,
    counts: Counts,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        elapsed: Duration,
        servers: Vec<ServerReport>,
        tally: &Tally,
    ) -> Self {
        let counts = tally.now();
        let unanswered = counts.sent - counts.answered();
        if unanswered > 0 {
            tally.fault(&format!("{unanswered} requests are unanswered"));
        }
        Self {
            elapsed,
            seed: plan.seed,
            servers,
            counts: tally.now(),
        }
    }

    /// What is wrong: the first faults of many. Empty if all conditions hold.
    pub fn faults(&self) -> &[String] {
        &self.counts.faults
    }

    /// How many well-formed requests were sent and answered.
    pub fn requests(&self) -> (u64, u64) {
        (self.counts.sent, self.counts.answered())
    }

    /// How often a nuisance was made, by its name.
    pub fn nuisances(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts
            .nuisances
            .iter()
            .map(|(name, count)| (*name, *count))
    }

    /// The report for machines; memory in KiB.
    pub fn to_json(&self) -> Value {
        let servers = self.servers.iter().map(|server| {
            let memory = server.memory;
            json!({
                "store": server.store,
                "memory": {"plateau": memory.plateau, "late": memory.late, "idle": memory.idle},
                "files": server.files.map(|(before, after)| json!({"before": before, "after": after})),
            })
        });
        let answers = self.counts.answers.iter();
        json!({
            "seconds": self.elapsed.as_secs(),
            "seed": self.seed,
            "requests": self.counts.sent,
            "answers": answers.map(|(status, count)| (status.to_string(), json!(count))).collect::<Value>(),
            "nuisances": self.counts.nuisances,
            "servers": servers.collect::<Value>(),
            "fault_count": self.counts.faulty,
            "faults": self.counts.faults,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, answered) = self.requests();
        let seconds = self.elapsed.as_secs();
        writeln!(f, "{seconds} s, seed {}", self.seed)?;
        write!(f, "{sent} requests, {answered} answered:")?;
        for (status, count) in &self.counts.answers {
            write!(f, " {status}: {count}")?;
        }
        write!(f, "\nnuisances:")?;
        for (name, count) in &self.counts.nuisances {
            write!(f, " {name}: {count}")?;
        }
        writeln!(f)?;
        for server in &self.servers {
            writeln!(f, "{server}")?;
        }
        for fault in &self.counts.faults {
            writeln!(f, "fault: {fault}")?;
        }
        match self.counts.faulty {
            0 => write!(f, "all conditions hold"),
            count => write!(f, "{count} faults"),
        }
    }
}

impl fmt::Display for ServerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Memory {
            plateau,
            late,
            idle,
        } = self.memory;
        let mebibytes = [plateau, late, idle].map(|kib| format!("{:.1}", kib as f64 / 1024.0));
        let [plateau, late, idle] = mebibytes;
        write!(
            f,
            "server with {}: {plateau} MiB, at the end {late}, idle {idle} ({:+.1} %); ",
            self.store,
            self.memory.growth()
        )?;
        match self.files {
            Some((before, after)) => write!(f, "{before} open files before, {after} after"),
            None => write!(f, "its open files are for root alone to see"),
        }
    }
}
