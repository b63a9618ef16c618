//! What the service counts, and its Prometheus text.
//!
//! An instance counts for itself and hands out increments; the platform adds those of all
//! instances, and of what it has refused itself. Only this module knows what the numbers stand for.

use std::cell::Cell;
use std::fmt::Write;
use std::time::Duration;

use crate::platform::System;
use crate::time::Time;

/// Every status that the service answers with, and 503, with which a platform says that it is busy.
const STATUSES: [u16; 11] = [200, 400, 403, 404, 405, 406, 409, 500, 502, 503, 504];

/// Upper bounds of the response time's buckets, in milliseconds.
const BUCKETS: [u32; 10] = [10, 50, 100, 250, 500, 1000, 1500, 3000, 5000, 10_000];

const ACTIVE: usize = STATUSES.len();
const TIMES: usize = ACTIVE + 1;
const TIME_SUM: usize = TIMES + BUCKETS.len() + 1;
const AUDIT_EVENTS: usize = TIME_SUM + 1;
const ERROR_EVENTS: usize = AUDIT_EVENTS + 1;
const CONNECTIONS: usize = ERROR_EVENTS + 1;
const LENGTH: usize = CONNECTIONS + Refusal::ALL.len();

/// Why a connection was refused or cut off, although no request on it was answered so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many connections as there may be.
    TooMany,
    /// The TLS handshake failed.
    Handshake,
    /// The TLS handshake took too long.
    HandshakeTimeout,
    /// What came is no request: broken, or its head too large.
    Head,
    /// The head of a request took too long.
    HeadTimeout,
    /// The client broke the rules of HTTP/2.
    Http2,
    /// The client did not read its answer.
    Unread,
}

impl Refusal {
    /// Every reason and its name.
    const ALL: [(Self, &str); 7] = [
        (Self::TooMany, "connections"),
        (Self::Handshake, "handshake"),
        (Self::HandshakeTimeout, "handshake_timeout"),
        (Self::Head, "head"),
        (Self::HeadTimeout, "head_timeout"),
        (Self::Http2, "http2"),
        (Self::Unread, "unread"),
    ];
}

/// The counters of one instance, or of the platform, since they were last taken.
pub struct Counters([Cell<u64>; LENGTH]);

impl Default for Counters {
    fn default() -> Self {
        Self([const { Cell::new(0) }; LENGTH])
    }
}

impl Counters {
    /// A request has begun.
    pub fn begin(&self) {
        self.add(ACTIVE, 1);
    }

    /// A request was answered.
    pub fn end(&self, status: u16, duration: Duration) {
        // Additions wrap, so that a request may begin in one reading and end in the next.
        self.add(ACTIVE, u64::MAX);
        self.add(position(status), 1);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let slot = BUCKETS.partition_point(|bound| u64::from(*bound) * 1_000_000 < nanos);
        self.add(TIMES + slot, 1);
        self.add(TIME_SUM, nanos);
    }

    /// A record went to the audit log.
    pub fn audit_event(&self) {
        self.add(AUDIT_EVENTS, 1);
    }

    /// A line went to the error log.
    pub fn error_event(&self) {
        self.add(ERROR_EVENTS, 1);
    }

    /// A connection was refused or cut off.
    pub fn refused(&self, why: Refusal) {
        for (at, (reason, _)) in Refusal::ALL.iter().enumerate() {
            if *reason == why {
                self.add(CONNECTIONS + at, 1);
            }
        }
    }

    /// The increments since the last call, to be added to the sums of all instances.
    pub fn take(&self) -> Vec<u64> {
        self.0.iter().map(Cell::take).collect()
    }

    fn add(&self, at: usize, increment: u64) {
        if let Some(counter) = self.0.get(at) {
            counter.set(counter.get().wrapping_add(increment));
        }
    }
}

