//! The door to Spin: the key service as a component, its keys in Spin's key-value store.
//!
//! An instance serves one request, so nothing outlives that but what the store keeps. It decides nothing but how a
//! store is used that can do little: `lives`, `copies`, `nonces`.

pub mod agreement;
pub mod copies;
pub mod keyvalue;
pub mod lives;
pub mod nonces;
pub mod places;

#[cfg(test)]
mod model;

#[cfg(target_family = "wasm")]
#[path = "../../component/src/allocator.rs"]
mod allocator;
#[cfg(target_family = "wasm")]
mod binding;
#[cfg(target_family = "wasm")]
mod body;
#[cfg(target_family = "wasm")]
mod configuration;
#[cfg(target_family = "wasm")]
mod instance;
#[cfg(target_family = "wasm")]
mod outside;
#[cfg(target_family = "wasm")]
mod platform;
#[cfg(target_family = "wasm")]
mod request;
#[cfg(target_family = "wasm")]
mod store;
