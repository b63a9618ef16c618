//! From rounds to figures.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::load::Work;
use crate::plot;

/// What one round showed of a server.
#[derive(Serialize)]
pub struct Round {
    /// Requests answered a second.
    pub requests_per_second: f64,
    /// CPU time of the server for a request, in microseconds.
    pub cpu_microseconds: f64,
    /// The part of its core that the server used: below 0.95 the client or something else
    /// on the machine was the limit.
    pub busy: f64,
    /// Memory of the server in RAM, in MiB.
    pub resident_mebibytes: f64,
}

/// How a server starts, and what it costs when nothing is to be done.
#[derive(Serialize)]
pub struct Start {
    /// Which server.
    pub server: String,
    /// From the start of the process to the first DEK, in milliseconds, each time.
    pub milliseconds: Vec<f64>,
    /// How many connections were open, and idle.
    pub idle_connections: usize,
    /// What each took of the server's memory, in KiB.
    pub kibibytes_of_each: f64,
}

/// All figures of a run.
#[derive(Serialize)]
pub struct Report {
    time: String,
    machine: String,
    /// Whether server and client had a core each.
    pinned: bool,
    works: Vec<Figures>,
    starts: Vec<Start>,
}

#[derive(Serialize)]
struct Figures {
    work: String,
    /// Sealedge's of the native server's, the median over the rounds.
    requests_of_native: f64,
    /// The native server's CPU of sealedge's: here too, more is better.
    cpu_of_native: f64,
    sealedge: Vec<Round>,
    native: Vec<Round>,
}

impl Report {
    /// A report without figures.
    pub fn new(pinned: bool) -> Self {
        Self {
            time: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H-%M-%SZ")
                .to_string(),
            machine: processor(),
            pinned,
            works: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Adds the rounds of sealedge and of the native server.
    pub fn add(&mut self, work: Work, [sealedge, native]: [Vec<Round>; 2]) {
        // Neighbouring rounds are compared with each other: the machine may change meanwhile.
        let ratio = |of: &dyn Fn(&Round, &Round) -> f64| {
            let pairs = sealedge.iter().zip(&native);
            median(pairs.map(|(sealedge, native)| of(sealedge, native)))
        };
        self.works.push(Figures {
            work: work.to_string(),
            requests_of_native: ratio(&|sealedge, native| {
                sealedge.requests_per_second / native.requests_per_second
            }),
            cpu_of_native: ratio(&|sealedge, native| {
                native.cpu_microseconds / sealedge.cpu_microseconds
            }),
            sealedge,
            native,
        });
    }

    /// Adds how a server starts.
    pub fn add_start(&mut self, start: Start) {
        self.starts.push(start);
    }

    /// The least part of the native server's requests a second, over all works.
    pub fn worst_ratio(&self) -> f64 {
        let ratios = self.works.iter().map(|it| it.requests_of_native);
        ratios.fold(f64::INFINITY, f64::min)
    }

    /// What each work's requests a second and CPU are of the native server's.
    fn ratios(&self) -> Vec<plot::Ratios<'_>> {
        let ratios = self.works.iter().map(|figures| plot::Ratios {
            work: &figures.work,
            requests: figures.requests_of_native,
            cpu: figures.cpu_of_native,
        });
        ratios.collect()
    }

    /// The report for programs.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap()
    }

    /// The report for people.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        let pinned = if self.pinned {
            "server and client on a core each"
        } else {
            "NOT pinned to cores (no `taskset`, or one core only): don't trust the ratios"
        };
        writeln!(
            text,
            "{}, {pinned}; medians (least to most)\n",
            self.machine
        )
        .unwrap();
        text += "| | req/s | of native | CPU us/req | of native | busy | RSS MiB |\n";
        text += "|---|---|---|---|---|---|---|\n";
        for figures in &self.works {
            let ratios = (figures.requests_of_native, figures.cpu_of_native);
            line(
                &mut text,
                &figures.work,
                "sealedge",
                &figures.sealedge,
                ratios,
            );
            line(
                &mut text,
                &figures.work,
                "native",
                &figures.native,
                (1.0, 1.0),
            );
        }
        text += "\nOf native: more is better in both columns. Busy below 95 %: the client or something else on the machine was the limit.\n";
        if !self.starts.is_empty() {
            text +=
                "\n| | start to first DEK, ms | idle connections | KiB each |\n|---|---|---|---|\n";
        }
        for start in &self.starts {
            writeln!(
                text,
                "| {} | {} | {} | {:.1} |",
                start.server,
                spread(start.milliseconds.iter().copied()),
                start.idle_connections,
                start.kibibytes_of_each,
            )
            .unwrap();
        }
        text
    }

    /// Writes the report into a folder; the file.
    pub fn save(&self, folder: &Path) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let file = |ending| folder.join(format!("{}.{ending}", self.time));
        fs::write(file("json"), self.to_json() + "\n").unwrap();
        fs::write(file("md"), self.to_markdown()).unwrap();
        plot::draw(&file("svg"), &self.ratios());
        file("md")
    }
}

fn line(text: &mut String, work: &str, name: &str, rounds: &[Round], ratios: (f64, f64)) {
    let requests = rounds
        .iter()
        .map(|round| round.requests_per_second / 1000.0);
    let cpu = rounds.iter().map(|round| round.cpu_microseconds);
    writeln!(
        text,
        "| {work}, {name} | {}k | {:.2} | {} | {:.2} | {:.0} % | {:.0} |",
        spread(requests),
        ratios.0,
        spread(cpu),
        ratios.1,
        100.0 * median(rounds.iter().map(|round| round.busy)),
        median(rounds.iter().map(|round| round.resident_mebibytes)),
    )
    .unwrap();
}

fn spread(values: impl Iterator<Item = f64> + Clone) -> String {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.clone().fold(0.0, f64::max);
    format!("{:.1} ({least:.1} to {most:.1})", median(values))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(middle(half.wrapping_sub(1)), middle(half))
    } else {
        middle(half)
    }
}

/// The processor's name.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or("unknown processor", |(_, name)| name.trim())
        .to_owned()
}
