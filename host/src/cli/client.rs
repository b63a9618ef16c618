//! The connection to a server: HTTPS with a client certificate, or with signed requests.

use std::cell::Cell;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use sealedge_core::auth::signature::Signer;
use sealedge_core::identity::Identity;
use sealedge_core::route::LONGEST_BODY;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::config::Config;
use ureq::http::{Method, Request, Response, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};
use zeroize::Zeroizing;

use super::credential::{ClientCertificate, Credential, provider, trusted};
use super::endpoint::{Endpoint, endpoints};
use super::error::{Answer, Error, ProtocolProblem};
use super::fault::Fault;
use super::output::printable;
use super::protocol::{Failure, Page};
use super::signing::{self, Signing};
use super::{Auth, Common};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server takes 15 seconds at most (the KES protocol, section 2).
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: u64 = 1 << 20;

/// A client of the servers named in the environment.
pub struct Client {
    agent: Agent,
    /// Where the credential is one that can sign, and may.
    signing: Option<Signing>,
    /// Whether requests are signed before a server has asked for that.
    signs: Cell<bool>,
    /// Whether they may be sent to anybody: then nobody gets a signature by asking for one.
    is_insecure: bool,
    servers: Vec<Endpoint>,
    identity: Identity,
}

/// A success: the body, and who sent it.
struct Success {
    body: Zeroizing<Vec<u8>>,
    server: Endpoint,
}

impl Client {
    /// A client as the environment and the options say.
    pub fn from_environment(common: Common) -> Result<Self, Error> {
        let get = |name: &str| std::env::var(name).ok();
        let servers = endpoints(get).map_err(Error::Endpoint)?;
        let credential = Credential::from_environment(get)?;
        let certificate = credential.load()?;
        let trust = if common.insecure {
            Trust::Anyone
        } else {
            Trust::system()?
        };
        let client = Self::new(servers, &certificate, &trust)?;
        match (common.auth, credential.into_signer(&certificate)) {
            (Auth::Mtls, _) | (Auth::Auto, None) => Ok(client),
            (Auth::Signature, None) => Err(Error::CannotSign),
            (auth, Some(signer)) => client.signing(signer, &trust, auth == Auth::Signature),
        }
    }

    fn new(
        servers: Vec<Endpoint>,
        certificate: &ClientCertificate,
        trust: &Trust,
    ) -> Result<Self, Error> {
        Ok(Self {
            agent: agent(&servers, Some(certificate), trust)?,
            signing: None,
            signs: Cell::new(false),
            is_insecure: matches!(trust, Trust::Anyone),
            servers,
            identity: certificate.identity,
        })
    }

    /// The same, which signs its requests once it is asked to, or `at_once`.
    fn signing(mut self, signer: Signer, trust: &Trust, at_once: bool) -> Result<Self, Error> {
        let agent = agent(&self.servers, None, trust)?;
        self.signing = Some(Signing { agent, signer });
        self.signs = Cell::new(at_once);
        Ok(self)
    }

    /// GET `route` with `name` as its last segment; which server answered is returned too.
    pub fn get<T: DeserializeOwned>(
        &self,
        route: &str,
        name: &str,
    ) -> Result<(T, Endpoint), Error> {
        let success = self.call(&Method::GET, route, name, None)?;
        Ok((success.decode()?, success.server))
    }

    /// PUT without a body, for an empty answer.
    pub fn put(&self, route: &str, name: &str) -> Result<(), Error> {
        self.call(&Method::PUT, route, name, None).map(drop)
    }

    /// PUT `body`, for an empty answer.
    pub fn send(&self, route: &str, name: &str, body: &impl Serialize) -> Result<(), Error> {
        self.call(&Method::PUT, route, name, Some(&encode(body)?))
            .map(drop)
    }

    /// PUT `body`, for an answer with a body.
    pub fn ask<T: DeserializeOwned>(
        &self,
        route: &str,
        name: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.call(&Method::PUT, route, name, Some(&encode(body)?))?
            .decode()
    }

    /// DELETE, for an empty answer.
    pub fn delete(&self, route: &str, name: &str) -> Result<(), Error> {
        self.call(&Method::DELETE, route, name, None).map(drop)
    }

