//! What the tests and the benchmark share: real servers on free ports, and clients that send exactly
//! what they are told to.

pub mod authority;
pub mod client;
pub mod document;
pub mod frames;
pub mod front;
pub mod gate;
pub mod history;
pub mod log_stream;
pub mod memory;
pub mod node;
pub mod openbao;
pub mod pip;
pub mod raw;
pub mod server;
pub mod soak;
#[cfg(feature = "spin")]
pub mod spin;
