//! What an operator should see of a server that has started.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::guest::Machine;
use crate::guest::types::{Failure, Outcome, Settings, Store, StoreOperation};
use crate::pool::Pool;

/// The server in a few lines. `keys` says where they are, and `node` is its fingerprint, if it has one.
pub fn of(settings: &Settings, keys: &str, node: Option<&str>, address: SocketAddr) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (values, clients) = (&settings.values, &settings.clients);
    let node = node.map_or_else(String::new, |node| format!("; this node is {node}"));
    format!(
        "sealedge is listening on https://{address}\n  \
         version    {version}\n  \
         key store  {keys}\n  \
         values     {values}{node}\n  \
         clients    {clients}"
    )
}

/// Has a key store elsewhere looked at, beside all else, and warns if it refuses what the server will have
/// to do: it might be noticed late. That it is away, the service itself says.
pub fn check(settings: &Settings, pool: &Arc<Pool>, machine: &Arc<Machine>, runtime: &Handle) {
    if !matches!(settings.store, Store::Remote(_)) {
        return;
    }
    let (pool, machine) = (pool.clone(), machine.clone());
    runtime.spawn(async move {
        let outcome = pool.store(&StoreOperation::Check).await;
        if let Ok(Outcome::Failed(Failure::Failed(why))) = outcome {
            machine.say(&format!("warning: the key store can't be used: {why}"));
        }
    });
}
