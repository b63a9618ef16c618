//! The connection to a server: HTTPS with a client certificate.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use sealedge_core::identity::Identity;
use sealedge_core::route::LONGEST_BODY;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::{Method, Request, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use zeroize::Zeroizing;

use super::credential::{ClientCertificate, Credential, provider};
use super::endpoint::{Endpoint, endpoints};
use super::error::{Answer, Error, ProtocolProblem};
use super::fault::Fault;
use super::output::printable;
use super::protocol::{Failure, Page};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server takes 15 seconds at most (the KES protocol, section 2).
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: u64 = 1 << 20;

/// A client of the servers named in the environment.
pub struct Client {
    agent: Agent,
    servers: Vec<Endpoint>,
    identity: Identity,
}

/// A success: the body, and who sent it.
struct Success {
    body: Zeroizing<Vec<u8>>,
    server: Endpoint,
}

impl Client {
    /// A client as the environment says; `insecure` trusts any server.
    pub fn from_environment(insecure: bool) -> Result<Self, Error> {
        let get = |name: &str| std::env::var(name).ok();
        let servers = endpoints(get).map_err(Error::Endpoint)?;
        let certificate = Credential::from_environment(get)?.load()?;
        let trust = if insecure {
            Trust::Anyone
        } else {
            Trust::system()?
        };
        Self::new(servers, &certificate, trust)
    }

    fn new(
        servers: Vec<Endpoint>,
        certificate: &ClientCertificate,
        trust: Trust,
    ) -> Result<Self, Error> {
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
        let agent = Agent::with_parts(
            config.build(),
            DefaultConnector::default(),
            Lookup::default(),
        );
        Ok(Self {
            agent,
            servers,
            identity: certificate.identity,
        })
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
            match self.exchange(method, &server.url(route, name), body) {
                Ok((200, body)) => {
                    return Ok(Success {
                        body,
                        server: server.clone(),
                    });
                }
                Ok((status, body)) => {
                    return Err(self.refused(status, &body, format!("{route}{name}")));
                }
                Err(ureq::Error::BodyExceedsLimit(_)) => {
                    return Err(Error::Protocol {
                        server: server.clone(),
                        problem: ProtocolProblem::TooLong,
                    });
                }
                Err(error) => {
                    let fault = Fault::from(error);
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
        url: &str,
        body: Option<&[u8]>,
    ) -> Result<(u16, Zeroizing<Vec<u8>>), ureq::Error> {
        let request = Request::builder().method(method).uri(url);
        let mut response = match body {
            Some(body) => self.agent.run(
                request
                    .header("Content-Type", "application/json")
                    .body(body)?,
            )?,
            None => self.agent.run(request.body(())?)?,
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

fn tls(certificate: &ClientCertificate, trust: Trust) -> Result<TlsConfig, Error> {
    let key = PrivateKey::from_pem(&certificate.key).map_err(Error::PrivateKey)?;
    let chain = owned(&certificate.chain);
    let config = TlsConfig::builder()
        .client_cert(Some(ClientCert::new_with_certs(&chain, key)))
        .unversioned_rustls_crypto_provider(provider());
    Ok(match trust {
        Trust::Anyone => config.disable_verification(true),
        Trust::These(certificates) => config.root_certs(RootCerts::from(certificates)),
    }
    .build())
}

/// Which servers are believed to be the right one.
enum Trust {
    /// Any: the connection is encrypted, but with whom is not known.
    Anyone,
    /// Those with one of these certificates, or one signed by them.
    These(Vec<Certificate<'static>>),
}

impl Trust {
    /// The certificates that the system trusts, or those of SSL_CERT_FILE and SSL_CERT_DIR.
    fn system() -> Result<Self, Error> {
        let mut loaded = rustls_native_certs::load_native_certs();
        // One bad file among the system's own is no matter, but one that somebody named is.
        let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
        match loaded.errors.pop() {
            Some(reason) if named => Err(Error::Roots(Some(reason))),
            reason if loaded.certs.is_empty() => Err(Error::Roots(reason)),
            _ => Ok(Self::These(owned(&loaded.certs))),
        }
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
