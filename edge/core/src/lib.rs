//! The key service of sealedge: routing, authentication, policies, cryptography, caching and audit.
//!
//! This library does no I/O and knows no platform.
#![forbid(unsafe_code)]

pub mod api_key;
pub mod identity;
pub mod name;
