//! HTTP/2 written frame by frame (RFC 9113, 4.1), for what no HTTP library would do.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{Credentials, config, handshake};

/// What a client sends first (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame with data.
pub const DATA: u8 = 0;
/// A frame with the head of a request or an answer.
pub const HEADERS: u8 = 1;
/// A frame with settings.
pub const SETTINGS: u8 = 4;
/// A frame with which a connection begins to end.
pub const GOAWAY: u8 = 7;

/// A connection by HTTP/2 over which bytes go as they are.
pub struct Frames {
    stream: TlsStream<TcpStream>,
}

impl Frames {
    /// Connects with these credentials.
    ///
    /// # Panics
    /// If the server can't be reached or refuses the handshake.
    pub async fn connect(address: &str, credentials: &Credentials) -> Self {
        let mut config = config(Some(credentials), rustls::DEFAULT_VERSIONS);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = handshake(address, Arc::new(config)).await.unwrap();
        Self { stream }
    }

    /// Sends bytes. A server that has closed already takes none, which is no error.
    pub async fn send(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).await.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// Sends a frame.
    pub async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.send(&frame).await;
    }

    /// Sends the head of `GET /version` on a stream, which is all of it.
    pub async fn get_version(&mut self, stream: u32) {
        // HPACK (RFC 7541): `:method: GET` and `:scheme: https` are known, path and authority literal.
        let mut head = vec![0x82, 0x87];
        for (name, value) in [(4, "/version"), (1, "localhost")] {
            head.extend([name, value.len() as u8]);
            head.extend(value.bytes());
        }
        // END_STREAM and END_HEADERS.
        self.frame(HEADERS, 5, stream, &head).await;
    }

    /// The kind of the next frame; `None` when the server has closed.
    ///
    /// # Panics
    /// If nothing comes for 20 seconds.
    pub async fn next(&mut self) -> Option<u8> {
        let next = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [_, a, b, kind, ..] = head;
            let mut payload = vec![0; usize::from(u16::from_be_bytes([a, b]))];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(kind)
        };
        tokio::time::timeout(Duration::from_secs(20), next)
            .await
            .expect("no frame in time")
    }

    /// The kinds of all frames until the server closes.
    ///
    /// # Panics
    /// As [`Frames::next`].
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let Some(kind) = self.next().await {
            kinds.push(kind);
        }
        kinds
    }
}
