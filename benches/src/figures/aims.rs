//! What the figures should be.

use std::fmt;

use serde::Serialize;

use crate::generator::Work;
use crate::report::{Latency, Report, Round, Scenery, median};
use crate::server::Program;

/// One figure and what it should be.
#[derive(Serialize)]
pub struct Aim {
    /// What is measured.
    pub what: String,
    /// What it is.
    pub measured: f64,
    /// What it should be.
    pub bound: Bound,
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
        match self.bound {
            AtLeast(bound) => self.measured >= bound,
            AtMost(bound) => self.measured <= bound,
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

/// Sealedge against others: the work, the other, what of it, what the ratio should be.
type Ratio = (Work, &'static str, &'static str, fn(&Round) -> f64, Bound);

const RATIOS: [Ratio; 9] = {
    use Program as P;
    use Work::{Connect, Decrypt, Encrypt, Generate, GenerateHttp2};
    [
        (
            Generate,
            P::NATIVE,
            "requests/s",
            Round::rate,
            AtLeast(0.85),
        ),
        (Decrypt, P::NATIVE, "requests/s", Round::rate, AtLeast(0.85)),
        (
            GenerateHttp2,
            P::NATIVE,
            "requests for the same CPU",
            Round::thrift,
            AtLeast(0.92),
        ),
        (Generate, P::BARE, "CPU a request", Round::cpu, AtMost(1.3)),
        (
            Connect,
            P::NATIVE,
            "connections for the same CPU",
            Round::thrift,
            AtLeast(0.95),
        ),
        (Encrypt, P::NATIVE, "requests/s", Round::rate, AtLeast(0.6)),
        (Generate, P::KES, "requests/s", Round::rate, AtLeast(2.3)),
        (
            GenerateHttp2,
            P::KES,
            "requests for the same CPU",
            Round::thrift,
            AtLeast(2.3),
        ),
        (Encrypt, P::KES, "requests/s", Round::rate, AtLeast(4.0)),
    ]
};

/// All aims of which there are figures.
pub fn all(report: &Report) -> Vec<Aim> {
    let ratios = RATIOS
        .iter()
        .filter_map(|&(work, other, figure, of, bound)| {
            Some(Aim {
                what: format!("{work}: {figure}, sealedge / {other}"),
                measured: report.work(work)?.ratio(other, of)?,
                bound,
            })
        });
    let mut aims: Vec<Aim> = ratios.collect();
    let mut add = |what: String, measured, bound| {
        aims.push(Aim {
            what,
            measured,
            bound,
        });
    };
    if let Some(figures) = report.work(Work::Generate) {
        let sealedge = figures
            .servers
            .iter()
            .filter(|it| it.server == Program::SEALEDGE);
        let memory = sealedge
            .flat_map(|it| &it.rounds)
            .map(|it| it.resident_mebibytes);
        let what = "memory of sealedge under that load, MiB";
        add(
            format!("{}: {what}", figures.work),
            median(memory),
            AtMost(40.0),
        );
    }
    for start in &report.starts {
        if start.server == Program::SEALEDGE {
            let time = median(start.milliseconds.iter().copied());
            add(
                "start of sealedge to the first DEK, ms".into(),
                time,
                AtMost(15.0),
            );
            let what = format!("each of {} idle connections, KiB", start.idle_connections);
            add(what, start.kibibytes_of_each, AtMost(24.0));
        }
    }
    if let Some((small, others)) = report.latencies.split_first() {
        for other in others {
            let median = ratio(other, small, |latency| latency.median_microseconds);
            let p99 = ratio(other, small, |latency| latency.p99_microseconds);
            add(
                format!("latency with {}: p50 / with one", other.scene),
                median,
                AtMost(1.2),
            );
            add(
                format!("latency with {}: p99 / with one", other.scene),
                p99,
                AtMost(1.2),
            );
        }
    }
    aims
}

/// A figure in much divided by the same in little, the median over the rounds.
fn ratio(much: &Scenery, little: &Scenery, of: fn(&Latency) -> f64) -> f64 {
    let pairs = much.rounds.iter().zip(&little.rounds);
    median(pairs.map(|(much, little)| of(much) / of(little)))
}
