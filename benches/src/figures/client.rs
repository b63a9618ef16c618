//! Who asks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::KeyPair;
use sealedge_core::api_key::ApiKey;
use sealedge_tests::client::{self, Credentials, recorded, to_pem};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The client of all servers, with its certificate in files for programs that want it so.
pub struct Client {
    folder: tempfile::TempDir,
    credentials: Credentials,
}

impl Client {
    /// The application of the recordings of KES.
    pub fn new() -> Self {
        let client = Self {
            folder: tempfile::tempdir().unwrap(),
            credentials: Credentials::of(&api_key()),
        };
        let key = KeyPair::try_from(client.credentials.key.as_slice()).unwrap();
        fs::write(client.key_file(), key.serialize_pem()).unwrap();
        let chain: String = client
            .credentials
            .chain
            .iter()
            .map(|it| to_pem(it))
            .collect();
        fs::write(client.certificate_file(), chain).unwrap();
        client
    }

    /// Its private key.
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("client.key")
    }

    /// Its certificate.
    pub fn certificate_file(&self) -> PathBuf {
        self.folder.path().join("client.crt")
    }

    /// A folder for what belongs to it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A TLS stream on which nothing is said yet, for a protocol as ALPN has it.
    pub async fn stream(&self, address: &str, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut config = client::config(Some(&self.credentials), &[&rustls::version::TLS13]);
        config.alpn_protocols = vec![protocol.to_vec()];
        client::handshake(address, Arc::new(config)).await.unwrap()
    }

    /// A connection by HTTP/1.1; none if nobody listens at the address.
    pub async fn connect(&self, address: &str) -> Option<client::Client> {
        client::Client::connect(address, Some(&self.credentials))
            .await
            .ok()
    }
}

/// As whom policies know the client.
pub fn identity() -> String {
    api_key().identity().to_string()
}

fn api_key() -> ApiKey {
    recorded("app")
}

/// Asks for a DEK of a key; its answer.
pub async fn generate(connection: &mut client::Client, key: &str) -> Value {
    let path = format!("/v1/key/generate/{key}");
    let answer = connection.call("POST", &path, Value::Null).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}
