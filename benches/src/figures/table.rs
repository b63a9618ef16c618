//! The report for people, in Markdown.

use std::fmt::Write;

use crate::aims;
use crate::report::{BUSY, Driven, Report, Round, median};
use crate::server::Program;

/// The report as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    heading(&mut text, report);
    let aims = aims::all(report);
    if !aims.is_empty() {
        text += "\n| | measured | aim | reached |\n|---|---|---|---|\n";
    }
    for aim in aims {
        let (what, measured, bound) = (&aim.what, aim.measured, aim.bound);
        let reached = aim.verdict();
        writeln!(text, "| {what} | {measured:.2} | {bound} | {reached} |").unwrap();
    }
    works(&mut text, report);
    rest(&mut text, report);
    text
}

fn heading(text: &mut String, report: &Report) {
    let pinned = if report.pinned {
        "server and client on a core each"
    } else {
        "NOT pinned to cores (no `taskset`, or one core only): don't trust the ratios"
    };
    writeln!(
        text,
        "{}, {}; {pinned}; medians (least to most); ratios of neighbouring rounds",
        report.time, report.machine
    )
    .unwrap();
    if let Some(kes) = &report.kes {
        writeln!(text, "\nKES: {kes}").unwrap();
    }
}

fn works(text: &mut String, report: &Report) {
    if report.works.is_empty() {
        return;
    }
    *text += "\n| | | req/s | / native | CPU us/req | / native | busy | RSS MiB |\n|---|---|---|---|---|---|---|---|\n";
    for figures in &report.works {
        for Driven { server, rounds } in &figures.servers {
            let of_native = |of| {
                figures
                    .ratio(server, Program::NATIVE, of)
                    .unwrap_or(f64::NAN)
            };
            writeln!(
                text,
                "| {} | {server} | {} | {:.2} | {} | {:.2} | {:.0} % | {:.0} |",
                figures.work,
                spread(rounds.iter().map(Round::rate), 0),
                of_native(Round::rate),
                spread(rounds.iter().map(Round::cpu), 1),
                of_native(Round::cpu),
                100.0 * median(rounds.iter().map(|round| round.busy)),
                median(rounds.iter().map(|round| round.resident_mebibytes)),
            )
            .unwrap();
        }
    }
    writeln!(
        text,
        "\n700 kB and new connections by bombardier, too. Busy below {:.0} %: the client or something else \
         on the machine was the limit. A server then sleeps between requests and pays for that, the \
         faster one more often, so ratios flatter the slower. Bombardier sleeps when the server is \
         slower, and that server pays for waking it.",
        100.0 * BUSY
    )
    .unwrap();
}

fn rest(text: &mut String, report: &Report) {
    if !report.starts.is_empty() {
        *text +=
            "\n| | start to first DEK, ms | idle connections | KiB each |\n|---|---|---|---|\n";
    }
    for start in &report.starts {
        let times = spread(start.milliseconds.iter().copied(), 1);
        let (server, count) = (start.server, start.idle_connections);
        let each = start.kibibytes_of_each;
        writeln!(text, "| {server} | {times} | {count} | {each:.1} |").unwrap();
    }
    if !report.latencies.is_empty() {
        *text += "\n| sealedge with | p50, us | p99, us | busy |\n|---|---|---|---|\n";
    }
    for latency in &report.latencies {
        let rounds = &latency.rounds;
        let p50 = spread(rounds.iter().map(|round| round.median_microseconds), 0);
        let busy = median(rounds.iter().map(|round| round.busy));
        let p99 = spread(rounds.iter().map(|round| round.p99_microseconds), 0);
        writeln!(
            text,
            "| {} | {p50} | {p99} | {:.0} % |",
            latency.scene,
            100.0 * busy
        )
        .unwrap();
    }
}

/// The median, the least and the most.
fn spread(values: impl Iterator<Item = f64> + Clone, digits: usize) -> String {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.clone().fold(0.0, f64::max);
    let median = median(values);
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}
