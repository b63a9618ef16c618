//! What an instance has of the world: the state behind its imports.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::Inside;
use super::outgoing::Outgoing;
use super::request::{Request, Work};
use super::store::{Failure, Operation, Store};
use bindings::fermyon::spin::{key_value, variables};
use bindings::wasi::config::store as config;
use bindings::wasi::keyvalue::{atomics, batch, store};

pub(super) mod bindings {
    #![allow(missing_docs, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "../wit/spin",
        world: "sealedge:spin/host",
        imports: { default: async | trappable },
        with: {
            "fermyon:spin/key-value.store": super::Bucket,
            "wasi:keyvalue/store.bucket": super::Bucket,
            "wasi:keyvalue/atomics.cas": crate::spin::store::Cas,
        },
    });
}

/// What becomes of `wasi:keyvalue/atomics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atomics {
    /// It is there.
    #[default]
    There,
    /// Every call fails.
    Unsupported,
    /// There is no such interface: a component that imports it does not start.
    Missing,
}

/// An open store.
pub struct Bucket {
    label: String,
}

/// All of an instance.
pub(super) struct State {
    pub app: Arc<Inside>,
    pub request: Arc<Request>,
    pub outgoing: Outgoing,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub table: ResourceTable,
}

impl State {
    pub fn new(app: Arc<Inside>, request: Arc<Request>) -> Self {
        let wasi = WasiCtx::builder()
            .stdout(app.output.clone())
            .stderr(app.errors.clone())
            .build();
        Self {
            outgoing: Outgoing::new(app.clone(), request.clone()),
            app,
            request,
            wasi,
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
        }
    }

    /// The store that is behind a handle.
    pub fn at<T: 'static>(&self, bucket: &Resource<T>) -> wasmtime::Result<At> {
        let bucket = Resource::<Bucket>::new_borrow(bucket.rep());
        let label = self.table.get(&bucket)?.label.clone();
        Ok(self.by_label(label))
    }

    pub fn by_label(&self, label: String) -> At {
        At {
            label,
            app: self.app.clone(),
            request: self.request.clone(),
        }
    }

    /// A handle for a store, if the manifest lists it.
    pub fn open_bucket(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<Bucket>, Failure>> {
        if let Err(failure) = self.app.key_value.open(&label) {
            return Ok(Err(failure));
        }
        Ok(Ok(self.table.push(Bucket { label })?))
    }
}

/// A store for an instance: not the instance's state itself, which no future may share.
pub(super) struct At {
    pub label: String,
    app: Arc<Inside>,
    request: Arc<Request>,
}

impl At {
    pub fn store(&self) -> &Store {
        &self.app.key_value.store
    }

    /// Does an operation with it, by the clock of the request.
    pub async fn perform<T>(
        &self,
        operation: Operation,
        key: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let stores = &self.app.key_value;
        let work = stores.perform(&self.request, operation, key, work);
        self.request.host(Work::KeyValue, work).await
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outgoing,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// All that a component may import.
pub(super) fn link(linker: &mut Linker<State>, atomics: Atomics) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    key_value::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    variables::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    store::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    batch::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    config::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    if atomics != Atomics::Missing {
        atomics::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    }
    Ok(())
}
