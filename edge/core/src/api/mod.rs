//! What each route does, once it is known who asks and that a policy allows it.

mod body;
mod identity;
mod key;
mod policy;
mod system;

use serde::Serialize;

use crate::error::Error;
use crate::identity::Identity;
use crate::log::{Subscription, Topic};
use crate::platform::Platform;
use crate::response::{Answer, Response};
use crate::route::{Operation, Route};
use crate::service::{Caller, Incoming, Service};
use crate::time::Time;

/// A request that was let through.
pub(crate) struct Call<'a, B> {
    pub route: &'a Route,
    /// What follows the route in the path: a name or a pattern.
    pub argument: &'a str,
    /// When the request came.
    pub arrived: Time,
    /// Who asks; `None` only where anybody may.
    pub caller: Option<&'a Caller>,
    pub body: Incoming<B>,
}

pub(crate) async fn serve<P: Platform>(
    service: &Service<P>,
    call: Call<'_, P::Body>,
) -> Result<Answer, Error> {
    let response = match call.route.operation {
        Operation::Version => system::version(service),
        Operation::Ready => system::ready(service).await,
        Operation::Status => system::status(service).await,
        Operation::Metrics if !P::MEMORY => Err(Error::NoMetrics),
        Operation::Metrics => system::metrics(service).await,
        Operation::ListApis => system::list_apis(service),
        Operation::CreateKey => key::create(service, call).await,
        Operation::ImportKey => key::import(service, call).await,
        Operation::DescribeKey => key::describe(service, call).await,
        Operation::ListKeys => key::list(service, call).await,
        Operation::DeleteKey => key::delete(service, call).await,
        Operation::Generate => key::generate(service, call).await,
        Operation::Encrypt => key::encrypt(service, call).await,
        Operation::Decrypt => key::decrypt(service, call).await,
        Operation::Hmac => key::hmac(service, call).await,
        Operation::DescribePolicy => policy::describe(service, call.argument),
        Operation::ReadPolicy => policy::read(service, call.argument),
        Operation::ListPolicies => policy::list(service, call.argument),
        Operation::DescribeIdentity => identity::describe(service, call.argument),
        Operation::ListIdentities => identity::list(service, call.argument),
        Operation::DescribeSelf => identity::describe_self(service, call.caller),
        Operation::ErrorLog | Operation::AuditLog if !P::LOG_STREAMS => Err(Error::NoLogStreams),
        Operation::ErrorLog => return Ok(subscription(Topic::Error)),
        Operation::AuditLog => return Ok(subscription(Topic::Audit)),
    };
    response.map(Answer::Response)
}

impl<B> Call<'_, B> {
    /// Who creates what the call creates.
    pub fn creator(&self) -> Option<Identity> {
        self.caller.map(|caller| caller.identity)
    }
}

/// The stream of a log; the service knows until when this client may read it.
fn subscription(topic: Topic) -> Answer {
    Answer::Subscription(Subscription { topic, until: None })
}

/// An answer with a JSON body.
fn json(body: &impl Serialize) -> Result<Response, Error> {
    // Only a map with keys that are no text could fail, and no answer has one.
    let body = serde_json::to_vec(body).unwrap_or_default();
    Ok(Response::json(body))
}
