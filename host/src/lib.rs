//! The native server of sealedge: TLS, HTTP, key stores and the command line around the WebAssembly guest.

pub mod store;
