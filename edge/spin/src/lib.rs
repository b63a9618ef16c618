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

#[cfg(target_family = "wasm")]
mod door;
#[cfg(test)]
mod model;
