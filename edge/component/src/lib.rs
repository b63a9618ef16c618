//! The door to wasmtime.
