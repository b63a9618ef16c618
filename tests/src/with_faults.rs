//! The program with a guest and a memory store that fail when they are asked to, and with the limits
//! of `TEST_LIMITS`: a JSON object of what differs from the usual ones, times in milliseconds.

use std::process::ExitCode;
use std::time::Duration;

use sealedge::limits::Limits;
use serde_json::{Map, Value};

fn main() -> ExitCode {
    let mut limits = Limits::default();
    let changed = std::env::var("TEST_LIMITS").unwrap_or_else(|_| "{}".to_owned());
    let changed: Map<String, Value> = serde_json::from_str(&changed).unwrap();
    for (name, value) in changed {
        let number = value.as_u64().unwrap();
        let (time, count) = (Duration::from_millis(number), number as usize);
        match name.as_str() {
            "head" => limits.head = time,
            "idle" => limits.idle = time,
            "quiet" => limits.quiet = time,
            "send" => limits.send = time,
            "grace" => limits.grace = time,
            "connections" => limits.connections = count,
            "requests" => limits.requests = count,
            "bytes" => limits.bytes = count,
            "client_part" => limits.client_part = count,
            "address_part" => limits.address_part = count,
            "store" => limits.store = count,
            _ => panic!("no limit is called {name}"),
        }
    }
    sealedge::main_with_faults(limits)
}
