//! The figures in Prometheus's text format, under the names that KES's dashboards use, and more in
//! their style.
//!
//! There are no labels but those of KES: its Go client refuses all figures if one other metric has
//! two values. So each API, for example, has metrics with names of their own.

use std::fmt::{Arguments, Display, Write};
use std::time::Duration;

use super::{
    ACTIVE, AUDIT_EVENTS, BUCKETS, CACHE_ENTRIES, CACHE_HITS, CACHE_MISSES, CACHE_OFFLINE, COARSE,
    CONNECTIONS, ERROR_EVENTS, OTHER_TIMES, Refusal, STATUSES, STORE_ACTIVE, STORE_FAILED,
    STORE_UNREACHABLE, StoreOperation, TIME, api_time, store_time,
};
use crate::platform::System;
use crate::route::{ROUTES, Route};
use crate::time::Time;

/// The figures of all instances and of the platform, as text.
pub fn render(sums: &[u64], system: &System, now: Time) -> String {
    let mut text = Text {
        sums,
        text: String::with_capacity(32 * 1024),
    };
    text.requests();
    text.refusals();
    text.apis();
    text.cache();
    text.store();
    text.logs();
    text.system(system, now);
    text.text
}

struct Text<'a> {
    sums: &'a [u64],
    text: String,
}

/// Times: how many fell into each bucket, and their sum.
struct Times {
    buckets: [u64; BUCKETS.len() + 1],
    sum: Duration,
}

