//! What the tests and the benchmark share: real servers on free ports, and clients that send exactly
//! what they are told to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

pub mod client;
pub mod server;
