//! The soak in short, and that it finds what it looks for.

use std::path::Path;
use std::time::Duration;

use sealedge_tests::soak::{Plan, run};

/// The program that lets its open files be seen, and that leaks for keys named `leak-...`.
fn plan(prefix: &str, growth: f64) -> Plan {
    Plan {
        program: Path::new(crate::SEALEDGE_WITH_FAULTS).to_owned(),
        time: Duration::from_secs(6),
        seed: 1,
        growth,
        prefix: prefix.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_bears_a_mixed_load_and_clients_that_mean_no_good() {
    // It has no time to warm up: whether it leaks slowly is for a longer soak to say.
    let report = run(&plan("soak-", 100.0), |_| {}).await;
    assert!(report.faults().is_empty(), "{report}");
    let (sent, answered) = report.requests();
    assert!(sent > 100, "{report}");
    assert_eq!(sent, answered);
    assert_eq!(report.nuisances().count(), 13, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaks_is_found_out() {
    let report = run(&plan("leak-", 10.0), |_| {}).await;
    let faults = report.faults().join("\n");
    assert!(faults.contains("memory of the server with mem"), "{report}");
    assert!(faults.contains("the server with mem had"), "{report}");
}
