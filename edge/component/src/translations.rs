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
                forwarded: what.forwarded.unwrap_or_default(),
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
                Some(door) => complete(&mut settings, door.propose(config)),
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
                },
                forwarded_header: None,
                audit_log: config.log.audit,
                error_log: config.log.error,
                warnings,
            }
        }

        /// Adds what the service makes of the configuration.
        fn complete(
            settings: &mut types::Settings,
            service: &::sealedge_core::service::Service<impl ::sealedge_core::platform::Platform>,
        ) {
            settings.forwarded_header = service.forwarded_header().map(ToOwned::to_owned);
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
            use ::sealedge_core::platform::BodyError;
            use ::sealedge_core::store::StoreError;
            use $crate::lent::Outcome;

            match what {
                types::Outcome::Done => Outcome::Done,
                types::Outcome::Value(value) => Outcome::Value(value.into()),
                types::Outcome::Names(names) => Outcome::Names(names),
                types::Outcome::Numbers(numbers) => Outcome::Numbers(numbers),
                types::Outcome::Failed(failure) => match failure {
                    types::Failure::Exists => Outcome::Store(StoreError::Exists),
                    types::Failure::NotFound => Outcome::Store(StoreError::NotFound),
                    types::Failure::Unreachable(why) => {
                        Outcome::Store(StoreError::Unreachable(why))
                    }
                    types::Failure::Failed(why) => Outcome::Store(StoreError::Failed(why)),
                    types::Failure::TooLarge => Outcome::Body(BodyError::TooLarge),
                    types::Failure::Broken => Outcome::Body(BodyError::Broken),
                },
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
                Operation::StoreCreate { name, value } => {
                    types::Operation::StoreCreate(types::Entry {
                        name: name.to_owned(),
                        value: value.to_owned(),
                    })
                }
                Operation::StoreGet(name) => types::Operation::StoreGet(name.to_owned()),
                Operation::StoreDelete(name) => types::Operation::StoreDelete(name.to_owned()),
                Operation::StoreList {
                    prefix,
                    after,
                    limit,
                } => types::Operation::StoreList(types::Page {
                    prefix: prefix.to_owned(),
                    after: after.map(ToOwned::to_owned),
                    limit,
                }),
                Operation::StoreStatus => types::Operation::StoreStatus,
                Operation::Sleep(duration) => {
                    let nanos = u64::try_from(duration.as_nanos());
                    types::Operation::Sleep(nanos.unwrap_or(u64::MAX))
                }
                Operation::Invalidate(name) => types::Operation::Invalidate(name.to_owned()),
                Operation::Totals(numbers) => types::Operation::Totals(numbers.to_owned()),
                Operation::ReadBody { call, limit } => {
                    types::Operation::ReadBody(types::AwaitedBody { call, limit })
                }
            }
        }
    };
}
