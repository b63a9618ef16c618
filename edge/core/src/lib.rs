//! The key service of sealedge: routing, authentication, policies, cryptography, caching and audit.
//!
//! This library does no I/O and knows no platform.
#![forbid(unsafe_code)]

pub mod api_key;
pub mod config;
pub mod crypto;
pub mod identity;
pub mod key;
pub mod name;
