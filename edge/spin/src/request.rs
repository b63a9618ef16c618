//! HTTP to the service, and back.

use http::Uri;
use sealedge_core::auth::{Presented, signature};
use sealedge_core::client::Client;
use sealedge_core::response::{Answer, ContentType, Response};
use sealedge_core::service::{Request, Service};
use sealedge_core::time::Time;
use spin_sdk::http::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};
use std::rc::Rc;

use crate::body;
use crate::outside::Outside;
use crate::platform::Spin;

/// Where Spin says who asks and for what. Clients may send such headers as well: Spin's own come last.
const CLIENT: &str = "spin-client-addr";
const URL: &str = "spin-full-url";

/// Answers a request.
pub async fn answer(
    service: &Rc<Service<Spin>>,
    outside: &Outside,
    asked: IncomingRequest,
    arrived: Time,
) -> Response {
    let method = asked.method().to_string();
    let path = asked.path_with_query().unwrap_or_default();
    let path = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
    let line = [&method, " ", path].concat();
    let headers = asked.headers();
    let client = Client::new([], &client_ip(&headers), false);
    let presented = presented(service, &asked, &headers);
    drop(headers);
    let request = Request {
        line,
        arrived,
        client,
        presented,
        audited: false,
        body: body::received(asked, outside).await,
    };
    match service.clone().serve(request).await {
        Answer::Response(response) => response,
        // There are none where the platform says that it hands out no logs.
        Answer::Subscription(_) => by_door(501, "logs can't be read here"),
    }
}

/// What Spin says in a header, as text.
fn last(headers: &Fields, name: &str) -> Option<String> {
    let lines = headers.get(&name.to_owned());
    String::from_utf8(lines.into_iter().next_back()?).ok()
}

/// The client's address, without its port; empty if Spin says none.
fn client_ip(headers: &Fields) -> String {
    let address = last(headers, CLIENT).unwrap_or_default();
    if let Ok(address) = address.parse::<std::net::SocketAddr>() {
        return address.ip().to_string();
    }
    let ip = address.parse::<std::net::IpAddr>();
    ip.map_or_else(|_| String::new(), |ip| ip.to_string())
}

/// What may prove who asks, if there is anything.
fn presented(
    service: &Service<Spin>,
    asked: &IncomingRequest,
    headers: &Fields,
) -> Option<Box<Presented>> {
    let wanted = service.credential_headers();
    let found: Vec<_> = headers
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| wanted.contains(name))
        .collect();
    if found.is_empty() {
        return None;
    }
    let url = last(headers, URL).and_then(|url| url.parse::<Uri>().ok());
    let authority = url
        .as_ref()
        .and_then(Uri::authority)
        .map(ToString::to_string);
    Some(Box::new(Presented {
        authority: authority.or_else(|| asked.authority()).unwrap_or_default(),
        is_plain: url.as_ref().and_then(Uri::scheme_str) != Some("https"),
        query: asked
            .path_with_query()
            .and_then(|path| Some(path.split_once('?')?.1.to_owned())),
        headers: found,
        shown: None,
    }))
}

/// Sends an answer: from then on the client has it.
pub async fn respond(response: Response, to: ResponseOutparam) {
    let text = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let kind = response.content_type.map(ContentType::as_str);
    let length = response.body.len().to_string();
    let headers = [
        kind.map(|kind| text("content-type", kind)),
        Some(text("content-length", &length)),
        response
            .asks_for_signature
            .then(|| text("accept-signature", signature::ACCEPT)),
        response.challenge.map(|it| text("www-authenticate", it)),
    ];
    let headers: Vec<_> = headers.into_iter().flatten().collect();
    let outgoing =
        OutgoingResponse::new(Fields::from_list(&headers).unwrap_or_else(|_| Fields::new()));
    let _ = outgoing.set_status_code(response.status);
    // If the client is gone, nobody is to be told.
    let _ = to.set_with_body(outgoing, response.body.to_vec()).await;
}

/// The answer while there is no service.
pub fn not_configured() -> Response {
    by_door(500, "the service is not configured: its log says why")
}

/// An answer that the service knows nothing of.
fn by_door(status: u16, message: &str) -> Response {
    let body = [r#"{"message":""#, message, r#""}"#].concat();
    Response {
        status,
        ..Response::text(ContentType::Json, body.into_bytes())
    }
}