    /// Everything that a listing of `pattern` has, page by page, each handed to `show`.
    pub fn list<P: Page>(
        &self,
        route: &str,
        pattern: &str,
        mut show: impl FnMut(&[String]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut at = pattern.to_owned();
        loop {
            let (page, server) = self.get::<P>(route, &at)?;
            let (names, continue_at) = page.into_parts();
            show(&names)?;
            match continue_at {
                next if next.is_empty() => return Ok(()),
                next if next == at => {
                    return Err(Error::Protocol {
                        server,
                        problem: ProtocolProblem::EndlessList,
                    });
                }
                next => at = next,
            }
        }
    }

    /// Asks the servers in turn until one answers. Only what changes nothing is asked again when
    /// it is not sure whether the first one heard.
    fn call(
        &self,
        method: &Method,
        route: &str,
        name: &str,
        body: Option<&[u8]>,
    ) -> Result<Success, Error> {
        let repeatable = method == Method::GET;
        let mut faults = Vec::new();
        for server in &self.servers {
            match self.exchange(method, server, &server.url(route, name), body) {
                Ok((200, body)) => {
                    return Ok(Success {
                        body,
                        server: server.clone(),
                    });
                }
                Ok((status, body)) => {
                    return Err(self.refused(status, &body, format!("{route}{name}")));
                }
                Err(Fault::Http(ureq::Error::BodyExceedsLimit(_))) => {
                    return Err(Error::Protocol {
                        server: server.clone(),
                        problem: ProtocolProblem::TooLong,
                    });
                }
                Err(fault) => {
                    let stop = fault.may_have_been_asked() && !repeatable;
                    faults.push((server.clone(), fault));
                    if stop {
                        break;
                    }
                }
            }
        }
        Err(Error::Unreachable(faults))
    }

    /// One request and the status and body of its answer.
    fn exchange(
        &self,
        method: &Method,
        server: &Endpoint,
        url: &str,
        body: Option<&[u8]>,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), Fault> {
        let uri: Uri = url
            .parse()
            .map_err(|it| ureq::Error::Http(Into::into(it)))?;
        let signed = |signing: &Signing| {
            let headers = signing.headers(method, server, &uri, body.unwrap_or_default())?;
            send(&signing.agent, method, &uri, headers, body)
        };
        let mut response = match &self.signing {
            Some(signing) if self.signs.get() => signed(signing)?,
            signing => {
                let response = send(&self.agent, method, &uri, Vec::new(), body)?;
                let is_asked = signing::is_asked_for(response.status(), response.headers());
                match signing {
                    // Whoever is there could hand it to the right server, and have what that answers.
                    Some(_) if is_asked && self.is_insecure => return Err(Fault::AskedByAnybody),
                    Some(signing) if is_asked => {
                        self.signs.set(true);
                        signed(signing)?
                    }
                    _ => response,
                }
            }
        };
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_vec()?;
        Ok((response.status().as_u16(), Zeroizing::new(body)))
    }

    fn refused(&self, status: u16, body: &[u8], path: String) -> Error {
        let message = serde_json::from_slice(body).map_or_else(
            |_| format!("the server answered with the HTTP status {status}"),
            |Failure { message }| printable(&message),
        );
        Error::Answer(Answer {
            subject: None,
            status,
            message,
            path,
            identity: self.identity,
            is_signed: self.signs.get(),
        })
    }
}

impl Success {
    fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|reason| Error::Protocol {
            server: self.server.clone(),
            problem: ProtocolProblem::Body(reason),
        })
    }
}

fn encode(body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let body = serde_json::to_vec(body)
        .map(Zeroizing::new)
        .map_err(Error::Encode)?;
    if body.len() > LONGEST_BODY {
        return Err(Error::LongRequest);
    }
    Ok(body)
}

/// How servers are spoken to, with this certificate or with none.
fn agent(
    servers: &[Endpoint],
    certificate: Option<&ClientCertificate>,
    trust: &Trust,
) -> Result<Agent, Error> {
    let config = Agent::config_builder()
        .tls_config(tls(certificate, trust)?)
        .https_only(true)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(CALL_TIMEOUT))
        .user_agent(concat!("sealedge/", env!("CARGO_PKG_VERSION")));
    // As in Go, HTTPS_PROXY is not for this machine.
    let config = if servers.iter().all(Endpoint::is_local) {
        config.proxy(None)
    } else {
        config
    };
    Ok(Agent::with_parts(
        config.build(),
        DefaultConnector::default(),
        Lookup::default(),
    ))
}

fn tls(certificate: Option<&ClientCertificate>, trust: &Trust) -> Result<TlsConfig, Error> {
    let shown = certificate.map(|certificate| {
        let key = PrivateKey::from_pem(&certificate.key).map_err(Error::PrivateKey)?;
        let chain = owned(&certificate.chain);
        Ok::<_, Error>(ClientCert::new_with_certs(&chain, key))
    });
    let config = TlsConfig::builder()
        .client_cert(shown.transpose()?)
        .unversioned_rustls_crypto_provider(provider());
    Ok(match trust {
        Trust::Anyone => config.disable_verification(true),
        Trust::These(certificates) => config.root_certs(RootCerts::from(certificates.clone())),
    }
    .build())
}

/// Sends a request with these headers and waits for the head of its answer.
fn send(
    agent: &Agent,
    method: &Method,
    uri: &Uri,
    headers: Vec<(&str, String)>,
    body: Option<&[u8]>,
) -> Result<Response<Body>, ureq::Error> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    match body {
        Some(body) => {
            let request = request.header("Content-Type", "application/json");
            agent.run(request.body(body)?)
        }
        None => agent.run(request.body(())?),
    }
}

/// Which servers are believed to be the right one.
enum Trust {
    /// Any: the connection is encrypted, but with whom is not known.
    Anyone,
    /// Those with one of these certificates, or one signed by them.
    These(Vec<Certificate<'static>>),
}

impl Trust {
    /// Those that the system trusts.
    fn system() -> Result<Self, Error> {
        Ok(Self::These(owned(&trusted()?)))
    }
}

fn owned(certificates: &[CertificateDer<'_>]) -> Vec<Certificate<'static>> {
    certificates
        .iter()
        .map(|it| Certificate::from_der(it).to_owned())
        .collect()
}

/// Tells a name without an address from a connection that broke: to ureq both are an I/O error.
#[derive(Debug, Default)]
struct Lookup(DefaultResolver);

impl Resolver for Lookup {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0
            .resolve(uri, config, timeout)
            .map_err(|error| match error {
                ureq::Error::Io(_) => ureq::Error::HostNotFound,
                other => other,
            })
    }
}

#[cfg(test)]
mod tests;
