//! A client that sends exactly what it is told to, by HTTP/1.1 or HTTP/2, with any certificate.

use std::sync::Arc;

use ::ring::rand::SystemRandom;
use ::ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Uri, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use sealedge_core::api_key::ApiKey;
use sealedge_core::auth::signature::{Message, Signer};
use sealedge_core::certificate;
use sealedge_core::identity::Identity;
use sealedge_core::time::Time;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client's certificate chain and private key.
pub struct Credentials {
    /// The chain, in the order in which it is sent.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub key: Vec<u8>,
}

impl Credentials {
    /// The certificate of an API key, as KES's client makes it.
    ///
    /// # Panics
    /// If there is no such certificate.
    pub fn of(api_key: &ApiKey) -> Self {
        let der = api_key.to_pkcs8().unwrap().as_bytes().to_vec();
        let key = KeyPair::try_from(der.as_slice()).unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, api_key.identity().to_string());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.self_signed(&key).unwrap();
        Self {
            chain: vec![certificate.der().clone()],
            key: der,
        }
    }

    /// A self-signed certificate with these contents, of a new key.
    ///
    /// # Panics
    /// If there is no such certificate.
    pub fn self_signed(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self {
            chain: vec![params.self_signed(&key).unwrap().der().clone()],
            key: key.serialize_der(),
        }
    }

    /// What signs requests by its key, one of P-256, and sends its certificates along.
    ///
    /// # Panics
    /// If it is of another kind.
    pub fn signer(&self) -> Signer {
        let rng = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.key, &rng);
        let key = key.unwrap();
        let chain: Vec<_> = self.chain.iter().map(|der| &**der).collect();
        let sign = move |message: &[u8]| key.sign(&rng, message).unwrap().as_ref().to_vec();
        Signer::of_certificate(&chain, Box::new(sign)).unwrap()
    }

    /// The identity of the first certificate.
    ///
    /// # Panics
    /// If there is none.
    pub fn identity(&self) -> Identity {
        certificate::identity_of(self.chain.first().unwrap()).unwrap()
    }

    /// The first certificate as URL-escaped PEM, as TLS proxies forward it.
    pub fn escaped(&self) -> String {
        let pem = to_pem(self.chain.first().unwrap());
        utf8_percent_encode(&pem, NON_ALPHANUMERIC).to_string()
    }
}

