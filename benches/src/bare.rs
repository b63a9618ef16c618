//! A server that does what can't be left out to give a client a DEK by mTLS, and nothing else: no
//! policies, no audit, no routes, no key store, no limits, nothing wiped. TLS, HTTP and the runtime are
//! those of the host. Less than this a service in Rust can hardly cost.
//!
//!     bare ADDRESS SERVER.key SERVER.cert CLIENT.cert
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark stops at what it did not expect"
)]

use std::convert::Infallible;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mimalloc::MiMalloc;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The master key.
const KEY: [u8; 32] = [7; 32];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(listen());
}

async fn listen() {
    let mut arguments = std::env::args().skip(1);
    let listener = TcpListener::bind(arguments.next().unwrap()).await.unwrap();
    let [key, certificate, client] = [(); 3].map(|()| arguments.next().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(tls(&key, &certificate, &client)));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream, acceptor.clone()));
    }
}

/// The host's settings of TLS. The one client's certificate is its own authority.
fn tls(key: &str, certificate: &str, client: &str) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut clients = RootCertStore::empty();
    clients
        .add(CertificateDer::from_pem_file(client).unwrap())
        .unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider.clone()).build();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .unwrap()
        .with_client_cert_verifier(clients.unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Whatever ends a connection concerns the client, which counts its answers.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    if let Ok(stream) = acceptor.accept(stream).await {
        let _ = hyper::server::conn::http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await;
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::from(generate()));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// A DEK, and its ciphertext in KES's form.
fn generate() -> String {
    // A key of 32 bytes, an IV of 16, a nonce of 12.
    let mut random = [0; 60];
    SystemRandom::new().fill(&mut random).unwrap();
    let (plaintext, rest) = random.split_at(32);
    let (iv, nonce) = rest.split_at(16);
    let secret = hmac::sign(&hmac::Key::new(HMAC_SHA256, &KEY), iv);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret.as_ref()).unwrap());
    let mut ciphertext = plaintext.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut ciphertext)
        .unwrap();
    ciphertext.extend_from_slice(rest);
    let [plaintext, ciphertext] = [plaintext, &ciphertext].map(|bytes| STANDARD.encode(bytes));
    format!(r#"{{"plaintext":"{plaintext}","ciphertext":"{ciphertext}"}}"#)
}
