//! How the guest is compiled.
//!
//! The build script, which compiles it, shares this file with the program, which loads what was
//! compiled: wasmtime refuses code that was compiled with other settings.

/// The settings of every engine.
pub fn settings() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    // The component's calls never wait; without support for such that do, each is three times faster.
    config.concurrency_support(false);
    // A call that runs away is stopped.
    config.epoch_interruption(true);
    // As the guest is built: see the build script.
    config.wasm_wide_arithmetic(true);
    config
}
