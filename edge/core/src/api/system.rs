//! The server itself: version, health, figures.

use std::time::Duration;

use serde::Serialize;

use super::json;
use crate::error::{Action, Error};
use crate::metrics;
use crate::platform::Platform;
use crate::response::{ContentType, Response};
use crate::service::Service;
use crate::store::Store;

/// The version of this service.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Serialize)]
struct Version {
    version: &'static str,
    commit: String,
}

pub fn version<P: Platform>(service: &Service<P>) -> Result<Response, Error> {
    json(&Version {
        version: VERSION,
        commit: service.platform.system().commit,
    })
}

pub async fn ready<P: Platform>(service: &Service<P>) -> Result<Response, Error> {
    keystore(service).await?;
    Ok(Response::empty())
}

/// How long the key store takes to say that it is well, if this node can open what is in it.
async fn keystore<P: Platform>(service: &Service<P>) -> Result<Duration, Error> {
    Box::pin(service.unseal())
        .await
        .map_err(Error::NotUnsealed)?;
    let asked = service.platform.now();
    let status = service.platform.store().status().await;
    status.map_err(|source| Error::Store {
        action: Action::Status,
        source,
    })?;
    Ok(service.platform.now().since(asked))
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    os: String,
    arch: String,
    /// Seconds.
    uptime: u64,
    num_cpu: u32,
    num_cpu_used: u32,
    mem_heap_used: u64,
    mem_stack_used: u64,
    /// Nanoseconds: KES sends milliseconds, which its own client reads as nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    keystore_latency: Option<u64>,
    /// The store is away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keystore_unreachable: bool,
    /// The store is away or failing: without it KES's client can't read the other field.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keystore_unavailable: bool,
}

pub async fn status<P: Platform>(service: &Service<P>) -> Result<Response, Error> {
    let keystore = keystore(service).await;
    let nanos = |latency: &Duration| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let system = service.platform.system();
    json(&Status {
        version: VERSION,
        os: system.os,
        arch: system.arch,
        uptime: service.platform.now().since(system.started).as_secs(),
        num_cpu: system.cpus,
        num_cpu_used: system.usable_cpus,
        mem_heap_used: system.heap,
        mem_stack_used: system.stack,
        keystore_latency: keystore.as_ref().ok().map(nanos),
        keystore_unreachable: keystore.as_ref().is_err_and(Error::is_outage),
        keystore_unavailable: keystore.is_err(),
    })
}

pub async fn metrics<P: Platform>(service: &Service<P>) -> Result<Response, Error> {
    let sums = service.platform.totals(service.take_counters()).await;
    let text = metrics::render(&sums, &service.platform.system(), service.platform.now());
    Ok(Response::text(ContentType::Metrics, text.into_bytes()))
}

#[derive(Serialize)]
struct Api {
    method: &'static str,
    path: &'static str,
    /// Bytes.
    max_body: usize,
    /// Seconds; 0 for none.
    timeout: u64,
}

pub fn list_apis<P: Platform>(service: &Service<P>) -> Result<Response, Error> {
    let apis: Vec<Api> = service
        .routes
        .iter()
        .map(|route| Api {
            method: route.method,
            path: route.path,
            max_body: route.max_body,
            timeout: route.timeout.map_or(0, |limit| limit.as_secs()),
        })
        .collect();
    json(&apis)
}
