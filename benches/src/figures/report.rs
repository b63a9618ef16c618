//! From rounds to figures.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::aims;
use crate::plot;
use crate::server::Program;
use crate::table;
use crate::work::Work;

/// Below this part of its core the client, or something else on the machine, was the server's limit. It
/// sleeps in between and pays for being woken, and the faster server more often: ratios flatter the slower.
pub const BUSY: f64 = 0.9;

/// What one round showed of a server.
#[derive(Serialize)]
pub struct Round {
    /// Requests answered a second.
    pub requests_per_second: f64,
    /// CPU time of the server for a request, in microseconds.
    pub cpu_microseconds: f64,
    /// The part of its core that the server used.
    pub busy: f64,
    /// Memory of the server in RAM, in MiB.
    pub resident_mebibytes: f64,
}

impl Round {
    /// So many requests in so many seconds, with this CPU time, and this many KiB in RAM.
    pub fn new(count: u32, seconds: f64, cpu: Duration, resident: f64) -> Self {
        Self {
            requests_per_second: f64::from(count) / seconds,
            cpu_microseconds: cpu.as_secs_f64() * 1e6 / f64::from(count),
            busy: cpu.as_secs_f64() / seconds,
            resident_mebibytes: resident / 1024.0,
        }
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests_per_second
    }

    /// CPU time of the server for a request.
    pub fn cpu(&self) -> f64 {
        self.cpu_microseconds
    }

    /// Requests for so much CPU time: what requests a second would show if the client were not the limit.
    pub fn thrift(&self) -> f64 {
        1.0 / self.cpu_microseconds
    }
}

/// A server under a load.
#[derive(Serialize)]
pub struct Driven {
    /// Which server.
    pub server: &'static str,
    /// What each round showed.
    pub rounds: Vec<Round>,
}

/// How a server starts, and what it costs when nothing is to be done.
#[derive(Serialize)]
pub struct Start {
    /// Which server.
    pub server: &'static str,
    /// From the start of the process to the first DEK, in milliseconds, each time.
    pub milliseconds: Vec<f64>,
    /// How many connections were open, and idle.
    pub idle_connections: usize,
    /// What each took of the server's memory, in KiB.
    pub kibibytes_of_each: f64,
}

/// How long clients waited in one round.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// In the middle.
    pub median_microseconds: f64,
    /// For one of a hundred requests it was longer.
    pub p99_microseconds: f64,
    /// The part of its core that the server used.
    pub busy: f64,
}

/// How long clients of sealedge waited when it had this to find its way in.
#[derive(Serialize)]
pub struct Scenery {
    /// What there was.
    pub scene: &'static str,
    /// What each round showed.
    pub rounds: Vec<Latency>,
}

impl Scenery {
    /// Not measured yet.
    pub fn new(scene: &'static str) -> Self {
        Self {
            scene,
            rounds: Vec::new(),
        }
    }
}

/// A work, as all servers did it.
#[derive(Serialize)]
pub struct Figures {
    /// Which work.
    #[serde(serialize_with = "by_name")]
    pub work: Work,
    /// The servers, sealedge first.
    pub servers: Vec<Driven>,
}

impl Figures {
    /// Whether sealedge and another server used their core so that the client was not the limit.
    pub fn is_busy(&self, other: &str) -> bool {
        let compared = |driven: &&Driven| [Program::SEALEDGE, other].contains(&driven.server);
        let busy = |driven: &Driven| median(driven.rounds.iter().map(|round| round.busy));
        self.servers
            .iter()
            .filter(compared)
            .all(|driven| busy(driven) >= BUSY)
    }

    /// A figure of a server's divided by another's, the median over the rounds; none if one is not there.
    pub fn ratio(&self, server: &str, other: &str, of: fn(&Round) -> f64) -> Option<f64> {
        let rounds = |name| self.servers.iter().find(|driven| driven.server == name);
        let (server, other) = (rounds(server)?, rounds(other)?);
        // Neighbouring rounds are compared with each other: the machine may change meanwhile.
        let pairs = server.rounds.iter().zip(&other.rounds);
        Some(median(pairs.map(|(server, other)| of(server) / of(other))))
    }
}

/// All figures of a run.
#[derive(Serialize)]
pub struct Report {
    /// When it began.
    pub time: String,
    /// The processor.
    pub machine: String,
    /// What KES says of its version, if it is compared.
    pub kes: Option<String>,
    /// Whether server and client had a core each.
    pub pinned: bool,
    /// How servers did under load.
    pub works: Vec<Figures>,
    /// How they start.
    pub starts: Vec<Start>,
    /// How sealedge finds its way in little and in much; the small scene first.
    pub latencies: Vec<Scenery>,
}

impl Report {
    /// A report without figures.
    pub fn new(programs: &[Program], pinned: bool) -> Self {
        let kes = programs.iter().find(|it| it.name == Program::KES);
        Self {
            time: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H-%M-%SZ")
                .to_string(),
            machine: processor(),
            kes: kes.map(Program::version),
            pinned,
            works: Vec::new(),
            starts: Vec::new(),
            latencies: Vec::new(),
        }
    }

    /// The figures of a work.
    pub fn work(&self, work: Work) -> Option<&Figures> {
        self.works.iter().find(|figures| figures.work == work)
    }

    /// The report for programs.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_value(self).unwrap();
        json["aims"] = serde_json::to_value(aims::all(self)).unwrap();
        serde_json::to_string_pretty(&json).unwrap()
    }

    /// Writes the report into a folder; the file.
    pub fn save(&self, folder: &Path) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let file = |ending| folder.join(format!("{}.{ending}", self.time));
        fs::write(file("json"), self.to_json() + "\n").unwrap();
        fs::write(file("md"), table::markdown(self)).unwrap();
        let works = self.works.iter().filter(|it| !it.work.is_cross_check());
        let works: Vec<&Figures> = works.collect();
        if !works.is_empty() {
            plot::draw(&file("svg"), &works);
        }
        file("md")
    }
}

/// The value in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
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

fn by_name<S: serde::Serializer>(work: &Work, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(work)
}

/// The processor's name.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or("unknown processor", |(_, name)| name.trim())
        .to_owned()
}