/// Adds one instance's increments to the sums of all.
pub fn add(sums: &mut Vec<u64>, increments: &[u64]) {
    sums.resize(sums.len().max(increments.len()), 0);
    for (sum, increment) in sums.iter_mut().zip(increments) {
        *sum = sum.wrapping_add(*increment);
    }
}

fn position(status: u16) -> usize {
    let unknown = STATUSES
        .iter()
        .position(|known| *known == 500)
        .unwrap_or_default();
    STATUSES
        .iter()
        .position(|known| *known == status)
        .unwrap_or(unknown)
}

/// The sums in Prometheus's text format, under the names that KES's dashboards use.
pub fn render(sums: &[u64], system: &System, now: Time) -> String {
    let sum = |at: usize| sums.get(at).copied().unwrap_or_default();
    let mut text = Text(String::with_capacity(4096));
    for (name, class, help) in [
        (
            "kes_http_request_success",
            2,
            "Requests answered with success.",
        ),
        (
            "kes_http_request_error",
            4,
            "Requests refused because of what the client sent.",
        ),
        (
            "kes_http_request_failure",
            5,
            "Requests that failed because of the server or its key store.",
        ),
    ] {
        text.head(name, "counter", help);
        for (at, status) in STATUSES.iter().enumerate() {
            if status / 100 == class && sum(at) > 0 {
                text.line(format_args!("{name}{{code=\"{status}\"}} {}", sum(at)));
            }
        }
    }
    text.gauge(
        "kes_http_request_active",
        "Requests that are not answered yet.",
        sum(ACTIVE),
    );
    text.response_times(&sum);
    text.refusals(&sum);
    text.counter(
        "kes_log_audit_events",
        "Records written to the audit log.",
        sum(AUDIT_EVENTS),
    );
    text.counter(
        "kes_log_error_events",
        "Lines written to the error log.",
        sum(ERROR_EVENTS),
    );
    let uptime = now.since(system.started).as_secs_f64();
    text.gauge(
        "kes_system_up_time",
        "Seconds since the server started.",
        uptime,
    );
    text.gauge(
        "kes_system_num_cpu",
        "Logical processors of the machine.",
        system.cpus,
    );
    text.gauge(
        "kes_system_num_cpu_used",
        "Logical processors that the server may use.",
        system.usable_cpus,
    );
    text.gauge(
        "kes_system_num_threads",
        "Threads of the server.",
        system.threads,
    );
    text.gauge(
        "kes_system_mem_heap_used",
        "Bytes of memory in use, stacks left out.",
        system.heap,
    );
    text.gauge(
        "kes_system_mem_stack_used",
        "Bytes of memory used by stacks.",
        system.stack,
    );
    text.0
}

struct Text(String);

impl Text {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(format_args!("{name} {value}"));
    }

    fn refusals(&mut self, sum: &impl Fn(usize) -> u64) {
        // A name for each, and not a label: KES's Go client takes no metric of two values.
        for (at, (_, reason)) in Refusal::ALL.iter().enumerate() {
            let name = format!("kes_connection_refused_{reason}");
            let help = "Connections refused or cut off for no request's sake.";
            self.counter(&name, help, sum(CONNECTIONS + at));
        }
    }

    fn response_times(&mut self, sum: &impl Fn(usize) -> u64) {
        let name = "kes_http_response_time";
        self.head(name, "histogram", "Seconds from a request to its answer.");
        let mut count = 0;
        for (slot, bound) in BUCKETS.iter().enumerate() {
            count += sum(TIMES + slot);
            let seconds = f64::from(*bound) / 1000.0;
            self.line(format_args!("{name}_bucket{{le=\"{seconds}\"}} {count}"));
        }
        count += sum(TIMES + BUCKETS.len());
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        self.line(format_args!(
            "{name}_sum {}",
            Duration::from_nanos(sum(TIME_SUM)).as_secs_f64()
        ));
        self.line(format_args!("{name}_count {count}"));
    }
}