impl Times {
    fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Text<'_> {
    fn requests(&mut self) {
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
            self.head(name, "counter", help);
            for (at, status) in STATUSES.iter().enumerate() {
                let count = self.sum(at);
                if status / 100 == class && count > 0 {
                    self.line(format_args!("{name}{{code=\"{status}\"}} {count}"));
                }
            }
        }
        self.gauge(
            "kes_http_request_active",
            "Requests that are not answered yet.",
            self.sum(ACTIVE),
        );
        let apis = ROUTES.iter().map(|route| api_time(route.operation));
        let all = self.times(apis.chain([OTHER_TIMES]));
        let help = "Seconds from a request to its answer.";
        self.histogram("kes_http_response_time", help, COARSE, &all);
    }

    fn refusals(&mut self) {
        for (at, (_, reason, help)) in Refusal::ALL.iter().enumerate() {
            let name = format!("kes_connection_refused_{reason}");
            self.counter(&name, help, CONNECTIONS + at);
        }
    }

    fn apis(&mut self) {
        // What streams take is up to their clients.
        for route in ROUTES.iter().filter(|route| route.timeout.is_some()) {
            let name = api_metric(route);
            let path = route.configured_as();
            let help = format!("Seconds from a request to {path} to its answer.");
            let times = self.times([api_time(route.operation)]);
            // Where the rest has its mean, keys have buckets: they are what clients wait for.
            if path.starts_with("/v1/key/") {
                self.histogram(&name, &help, 0, &times);
            } else {
                self.head(&name, "summary", &help);
                self.sum_and_count(&name, &times);
            }
        }
    }

    fn cache(&mut self) {
        for (name, help, at) in [
            (
                "kes_cache_hits",
                "Keys that were in memory when they were asked for.",
                CACHE_HITS,
            ),
            (
                "kes_cache_misses",
                "Keys that the key store was asked for.",
                CACHE_MISSES,
            ),
            (
                "kes_cache_offline_hits",
                "Misses that were served from memory or a sealed copy because the key store was away.",
                CACHE_OFFLINE,
            ),
        ] {
            self.counter(name, help, at);
        }
        self.gauge(
            "kes_cache_entries",
            "Keys in memory: one in each instance that uses it.",
            self.sum(CACHE_ENTRIES),
        );
    }

    fn store(&mut self) {
        for (operation, name) in StoreOperation::ALL {
            let times = self.times([store_time(operation)]);
            let help = format!("Seconds that the key store took to {}.", purpose(operation));
            self.histogram(&format!("kes_store_{name}_time"), &help, 0, &times);
        }
        self.counter(
            "kes_store_error_unreachable",
            "Operations of the key store that failed because it was away.",
            STORE_UNREACHABLE,
        );
        self.counter(
            "kes_store_error_failed",
            "Operations that the key store was there for and failed to do.",
            STORE_FAILED,
        );
        self.gauge(
            "kes_store_active",
            "Operations that the key store has begun and not ended.",
            self.sum(STORE_ACTIVE),
        );
    }

    fn logs(&mut self) {
        self.counter(
            "kes_log_audit_events",
            "Records given to the audit log.",
            AUDIT_EVENTS,
        );
        self.counter(
            "kes_log_error_events",
            "Errors of requests, given to the error log.",
            ERROR_EVENTS,
        );
    }

    fn system(&mut self, system: &System, now: Time) {
        let uptime = now.since(system.started).as_secs_f64();
        self.gauge(
            "kes_system_up_time",
            "Seconds since the server started.",
            uptime,
        );
        self.gauge(
            "kes_system_num_cpu",
            "Logical processors of the machine.",
            system.cpus,
        );
        self.gauge(
            "kes_system_num_cpu_used",
            "Logical processors that the server may use.",
            system.usable_cpus,
        );
        self.gauge(
            "kes_system_num_threads",
            "Threads of the server.",
            system.threads,
        );
        self.gauge(
            "kes_system_mem_heap_used",
            "Bytes of memory in use, stacks left out.",
            system.heap,
        );
        self.gauge(
            "kes_system_mem_stack_used",
            "Bytes of memory used by stacks.",
            system.stack,
        );
    }

    fn sum(&self, at: usize) -> u64 {
        self.sums.get(at).copied().unwrap_or_default()
    }

    /// What was measured at any of these places.
    fn times(&self, places: impl IntoIterator<Item = usize>) -> Times {
        let mut times = Times {
            buckets: [0; BUCKETS.len() + 1],
            sum: Duration::ZERO,
        };
        for place in places {
            for (at, bucket) in times.buckets.iter_mut().enumerate() {
                *bucket += self.sum(place + at);
            }
            times.sum += Duration::from_nanos(self.sum(place + TIME - 1));
        }
        times
    }

    fn line(&mut self, line: Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, at: usize) {
        self.head(name, "counter", help);
        self.line(format_args!("{name} {}", self.sum(at)));
    }

    /// Times with all buckets from the `finest` on.
    fn histogram(&mut self, name: &str, help: &str, finest: usize, times: &Times) {
        self.head(name, "histogram", help);
        let mut count = 0;
        for (at, (bound, bucket)) in BUCKETS.iter().zip(times.buckets).enumerate() {
            count += bucket;
            if at >= finest {
                let seconds = f64::from(*bound) / 1e6;
                self.line(format_args!("{name}_bucket{{le=\"{seconds}\"}} {count}"));
            }
        }
        let count = times.count();
        self.line(format_args!("{name}_bucket{{le=\"+Inf\"}} {count}"));
        self.sum_and_count(name, times);
    }

    fn sum_and_count(&mut self, name: &str, times: &Times) {
        self.line(format_args!("{name}_sum {}", times.sum.as_secs_f64()));
        self.line(format_args!("{name}_count {}", times.count()));
    }
}

/// `/v1/key/generate/` is `kes_api_key_generate_time`.
fn api_metric(route: &Route) -> String {
    let path = route.configured_as();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    format!("kes_api{}_time", path.replace('/', "_"))
}

fn purpose(operation: StoreOperation) -> &'static str {
    match operation {
        StoreOperation::Read => "read a key",
        StoreOperation::Create => "create a key",
        StoreOperation::Delete => "delete a key",
        StoreOperation::List => "list a page of names",
        StoreOperation::Status => "say whether it answers",
    }
}
