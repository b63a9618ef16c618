//! The key service of sealedge: routing, authentication, policies, cryptography, caching and audit.
//!
//! This library does no I/O and knows no platform. A door (a WebAssembly component, a Worker, a
//! Spin application) implements the traits of [`platform`], hands requests to [`service::Service`]
//! and translates its answers.
#![forbid(unsafe_code)]

mod api;
pub mod api_key;
pub mod audit;
pub mod auth;
pub mod cache;
pub mod certificate;
pub mod client;
pub mod conceal;
pub mod config;
pub mod copies;
pub mod crypto;
mod development;
pub mod error;
pub mod identity;
pub mod key;
pub mod listing;
pub mod log;
pub mod metrics;
pub mod name;
pub mod outgoing;
pub mod platform;
pub mod policy;
pub mod response;
pub mod route;
pub mod seal;
pub mod sealing;
pub mod secret_text;
pub mod service;
pub mod store;
pub mod time;
pub mod words;