/// A DER certificate as PEM (RFC 7468).
pub fn to_pem(der: &[u8]) -> String {
    let lines: Vec<String> = der.chunks(48).map(|line| STANDARD.encode(line)).collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// The API key of a client in the recordings of KES: `admin`, `app`, `ops` or `stranger`.
pub fn recorded(who: &str) -> ApiKey {
    ApiKey::from_seed(&Sha256::digest(format!("parity {who}")).into())
}

/// A configuration with the admin of the recordings and this key store, the logs off.
pub fn for_admin(keystore: &str) -> String {
    let admin = recorded("admin").identity();
    format!("admin: {{identity: {admin}}}\nlog: {{audit: off}}\nkeystore: {{{keystore}}}\n")
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The header `Connection`.
    pub connection: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The message of an error.
    ///
    /// # Panics
    /// If there is none.
    pub fn message(&self) -> String {
        let body = self.json();
        let message = body.get("message").and_then(Value::as_str);
        message
            .unwrap_or_else(|| panic!("no message: {self:?}"))
            .to_owned()
    }
}

/// A connection to a server.
pub struct Client {
    sender: Sender,
    signer: Option<Signer>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// Why there is no answer: the handshake was refused, or the connection ended.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// Connects as the admin of the recordings (see [`recorded`]).
    ///
    /// # Panics
    /// If the server can't be reached.
    pub async fn admin(address: &str) -> Self {
        let credentials = Credentials::of(&recorded("admin"));
        Self::connect(address, Some(&credentials)).await.unwrap()
    }

    /// Connects by HTTP/1.1 with these credentials, or with none.
    ///
    /// # Errors
    /// The server can't be reached or refuses the handshake. By TLS 1.3 a refusal shows at the first
    /// request only.
    pub async fn connect(address: &str, credentials: Option<&Credentials>) -> Result<Self, Error> {
        let mut config = config(credentials, rustls::DEFAULT_VERSIONS);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self::connect_with(address, config).await
    }

    /// Connects by HTTP/1.1 without a certificate, and signs its requests (RFC 9421) by this API key.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn signing(address: &str, api_key: ApiKey) -> Result<Self, Error> {
        Self::signing_by(address, Signer::new(api_key)).await
    }

    /// The same by this signer.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn signing_by(address: &str, signer: Signer) -> Result<Self, Error> {
        let mut client = Self::connect(address, None).await?;
        client.signer = Some(signer);
        Ok(client)
    }

    /// Connects without TLS by HTTP/1.1, and signs its requests if there is a signer.
    ///
    /// # Errors
    /// The server can't be reached.
    pub async fn plain(address: &str, signer: Option<Signer>) -> Result<Self, Error> {
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender: Sender::One(sender),
            signer,
        })
    }

    /// Connects by HTTP/2.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_http2(
        address: &str,
        credentials: Option<&Credentials>,
    ) -> Result<Self, Error> {
        let mut config = config(credentials, rustls::DEFAULT_VERSIONS);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::connect_with(address, config).await
    }

    /// The same with so many bytes as the window of each stream: as many does the server send before
    /// they are read.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with_window(
        address: &str,
        credentials: &Credentials,
        window: u32,
    ) -> Result<Self, Error> {
        let mut config = config(Some(credentials), rustls::DEFAULT_VERSIONS);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TokioIo::new(handshake(address, Arc::new(config)).await?);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(stream)
            .await?;
        tokio::spawn(connection);
        Ok(Self {
            sender: Sender::Two(sender),
            signer: None,
        })
    }

    /// Connects with these settings of TLS.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(address: &str, config: ClientConfig) -> Result<Self, Error> {
        Self::over(handshake(address, Arc::new(config)).await?).await
    }

    /// Speaks HTTP over a TLS stream, in the version that the handshake has agreed on.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn over(stream: TlsStream<TcpStream>) -> Result<Self, Error> {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let sender = if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            Sender::One(sender)
        };
        Ok(Self {
            sender,
            signer: None,
        })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// The connection ended before the answer did.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Error> {
        let response = self.begin(method, path, headers, body.into()).await?;
        let (head, body) = response.into_parts();
        let header = |name: &str| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Answer {
            status: head.status.as_u16(),
            content_type: header("content-type"),
            retry_after: header("retry-after"),
            connection: header("connection"),
            body: body.collect().await?.to_bytes().to_vec(),
        })
    }

    /// Sends a request and reads the head of its answer.
    ///
    /// # Errors
    /// The connection ended before that.
    pub async fn begin(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(signer) = &self.signer {
            for (name, value) in signed(signer, method, path, &body) {
                request = request.header(name, value);
            }
        }
        let body = Full::new(body);
        let response = match &mut self.sender {
            Sender::One(sender) => {
                let request = request.uri(path).header("host", "localhost").body(body)?;
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Two(sender) => {
                let uri: Uri = format!("https://localhost{path}").parse()?;
                let request = request.uri(uri).version(Version::HTTP_2).body(body)?;
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        Ok(response)
    }

    /// Sends a request without headers whose body is JSON, or empty for `null`.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn call(&mut self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(method, path, &[], body).await.unwrap()
    }

    /// A figure of the server's, by its name and label in Prometheus's text; 0 if there is none.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn figure(&mut self, name: &str) -> f64 {
        let answer = self.call("GET", "/v1/metrics", Value::Null).await;
        let text = String::from_utf8(answer.body).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }
}

/// The headers that sign a request to `localhost` now.
pub fn signed(
    signer: &Signer,
    method: &str,
    target: &str,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let message = Message {
        method,
        authority: "localhost",
        path,
        query,
    };
    let mut nonce = [0; 16];
    fastrand::fill(&mut nonce);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = Time::from_nanos(now.map_or(0, |now| now.as_nanos() as u64));
    signer.headers(&message, body, nonce, now)
}

/// A TLS stream to a server, with nothing said yet.
///
/// # Errors
/// The server can't be reached or refuses the handshake.
pub async fn handshake(
    address: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Error> {
    secure(TcpStream::connect(address).await?, config).await
}

/// The same over a connection that is there.
///
/// # Errors
/// The server refuses the handshake.
pub async fn secure(
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, Error> {
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    Ok(TlsConnector::from(config).connect(name, stream).await?)
}

/// Settings of TLS: any server certificate is taken, for these credentials are what is tested.
///
/// # Panics
/// If the credentials can't be used.
pub fn config(
    credentials: Option<&Credentials>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    match credentials {
        Some(credentials) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(credentials.key.clone()));
            let key = ring::sign::any_supported_type(&key).unwrap();
            // Made by hand, for rustls itself would refuse a key that is not the certificate's.
            let certified = CertifiedKey::new(credentials.chain.clone(), key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    }
}

/// Takes any server's certificate.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
