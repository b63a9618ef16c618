//! The client against a small server of this process.

use super::*;
use crate::cli::certificate::{self, Subject};
use crate::cli::protocol::{Key, Names};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore, ServerConfig};
use sealedge_core::api_key::ApiKey;
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// What a server answers to `METHOD PATH BODY`; nothing closes the connection.
type Script = fn(&str) -> Option<(u16, String)>;

/// A server on this machine that lets one client in. It ends when it is dropped.
struct Server {
    address: String,
    certificate: CertificateDer<'static>,
    requests: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

fn credential(seed: u8) -> ClientCertificate {
    Credential::ApiKey(ApiKey::from_seed(&[seed; 32]))
        .load()
        .unwrap()
}

fn tls_config(client: &ClientCertificate) -> (ServerConfig, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let subject = Subject {
        name: "server".to_owned(),
        alternative_names: vec!["127.0.0.1".to_owned()],
        validity: Duration::from_secs(60),
        usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
    };
    let certificate = certificate::self_signed(&key, subject)
        .unwrap()
        .der()
        .clone();
    let mut clients = RootCertStore::empty();
    clients.add(client.chain[0].clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(clients.into(), provider())
        .build()
        .unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    (config, certificate)
}

impl Server {
    fn start(client: &ClientCertificate, script: Script) -> Self {
        let (config, certificate) = tls_config(client);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap().to_string();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                    let seen = seen.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let line = format!(
                            "{} {} {}",
                            head.method,
                            head.uri,
                            String::from_utf8_lossy(&body)
                        );
                        let answer = script(line.trim());
                        seen.lock().unwrap().push(line.trim().to_owned());
                        let (status, body) = answer.ok_or("closed")?;
                        Ok::<_, &str>(
                            hyper::Response::builder()
                                .status(status)
                                .body(Full::<Bytes>::from(body))
                                .unwrap(),
                        )
                    }
                });
                // One request a connection keeps the server free for the next one.
                let _ = hyper::server::conn::http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
        Self {
            address,
            certificate,
            requests,
            _runtime: runtime,
        }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn client(credential: &ClientCertificate, addresses: &[&str], trusted: &[&Server]) -> Client {
    let servers = endpoints(|_| Some(addresses.join(","))).unwrap();
    let trusted: Vec<_> = trusted.iter().map(|it| it.certificate.clone()).collect();
    Client::new(servers, credential, &Trust::These(owned(&trusted))).unwrap()
}

fn names(client: &Client) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    client.list::<Names>("/v1/key/list/", "*", |names| {
        all.extend_from_slice(names);
        Ok(())
    })?;
    Ok(all)
}

fn only_fault(result: Result<Vec<String>, Error>) -> Fault {
    match result {
        Err(Error::Unreachable(mut faults)) if faults.len() == 1 => faults.remove(0).1,
        other => panic!("{other:?}"),
    }
}

fn pages(request: &str) -> Option<(u16, String)> {
    let page = match request {
        "GET /v1/key/list/%2A" => r#"{"names": ["a", "b"], "continue_at": "b~/+"}"#,
        "GET /v1/key/list/b~%2F%2B" => r#"{"names": ["c"]}"#,
        _ => return None,
    };
    Some((200, page.to_owned()))
}

#[test]
fn a_listing_goes_on_where_the_server_says() {
    let me = credential(1);
    let server = Server::start(&me, pages);
    assert_eq!(
        names(&client(&me, &[&server.address], &[&server])).unwrap(),
        ["a", "b", "c"]
    );
    assert_eq!(
        server.requests(),
        ["GET /v1/key/list/%2A", "GET /v1/key/list/b~%2F%2B"]
    );
}

#[test]
fn a_listing_that_never_ends_is_refused() {
    let me = credential(1);
    let server = Server::start(&me, |_| {
        Some((200, r#"{"names": null, "continue_at": "*"}"#.to_owned()))
    });
    let result = names(&client(&me, &[&server.address], &[&server]));
    assert!(
        matches!(
            result,
            Err(Error::Protocol {
                problem: ProtocolProblem::EndlessList,
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn an_answer_of_more_than_a_mebibyte_is_refused() {
    let me = credential(1);
    let server = Server::start(&me, |_| Some((200, " ".repeat((1 << 20) + 1))));
    let result = names(&client(&me, &[&server.address], &[&server]));
    assert!(
        matches!(
            result,
            Err(Error::Protocol {
                problem: ProtocolProblem::TooLong,
                ..
            })
        ),
        "{result:?}"
    );
}

#[test]
fn a_refusal_keeps_what_the_server_says() {
    let me = credential(1);
    let server = Server::start(&me, |_| Some((403, r#"{"message": "no"}"#.to_owned())));
    let result = client(&me, &[&server.address], &[&server]).get::<Key>("/v1/key/describe/", "k1");
    let Err(Error::Answer(answer)) = result else {
        panic!("an answer was expected")
    };
    assert_eq!((answer.status, answer.message.as_str()), (403, "no"));
    assert_eq!(
        (answer.path.as_str(), answer.identity),
        ("/v1/key/describe/k1", me.identity)
    );
}

#[test]
fn only_the_servers_that_are_trusted_are_asked() {
    let me = credential(1);
    let (server, other) = (Server::start(&me, pages), Server::start(&me, pages));
    let fault = only_fault(names(&client(&me, &[&server.address], &[])));
    assert!(
        matches!(fault, Fault::Untrusted(CertificateError::UnknownIssuer)),
        "{fault:?}"
    );
    // The other one has the same name in its certificate, but another key.
    let fault = only_fault(names(&client(&me, &[&server.address], &[&other])));
    assert!(
        matches!(fault, Fault::Untrusted(CertificateError::BadSignature)),
        "{fault:?}"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn a_server_may_refuse_our_certificate() {
    let server = Server::start(&credential(1), pages);
    let fault = only_fault(names(&client(
        &credential(2),
        &[&server.address],
        &[&server],
    )));
    assert!(matches!(fault, Fault::ClientCertificate(_)), "{fault:?}");
}

#[test]
fn the_next_server_is_asked_where_none_listens() {
    let me = credential(1);
    let server = Server::start(&me, |_| Some((200, String::new())));
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let client = client(
        &me,
        &[&gone, "absent.invalid:1", &server.address],
        &[&server],
    );
    client.put("/v1/key/create/", "k1").unwrap();
    assert_eq!(server.requests(), ["PUT /v1/key/create/k1"]);
}

#[test]
fn a_change_is_not_asked_for_twice() {
    let me = credential(1);
    let (closing, server) = (Server::start(&me, |_| None), Server::start(&me, pages));
    let client = client(
        &me,
        &[&closing.address, &server.address],
        &[&closing, &server],
    );
    let result = client.put("/v1/key/create/", "k1");
    assert!(
        matches!(&result, Err(Error::Unreachable(faults)) if faults.len() == 1),
        "{result:?}"
    );
    assert_eq!(names(&client).unwrap(), ["a", "b", "c"], "a question is");
    assert_eq!(server.requests().len(), 2);
}
