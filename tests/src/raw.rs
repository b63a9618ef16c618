//! HTTP/1.1 written byte by byte, for requests that no HTTP library would send.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{Answer, Credentials, config, handshake};

/// A connection over which bytes go as they are.
pub struct Raw {
    stream: TlsStream<TcpStream>,
}

impl Raw {
    /// Connects with these credentials.
    ///
    /// # Panics
    /// If the server can't be reached or refuses the handshake.
    pub async fn connect(address: &str, credentials: &Credentials) -> Self {
        Self::connect_as(address, Some(credentials)).await
    }

    /// Connects without any.
    ///
    /// # Panics
    /// As [`Raw::connect`].
    pub async fn connect_as_nobody(address: &str) -> Self {
        Self::connect_as(address, None).await
    }

    async fn connect_as(address: &str, credentials: Option<&Credentials>) -> Self {
        let config = config(credentials, rustls::DEFAULT_VERSIONS);
        let stream = handshake(address, Arc::new(config)).await.unwrap();
        Self { stream }
    }

    /// Connects without any.
    ///
    /// # Panics
    /// As [`Raw::connect`].
    pub async fn anonymous(address: &str) -> Self {
        let config = config(None, rustls::DEFAULT_VERSIONS);
        let stream = handshake(address, Arc::new(config)).await.unwrap();
        Self { stream }
    }

    /// Sends bytes. A server that has answered and closed already takes no more, which is no error; whether
    /// it took all.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Ends the connection's direction to the server.
    pub async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The answer: to be asked for once, since the connection is read until the answer's body is
    /// there or the server closes. `None` if it closes without one.
    ///
    /// # Panics
    /// If nothing comes for 20 seconds, or what comes is no HTTP.
    pub async fn answer(&mut self) -> Option<Answer> {
        let mut read = Vec::new();
        loop {
            if let Some(answer) = parse(&read) {
                return Some(answer);
            }
            let mut part = [0; 4096];
            let next = self.stream.read(&mut part);
            let length = tokio::time::timeout(Duration::from_secs(20), next)
                .await
                .expect("no answer in time")
                .unwrap_or_default();
            if length == 0 {
                return None;
            }
            read.extend(part.iter().take(length));
        }
    }
}

/// The answer, if it is all there.
fn parse(read: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(read);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    (body.len() >= length).then(|| Answer {
        status: status.parse().unwrap(),
        content_type: header("content-type"),
        retry_after: header("retry-after"),
        connection: header("connection"),
        body: body.as_bytes().to_vec(),
    })
}
