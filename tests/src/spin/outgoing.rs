//! Requests that a component sends: where it may, over HTTP or HTTPS.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::Response;
use hyper::header::HOST;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::Inside;
use super::request::Request;

/// How long Spin waits where a component does not say it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Sends the requests of all instances of an app, over connections that they share, as Spin does.
pub(super) type Sender = Client<HttpsConnector<HttpConnector>, WasiBody>;

/// Sends the requests of one.
pub(super) struct Outgoing {
    app: Arc<Inside>,
    request: Arc<Request>,
}

type Answered = Result<(Response<WasiBody>, Over), Error>;
type Over = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// A sender that trusts these authorities, and none that the system trusts.
///
/// # Errors
/// There is a certificate that is none.
pub(super) fn sender(authorities: &[CertificateDer<'static>]) -> Result<Sender, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|it| it.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|reason| reason.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

impl Outgoing {
    pub fn new(app: Arc<Inside>, request: Arc<Request>) -> Self {
        Self { app, request }
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: hyper::Request<WasiBody>,
        options: Option<RequestOptions>,
        _over: Over,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let (app, inside) = (self.app.clone(), self.request.clone());
        Box::new(async move {
            let begun = Instant::now();
            let answered = send(&app, request, options.unwrap_or_default()).await;
            inside.sent(begun.elapsed());
            let over: Over = Box::new(async { Ok(()) });
            answered.map(|answer| (answer, over))
        })
    }
}

async fn send(
    app: &Inside,
    mut request: hyper::Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, Error> {
    let uri = request.uri();
    let (scheme, host) = (uri.scheme_str(), uri.host());
    let hosts = app.manifest.hosts.as_ref();
    let is_allowed = match (hosts, scheme, host) {
        (Ok(hosts), Some(scheme), Some(host)) => hosts.allow(scheme, host, uri.port_u16()),
        _ => false,
    };
    if !is_allowed {
        let place = uri.authority().map_or("", |it| it.as_str());
        let why = hosts.err().map_or("it is not listed", String::as_str);
        app.troubles
            .say(&format!("no request may go to {place}: {why}"));
        return Err(Error::HttpRequestDenied);
    }
    // The client makes it of the address.
    request.headers_mut().remove(HOST);
    let patience = options.first_byte_timeout.unwrap_or(PATIENCE);
    let patience = patience + options.connect_timeout.unwrap_or(PATIENCE);
    match tokio::time::timeout(patience, app.sender.request(request)).await {
        Ok(Ok(answer)) => Ok(answer.map(|body| body.map_err(Error::Hyper).boxed_unsync())),
        Ok(Err(reason)) => Err(error(&reason)),
        Err(_) => Err(Error::ConnectionReadTimeout),
    }
}

fn error(reason: &ClientError) -> Error {
    let mut causes = std::iter::successors(reason.source(), |&cause| cause.source());
    let Some(found) = causes.find_map(|cause| cause.downcast_ref::<io::Error>()) else {
        return Error::HttpProtocolError;
    };
    match (of_tls(found), found.kind()) {
        (Some(rustls::Error::InvalidCertificate(_)), _) => Error::TlsCertificateError,
        (Some(_), _) => Error::TlsProtocolError,
        (None, io::ErrorKind::ConnectionRefused) => Error::ConnectionRefused,
        (None, _) if reason.is_connect() => Error::DestinationUnavailable,
        (None, _) => Error::ConnectionTerminated,
    }
}

/// The error of TLS that is inside one of I/O, however deep.
fn of_tls(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    let deeper = || inner.downcast_ref::<io::Error>().and_then(of_tls);
    inner.downcast_ref().or_else(deeper)
}
