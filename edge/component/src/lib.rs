//! The door to wasmtime: the key service as a WebAssembly component (see `wit/`).
//!
//! [`door`] runs the service's futures without ever waiting, over whatever [`lent::Lent`] is. In the
//! component that is the host's imports; a native program can link the same door.

pub mod configure;
pub mod door;
pub mod lent;
mod translations;

#[cfg(target_family = "wasm")]
mod allocator;
#[cfg(target_family = "wasm")]
mod crypto;
#[cfg(all(target_family = "wasm", feature = "faults"))]
mod faults;
#[cfg(target_family = "wasm")]
mod wit;
