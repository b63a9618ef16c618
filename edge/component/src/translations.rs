//! Translates between the door's types and those that are generated from `wit/`.

/// The translations as functions, where the generated types are in scope as `types`. They are a macro
/// because guest and host have a set of these types each, of the same names and shapes.
#[macro_export]
macro_rules! translations {
    () => {
        fn request<L: $crate::lent::Lent>(
            door: &$crate::door::Door<L>,
            call: u64,
            what: types::Request,
        ) -> ::sealedge_core::service::Request<$crate::door::LentBody<L>> {
            use ::sealedge_core::service::Incoming;

            ::sealedge_core::service::Request {
                line: what.line,
                arrived: ::sealedge_core::time::Time::from_nanos(what.arrived),
                client: ::sealedge_core::client::Client::from_bytes(what.client),
                presented: what.presented.map(|bytes| {
                    ::std::boxed::Box::new(::sealedge_core::auth::Packed::unpack(&bytes))
                }),
                audited: what.audited,
                body: match what.body {
                    types::Body::None => Incoming::Whole(Vec::new()),
                    types::Body::Whole(body) => Incoming::Whole(body),
                    types::Body::Later => Incoming::Later(door.body(call)),
                },
            }
        }

        /// Reads a configuration: the first makes the door, a later one is proposed to it.
        fn configure<L: $crate::lent::Lent>(
            door: &mut Option<$crate::door::Door<L>>,
            document: &str,
            variable: &dyn Fn(&str) -> Option<String>,
            lent: impl FnOnce() -> L,
        ) -> Result<types::Settings, Vec<String>> {
            let (config, warnings) = $crate::configure::read(document, variable)?;
            let mut settings = settings(&config, warnings);
            match door {
                Some(door) => {
                    let service = door.propose(config).map_err(|problem| vec![problem])?;
                    complete(&mut settings, service);
                }
                none => {
                    let door = none.insert($crate::door::Door::new(config, lent()));
                    complete(&mut settings, door.service());
                }
            }
            Ok(settings)
        }

        fn settings(
            config: &::sealedge_core::config::Config,
            warnings: Vec<String>,
        ) -> types::Settings {
            use ::sealedge_core::config::Keystore;

            let password = config.tls.password.as_ref();
            types::Settings {
                address: config.address.clone(),
                tls: types::Tls {
                    key: config.tls.key.clone(),
                    certificate: config.tls.cert.clone(),
                    password: password.map(|password| password.expose().to_owned()),
                    authorities: config.tls.ca.clone(),
                    verify_clients: config.tls.verify_clients,
                    certificate_optional: false,
                },
                store: match &config.keystore {
                    Keystore::Memory => types::Store::Memory,
                    Keystore::Fs { path } => types::Store::Files(path.clone()),
                    Keystore::Vault(settings) => types::Store::Remote(settings.to_string()),
                    // The parser has refused it.
                    Keystore::DurableObjects => types::Store::Remote("Durable Objects".to_owned()),
                    Keystore::SpinKeyValue { .. } => types::Store::Remote("Spin".to_owned()),
                },
                values: config.values(),
                clients: config.clients(),
                outside: outside(config),
                credential_headers: Vec::new(),
                audit_log: config.log.audit,
                error_log: config.log.error,
                warnings,
            }
        }

        fn outside(config: &::sealedge_core::config::Config) -> types::Outside {
            let destinations = config.destinations().into_iter();
            let files = config.files().into_iter();
            types::Outside {
                destinations: destinations.map(destination).collect(),
                files: files
                    .map(|file| types::File {
                        path: file.path,
                        is_private: file.is_private,
                    })
                    .collect(),
            }
        }

        fn destination(there: ::sealedge_core::outgoing::Destination) -> types::Destination {
            let files = there.certificate.map(|it| (it.certificate, it.key));
            let (certificate, key) = files.unzip();
            types::Destination {
                origin: there.origin,
                authorities: there.authorities,
                certificate,
                key,
            }
        }

        /// Adds what the service makes of the configuration.
        fn complete(
            settings: &mut types::Settings,
            service: &::sealedge_core::service::Service<impl ::sealedge_core::platform::Platform>,
        ) {
            settings.credential_headers = service.credential_headers();
            settings.tls.certificate_optional = service.certificate_optional();
        }

        fn finished(end: $crate::door::Finished) -> types::Finished {
            use $crate::door::Finished;

            match end {
                Finished::Response(response) => types::Finished::Response(response_of(response)),
                Finished::Subscribed(subscription) => {
                    types::Finished::Subscribed(subscription_of(subscription))
                }
                Finished::Prepared(result) => types::Finished::Prepared(result),
                Finished::Stored(end) => types::Finished::Stored(stored(end)),
            }
        }

        fn response_of(mut response: ::sealedge_core::response::Response) -> types::Response {
            use ::sealedge_core::response::ContentType;

            types::Response {
                status: response.status,
                content_type: match response.content_type {
                    None => types::ContentType::None,
                    Some(ContentType::Json) => types::ContentType::Json,
                    Some(ContentType::Text) => types::ContentType::Text,
                    Some(ContentType::Metrics) => types::ContentType::Metrics,
                },
                asks_for_signature: response.asks_for_signature,
                body: ::std::mem::take(&mut *response.body),
            }
        }

        fn subscription_of(
            subscription: ::sealedge_core::log::Subscription,
        ) -> types::Subscription {
            use ::sealedge_core::log::Topic;

            types::Subscription {
                topic: match subscription.topic {
                    Topic::Audit => types::Topic::Audit,
                    Topic::Error => types::Topic::Error,
                },
                until: subscription
                    .until
                    .map(::sealedge_core::time::Time::as_nanos),
            }
        }

        fn outcome(what: types::Outcome) -> $crate::lent::Outcome {
            use $crate::lent::{Failure, Outcome};

            match what {
                types::Outcome::Done => Outcome::Done,
                types::Outcome::Value(value) => Outcome::Value(value.into()),
                types::Outcome::Names(names) => Outcome::Names(names),
                types::Outcome::Numbers(numbers) => Outcome::Numbers(numbers),
                types::Outcome::Answer(answer) => {
                    Outcome::Answer(::sealedge_core::outgoing::Response {
                        status: answer.status,
                        headers: answer.headers,
                        body: answer.body.into(),
                    })
                }
                types::Outcome::Kept(key) => Outcome::Kept($crate::lent::KeptKey {
                    value: key.value.into(),
                    read_at: key.read_at,
                }),
                types::Outcome::Failed(failure) => Outcome::Failed(match failure {
                    types::Failure::Exists => Failure::Exists,
                    types::Failure::NotFound => Failure::NotFound,
                    types::Failure::Unreachable(why) => Failure::Unreachable(why),
                    types::Failure::Failed(why) => Failure::Failed(why),
                    types::Failure::TimedOut => Failure::TimedOut,
                    types::Failure::TooLarge => Failure::TooLarge,
                    types::Failure::Broken => Failure::Broken,
                }),
            }
        }

        fn stored(
            end: Result<$crate::door::Stored, ::sealedge_core::store::StoreError>,
        ) -> types::Outcome {
            use ::sealedge_core::store::StoreError;
            use $crate::door::Stored;

            let failure = match end {
                Ok(Stored::Done) => return types::Outcome::Done,
                Ok(Stored::Value(mut value)) => {
                    return types::Outcome::Value(::std::mem::take(&mut *value));
                }
                Ok(Stored::Names(names)) => return types::Outcome::Names(names),
                Err(StoreError::Exists) => types::Failure::Exists,
                Err(StoreError::NotFound) => types::Failure::NotFound,
                Err(StoreError::Unreachable(why)) => types::Failure::Unreachable(why),
                Err(StoreError::Failed(why)) => types::Failure::Failed(why),
                // The host never asks for what ends so.
                Err(StoreError::Changed) => types::Failure::Failed(String::new()),
            };
            types::Outcome::Failed(failure)
        }

        fn kept_key(mut key: $crate::lent::KeptKey) -> types::KeptKey {
            types::KeptKey {
                value: ::std::mem::take(&mut *key.value),
                read_at: key.read_at,
            }
        }

        fn system(machine: types::Machine) -> ::sealedge_core::platform::System {
            ::sealedge_core::platform::System {
                commit: machine.commit,
                os: machine.os,
                arch: machine.arch,
                started: ::sealedge_core::time::Time::from_nanos(machine.started),
                cpus: machine.cpus,
                usable_cpus: machine.usable_cpus,
                threads: machine.threads,
                heap: machine.heap,
                stack: machine.stack,
            }
        }

        fn operation_of(operation: $crate::lent::Operation<'_>) -> types::Operation {
            use $crate::lent::Operation;

            match operation {
                Operation::Store(what) => types::Operation::Store(store_operation_of(what)),
                Operation::Sleep(duration) => {
                    let nanos = u64::try_from(duration.as_nanos());
                    types::Operation::Sleep(nanos.unwrap_or(u64::MAX))
                }
                Operation::Invalidate(name) => types::Operation::Invalidate(name.to_owned()),
                Operation::Totals(numbers) => types::Operation::Totals(numbers.to_owned()),
                Operation::ReadBody { call, limit } => {
                    types::Operation::ReadBody(types::AwaitedBody { call, limit })
                }
                Operation::Fetch(request) => types::Operation::Fetch(outgoing(request)),
                Operation::ReadFile(path) => types::Operation::ReadFile(path.to_owned()),
                Operation::Prepare => types::Operation::Prepare,
                Operation::Kept(name) => types::Operation::Kept(name.to_owned()),
            }
        }

        fn outgoing(mut request: ::sealedge_core::outgoing::Request) -> types::Outgoing {
            let timeout = u64::try_from(request.timeout.as_nanos());
            types::Outgoing {
                destination: u32::try_from(request.destination).unwrap_or(u32::MAX),
                method: request.method.into_owned(),
                path: request.path,
                headers: request
                    .headers
                    .into_iter()
                    .map(|(name, mut value)| (name.into_owned(), ::std::mem::take(&mut *value)))
                    .collect(),
                body: ::std::mem::take(&mut *request.body),
                limit: u32::try_from(request.limit).unwrap_or(u32::MAX),
                timeout: timeout.unwrap_or(u64::MAX),
            }
        }

        fn store_operation_of(what: $crate::lent::StoreOperation) -> types::StoreOperation {
            use $crate::lent::StoreOperation;

            match what {
                StoreOperation::Create { name, value } => {
                    types::StoreOperation::Create(types::Entry { name, value })
                }
                StoreOperation::Get(name) => types::StoreOperation::Get(name),
                StoreOperation::Delete(name) => types::StoreOperation::Delete(name),
                StoreOperation::List {
                    prefix,
                    after,
                    limit,
                } => types::StoreOperation::List(types::Page {
                    prefix,
                    after,
                    limit,
                }),
                StoreOperation::Status => types::StoreOperation::Status,
                StoreOperation::Check => types::StoreOperation::Check,
            }
        }

        fn store_operation(what: types::StoreOperation) -> $crate::lent::StoreOperation {
            use $crate::lent::StoreOperation;

            match what {
                types::StoreOperation::Create(types::Entry { name, value }) => {
                    StoreOperation::Create { name, value }
                }
                types::StoreOperation::Get(name) => StoreOperation::Get(name),
                types::StoreOperation::Delete(name) => StoreOperation::Delete(name),
                types::StoreOperation::List(types::Page {
                    prefix,
                    after,
                    limit,
                }) => StoreOperation::List {
                    prefix,
                    after,
                    limit,
                },
                types::StoreOperation::Status => StoreOperation::Status,
                types::StoreOperation::Check => StoreOperation::Check,
            }
        }
    };
}
