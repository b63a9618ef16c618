//! What the figures should be.

use std::fmt;

use serde::Serialize;

use crate::report::{BUSY, Driven, Latency, Report, Round, Scenery, median};
use crate::server::Program;
use crate::work::Work;

/// One figure and what it should be.
#[derive(Serialize)]
pub struct Aim {
    /// What is measured.
    pub what: String,
    /// What it is.
    pub measured: f64,
    /// What it should be.
    pub bound: Bound,
    /// Whether the client may have been the limit: then nobody can tell.
    pub is_doubtful: bool,
}

/// What a figure should be.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

impl Aim {
    /// Whether it is reached.
    pub fn is_reached(&self) -> bool {
        !self.is_doubtful
            && match self.bound {
                AtLeast(bound) => self.measured >= bound,
                AtMost(bound) => self.measured <= bound,
            }
    }

    /// The same in a word.
    pub fn verdict(&self) -> &'static str {
        match (self.is_doubtful, self.is_reached()) {
            (true, _) => "can't tell: not busy",
            (false, true) => "yes",
            (false, false) => "no",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtLeast(bound) => write!(f, "at least {bound}"),
            AtMost(bound) => write!(f, "at most {bound}"),
        }
    }
}

/// A figure by which servers are compared.
#[derive(Clone, Copy)]
enum By {
    Rate,
    Cpu,
    Thrift,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::Cpu => "CPU a request",
            Self::Thrift => "requests for the same CPU",
        }
    }

    fn of(self) -> fn(&Round) -> f64 {
        match self {
            Self::Rate => Round::rate,
            Self::Cpu => Round::cpu,
            Self::Thrift => Round::thrift,
        }
    }
}

/// What sealedge's figure divided by another server's should be.
const RATIOS: [(Work, &str, By, Bound); 9] = [
    (Work::Generate, Program::NATIVE, By::Rate, AtLeast(0.85)),
    (Work::Decrypt, Program::NATIVE, By::Rate, AtLeast(0.85)),
    (
        Work::GenerateHttp2,
        Program::NATIVE,
        By::Thrift,
        AtLeast(0.92),
    ),
    (Work::Generate, Program::BARE, By::Cpu, AtMost(1.3)),
    (Work::Connect, Program::NATIVE, By::Thrift, AtLeast(0.95)),
    (Work::Encrypt, Program::NATIVE, By::Rate, AtLeast(0.6)),
    (Work::Generate, Program::KES, By::Rate, AtLeast(2.3)),
    (Work::GenerateHttp2, Program::KES, By::Rate, AtLeast(2.3)),
    (Work::Encrypt, Program::KES, By::Rate, AtLeast(4.0)),
];

/// All aims of which there are figures.
pub fn all(report: &Report) -> Vec<Aim> {
    let ratios = RATIOS.iter().filter_map(|&(work, other, by, bound)| {
        let figures = report.work(work)?;
        Some(Aim {
            what: format!("{work}: {}, sealedge / {other}", by.name()),
            measured: figures.ratio(Program::SEALEDGE, other, by.of())?,
            bound,
            is_doubtful: !work.is_long() && !figures.is_busy(other),
        })
    });
    ratios
        .chain(rest(report))
        .chain(latencies(report))
        .collect()
}

/// Memory, start and idle connections.
fn rest(report: &Report) -> Vec<Aim> {
    let certain = |what, measured, bound| Aim {
        what,
        measured,
        bound,
        is_doubtful: false,
    };
    let mut aims = Vec::new();
    let sealedge = |driven: &&Driven| driven.server == Program::SEALEDGE;
    let generate = report.work(Work::Generate);
    if let Some(driven) = generate.and_then(|it| it.servers.iter().find(sealedge)) {
        let memory = driven.rounds.iter().map(|round| round.resident_mebibytes);
        let what = format!("{}: memory of sealedge, MiB", Work::Generate);
        aims.push(certain(what, median(memory), AtMost(40.0)));
    }
    if let Some(start) = report
        .starts
        .iter()
        .find(|it| it.server == Program::SEALEDGE)
    {
        let time = median(start.milliseconds.iter().copied());
        let what = "start of sealedge to the first DEK, ms".to_owned();
        aims.push(certain(what, time, AtMost(15.0)));
        let what = format!("each of {} idle connections, KiB", start.idle_connections);
        aims.push(certain(what, start.kibibytes_of_each, AtMost(24.0)));
    }
    aims
}

/// The latency in much divided by the same in little.
fn latencies(report: &Report) -> Vec<Aim> {
    let Some((little, others)) = report.latencies.split_first() else {
        return Vec::new();
    };
    let busy = |scenery: &Scenery| median(scenery.rounds.iter().map(|round| round.busy));
    let aim = |much: &Scenery, name, of: fn(&Latency) -> f64| {
        let pairs = much.rounds.iter().zip(&little.rounds);
        Aim {
            what: format!("{name} of latency: {} / {}", much.scene, little.scene),
            measured: median(pairs.map(|(much, little)| of(much) / of(little))),
            bound: AtMost(1.2),
            is_doubtful: busy(much).min(busy(little)) < BUSY,
        }
    };
    let both = |much| {
        [
            aim(much, "p50", |latency| latency.median_microseconds),
            aim(much, "p99", |latency| latency.p99_microseconds),
        ]
    };
    others.iter().flat_map(both).collect()
}
