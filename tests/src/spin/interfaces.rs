//! Spin's interfaces and WASI's for keys and variables, over the state of an instance.

use wasmtime::component::Resource;

use super::Inside;
use super::manifest::check_name;
use super::request::Work;
use super::state::bindings::fermyon::spin::{key_value, variables};
use super::state::bindings::wasi::config::store as config;
use super::state::bindings::wasi::keyvalue::{atomics, batch, store};
use super::state::{Atomics, Bucket, State};
use super::store::{Cas, Failure, Found, Operation, Swap};

/// An outcome as an interface has it, whose errors are `E`.
fn told<T, E: From<Told>>(outcome: Result<T, Failure>) -> wasmtime::Result<Result<T, E>> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::AccessDenied) => Ok(Err(Told::AccessDenied.into())),
        Err(Failure::Other(why)) => Ok(Err(Told::Other(why).into())),
        Err(Failure::Trap(why)) => Err(wasmtime::Error::msg(why)),
    }
}

/// A failure of which the component is told.
enum Told {
    AccessDenied,
    Other(String),
}

impl From<Told> for key_value::Error {
    fn from(told: Told) -> Self {
        match told {
            Told::AccessDenied => Self::AccessDenied,
            Told::Other(why) => Self::Other(why),
        }
    }
}

impl From<Told> for store::Error {
    fn from(told: Told) -> Self {
        match told {
            Told::AccessDenied => Self::AccessDenied,
            Told::Other(why) => Self::Other(why),
        }
    }
}

impl From<Told> for atomics::CasError {
    fn from(told: Told) -> Self {
        Self::StoreError(told.into())
    }
}

impl key_value::Host for State {}

impl key_value::HostStore for State {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<Bucket>, key_value::Error>> {
        self.open_bucket(label).and_then(told)
    }

    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, key_value::Error>> {
        let at = self.at(&bucket)?;
        let get = at.store().get(&at.label, &key);
        told(at.perform(Operation::Get, &key, get).await)
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), key_value::Error>> {
        let at = self.at(&bucket)?;
        let set = at.store().set(&at.label, &key, &value);
        told(at.perform(Operation::Set, &key, set).await)
    }

    async fn delete(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), key_value::Error>> {
        let at = self.at(&bucket)?;
        let delete = at.store().delete(&at.label, &key);
        told(at.perform(Operation::Delete, &key, delete).await)
    }

    async fn exists(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, key_value::Error>> {
        let at = self.at(&bucket)?;
        let exists = at.store().exists(&at.label, &key);
        told(at.perform(Operation::Exists, &key, exists).await)
    }

    async fn get_keys(
        &mut self,
        bucket: Resource<Bucket>,
    ) -> wasmtime::Result<Result<Vec<String>, key_value::Error>> {
        let at = self.at(&bucket)?;
        let keys = at.store().keys(&at.label);
        told(at.perform(Operation::Keys, "", keys).await)
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

/// Why atomics fail here, if they do.
fn no_atomics(app: &Inside) -> Option<store::Error> {
    let is_there = app.atomics == Atomics::There;
    (!is_there).then(|| store::Error::Other("unsupported".into()))
}

fn variable(app: &Inside, name: &str) -> Result<String, variables::Error> {
    check_name(name).map_err(variables::Error::InvalidName)?;
    let value = app.manifest.variables.get(name).cloned();
    value.ok_or_else(|| variables::Error::Undefined(format!("no variable for {name:?}")))
}

impl variables::Host for State {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, variables::Error>> {
        let get = async { variable(&self.app, &name) };
        Ok(self.request.host(Work::Variables, get).await)
    }
}

impl config::Host for State {
    async fn get(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<Option<String>, config::Error>> {
        let get = async { variable(&self.app, &name).ok() };
        Ok(Ok(self.request.host(Work::Variables, get).await))
    }

    async fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, config::Error>> {
        let variables = &self.app.manifest.variables;
        let all = async { variables.clone().into_iter().collect() };
        Ok(Ok(self.request.host(Work::Variables, all).await))
    }
}

impl store::Host for State {
    async fn open(
        &mut self,
        label: String,
    ) -> wasmtime::Result<Result<Resource<Bucket>, store::Error>> {
        self.open_bucket(label).and_then(told)
    }
}

impl store::HostBucket for State {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let at = self.at(&bucket)?;
        let get = at.store().get(&at.label, &key);
        told(at.perform(Operation::Get, &key, get).await)
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let at = self.at(&bucket)?;
        let set = at.store().set(&at.label, &key, &value);
        told(at.perform(Operation::Set, &key, set).await)
    }

    async fn delete(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let at = self.at(&bucket)?;
        let delete = at.store().delete(&at.label, &key);
        told(at.perform(Operation::Delete, &key, delete).await)
    }

    async fn exists(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<bool, store::Error>> {
        let at = self.at(&bucket)?;
        let exists = at.store().exists(&at.label, &key);
        told(at.perform(Operation::Exists, &key, exists).await)
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        if cursor.is_some() {
            let why = "list_keys: cursor not supported".into();
            return Ok(Err(store::Error::Other(why)));
        }
        let at = self.at(&bucket)?;
        let keys = at.store().keys(&at.label);
        let keys = at.perform(Operation::Keys, "", keys).await;
        told(keys.map(|keys| store::KeyResponse { keys, cursor: None }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for State {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Found, store::Error>> {
        let at = self.at(&bucket)?;
        let first = keys.first().cloned().unwrap_or_default();
        let get = at.store().get_many(&at.label, keys);
        told(at.perform(Operation::GetMany, &first, get).await)
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        values: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let at = self.at(&bucket)?;
        let first = values.first().map_or("", |(key, _)| key);
        let set = at.store().set_many(&at.label, &values);
        told(at.perform(Operation::SetMany, first, set).await)
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        let at = self.at(&bucket)?;
        let first = keys.first().map_or("", String::as_str);
        let delete = at.store().delete_many(&at.label, &keys);
        told(at.perform(Operation::DeleteMany, first, delete).await)
    }
}

impl atomics::Host for State {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, store::Error>> {
        if let Some(error) = no_atomics(&self.app) {
            return Ok(Err(error));
        }
        let at = self.at(&bucket)?;
        let increment = at.store().increment(&at.label, &key, delta);
        told(at.perform(Operation::Increment, &key, increment).await)
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let cas = self.table.delete(cas)?;
        let (at, key) = (self.by_label(cas.label.clone()), cas.key.clone());
        let swap = at.store().swap(cas, &value);
        let swapped = at.perform(Operation::Swap, &key, swap).await;
        match told(swapped)? {
            Ok(Swap::Done) => Ok(Ok(())),
            Ok(Swap::Failed(again)) => {
                let again = self.table.push(again)?;
                Ok(Err(atomics::CasError::CasFailed(again)))
            }
            Err(error) => Ok(Err(error)),
        }
    }
}

impl atomics::HostCas for State {
    async fn new(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<Cas>, store::Error>> {
        if let Some(error) = no_atomics(&self.app) {
            return Ok(Err(error));
        }
        let at = self.at(&bucket)?;
        let new = at.store().new_cas(&at.label, &key);
        match told(at.perform(Operation::NewCas, &key, new).await)? {
            Ok(cas) => Ok(Ok(self.table.push(cas)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn current(
        &mut self,
        cas: Resource<Cas>,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        let cas = self.table.get(&cas)?;
        let at = self.by_label(cas.label.clone());
        let current = at.store().current(cas);
        let current = at.perform(Operation::Current, &cas.key, current).await;
        told(current)
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}
