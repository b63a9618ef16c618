//! All tests of the running server, in one binary.
#![allow(missing_docs, reason = "tests are named by what they show")]

#[path = "suite/api_document.rs"]
mod api_document;
#[path = "suite/audit.rs"]
mod audit;
#[path = "suite/bounds.rs"]
mod bounds;
#[path = "suite/cache.rs"]
mod cache;
#[path = "suite/changes.rs"]
mod changes;
#[path = "suite/commands.rs"]
mod commands;
#[path = "suite/crash.rs"]
mod crash;
#[path = "suite/credentials.rs"]
mod credentials;
#[path = "suite/dev.rs"]
mod dev;
#[path = "suite/faults.rs"]
mod faults;
#[path = "suite/forwarded.rs"]
mod forwarded;
#[path = "suite/go_sdk.rs"]
mod go_sdk;
#[path = "suite/history.rs"]
mod history;
#[path = "suite/late.rs"]
mod late;
#[path = "suite/leaks.rs"]
mod leaks;
#[path = "suite/listing.rs"]
mod listing;
#[path = "suite/local_proxy.rs"]
mod local_proxy;
#[path = "suite/local_proxy_files.rs"]
mod local_proxy_files;
#[path = "suite/local_proxy_shares.rs"]
mod local_proxy_shares;
#[path = "suite/local_proxy_upstream.rs"]
mod local_proxy_upstream;
#[path = "suite/log_streams.rs"]
mod log_streams;
#[path = "suite/lost.rs"]
mod lost;
#[path = "suite/memory.rs"]
mod memory;
#[path = "suite/metrics.rs"]
mod metrics;
#[path = "suite/mistakes.rs"]
mod mistakes;
#[path = "suite/outage.rs"]
mod outage;
#[path = "suite/parity.rs"]
mod parity;
#[path = "suite/paths.rs"]
mod paths;
#[path = "suite/processes.rs"]
mod processes;
#[path = "suite/proxy.rs"]
mod proxy;
#[path = "suite/reload.rs"]
mod reload;
#[path = "suite/reload_tls.rs"]
mod reload_tls;
#[path = "suite/replaces.rs"]
mod replaces;
#[path = "suite/requests.rs"]
mod requests;
#[path = "suite/rewrap.rs"]
mod rewrap;
#[path = "suite/sealed_record.rs"]
mod sealed_record;
#[path = "suite/sealing.rs"]
mod sealing;
#[path = "suite/shares.rs"]
mod shares;
#[path = "suite/signed.rs"]
mod signed;
#[path = "suite/sleep.rs"]
mod sleep;
#[path = "suite/soak.rs"]
mod soak;
#[cfg(feature = "spin")]
#[path = "suite/spin.rs"]
mod spin;
#[cfg(feature = "spin")]
#[path = "suite/spin_harness.rs"]
mod spin_harness;
#[path = "suite/startup.rs"]
mod startup;
#[path = "suite/stores.rs"]
mod stores;
#[path = "suite/streams.rs"]
mod streams;
#[path = "suite/timeouts.rs"]
mod timeouts;
#[path = "suite/transport.rs"]
mod transport;
#[path = "suite/troubles.rs"]
mod troubles;
#[path = "suite/unread.rs"]
mod unread;
#[path = "suite/unseal.rs"]
mod unseal;
#[path = "suite/vault.rs"]
mod vault;
#[path = "suite/webcrypto.rs"]
mod webcrypto;
#[path = "suite/worker.rs"]
mod worker;

/// The program.
const SEALEDGE: &str = env!("CARGO_BIN_EXE_sealedge-under-test");

/// The program whose guest and store fail when they are asked to.
const SEALEDGE_WITH_FAULTS: &str = env!("CARGO_BIN_EXE_sealedge-with-faults");
