//! HTTP to the service, and back.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::Uri;
use sealedge_core::auth::{Presented, signature};
use sealedge_core::client::Client;
use sealedge_core::response::{Answer, ContentType, Response};
use sealedge_core::service::{Request, Service};
use sealedge_core::time::Time;
use spin_sdk::http::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

use super::body;
use super::outside::Outside;
use super::platform::Spin;

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
    let target = asked.path_with_query().unwrap_or_default();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target.as_str(), None),
    };
    let headers = asked.headers().entries();
    let request = Request {
        line: [&method, " ", path].concat(),
        arrived,
        client: Client::new([], &client_ip(&headers), false),
        presented: presented(service, headers, query),
        audited: false,
        body: body::received(asked, outside).await,
    };
    match service.clone().serve(request).await {
        Answer::Response(response) => response,
        // There are none where the platform says that it hands out no logs.
        Answer::Subscription(_) => by_door(501, "logs can't be read here"),
    }
}

/// A header's name and value, a line each.
type Headers = [(String, Vec<u8>)];

/// What Spin says in a header, as text.
fn last<'h>(headers: &'h Headers, name: &str) -> Option<&'h str> {
    let mut lines = headers.iter().rev();
    let (_, value) = lines.find(|line| line.0.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(value).ok()
}

/// The client's address, without its port; empty if Spin says none.
fn client_ip(headers: &Headers) -> String {
    let address = last(headers, CLIENT).unwrap_or_default();
    let ip = match address.parse::<SocketAddr>() {
        Ok(address) => Some(address.ip()),
        Err(_) => address.parse::<IpAddr>().ok(),
    };
    ip.map_or_else(String::new, |ip| ip.to_string())
}

/// What may prove who asks, if there is anything.
fn presented(
    service: &Service<Spin>,
    headers: Vec<(String, Vec<u8>)>,
    query: Option<String>,
) -> Option<Box<Presented>> {
    let url = last(&headers, URL).and_then(|url| url.parse::<Uri>().ok());
    let authority = url.as_ref().and_then(Uri::authority);
    let authority = authority.map(ToString::to_string).unwrap_or_default();
    let is_plain = url.as_ref().and_then(Uri::scheme_str) != Some("https");
    let wanted = service.credential_headers();
    let headers = headers.into_iter();
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value));
    let headers: Vec<_> = headers.filter(|line| wanted.contains(&line.0)).collect();
    (!headers.is_empty()).then(|| {
        Box::new(Presented {
            authority,
            is_plain,
            query,
            headers,
            shown: None,
        })
    })
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
