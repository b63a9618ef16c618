//! The door to Spin: the key service as a component, its keys in Spin's key-value store.
//!
//! An instance serves one request, so nothing outlives that but what the store keeps.

pub mod agreement;
pub mod keyvalue;
pub mod lives;
pub mod places;

#[cfg(test)]
mod model;
