//! Spin to the core, and the core to Spin.

#[path = "../../component/src/allocator.rs"]
mod allocator;
mod binding;
mod body;
mod configuration;
mod instance;
mod outside;
mod platform;
mod request;
mod store;
