//! What servers are asked to do, and by which client.

use std::fmt;
use std::time::Duration;

use crate::awake::{self, Protocol};
use crate::bombardier::{Bombardier, Mode};
use crate::client::{self, Client};
use crate::report::Round;
use crate::server::{KEY, Server};

/// What a server is asked to do again and again.
///
/// A request that takes the server some microseconds comes from our own client, which never sleeps, and
/// beside that from bombardier, as it is. What takes longer comes from bombardier alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// A new DEK of a cached key.
    Generate,
    /// The same by bombardier.
    GenerateByBombardier,
    /// The same by HTTP/2, with one stream at a time on each connection.
    GenerateHttp2,
    /// The same by bombardier, which has all streams on one connection.
    GenerateHttp2ByBombardier,
    /// A DEK from its ciphertext.
    Decrypt,
    /// The ciphertext of 700,000 bytes.
    Encrypt,
    /// A new connection with a client certificate (TLS 1.3, no resumption), and one DEK by it.
    Connect,
}

impl Work {
    /// Every work.
    pub const ALL: [Self; 7] = [
        Self::Generate,
        Self::GenerateByBombardier,
        Self::GenerateHttp2,
        Self::GenerateHttp2ByBombardier,
        Self::Decrypt,
        Self::Encrypt,
        Self::Connect,
    ];

    /// Whether the server that does no more than it must can do it.
    pub fn is_for_bare(self) -> bool {
        matches!(self, Self::Generate | Self::GenerateByBombardier)
    }

    /// Whether it is the same as another, by bombardier.
    pub fn is_cross_check(self) -> bool {
        matches!(
            self,
            Self::GenerateByBombardier | Self::GenerateHttp2ByBombardier
        )
    }

    /// Whether it takes so long that it does not matter what it costs the server to wake the client.
    pub fn is_long(self) -> bool {
        matches!(self, Self::Encrypt | Self::Connect)
    }

    /// Drives and measures a server with so many requests at a time.
    pub async fn drive(
        self,
        server: &Server,
        client: &Client,
        bombardier: &Bombardier,
        connections: usize,
        time: Duration,
    ) -> Round {
        let load = Load {
            path: format!("/v1/key/{}/{KEY}", self.api()),
            body: self.body(server, client).await,
            // Bodies under way may have 64 MiB together.
            connections: match self {
                Self::Encrypt => connections.min(16),
                _ => connections,
            },
            time,
        };
        match self {
            Self::Generate | Self::Decrypt => {
                awake::drive(server, client, Protocol::Http1, load).await
            }
            Self::GenerateHttp2 => awake::drive(server, client, Protocol::Http2, load).await,
            Self::GenerateByBombardier | Self::Encrypt => {
                bombardier.drive(server, client, Mode::Http1, load).await
            }
            Self::GenerateHttp2ByBombardier => {
                bombardier.drive(server, client, Mode::Http2, load).await
            }
            Self::Connect => bombardier.drive(server, client, Mode::Connect, load).await,
        }
    }

    fn api(self) -> &'static str {
        match self {
            Self::Decrypt => "decrypt",
            Self::Encrypt => "encrypt",
            _ => "generate",
        }
    }

    /// The body of the request.
    async fn body(self, server: &Server, client: &Client) -> String {
        match self {
            Self::Decrypt => {
                let mut connection = client.connect(&server.address).await.unwrap();
                let dek = client::generate(&mut connection, KEY).await;
                format!(r#"{{"ciphertext":{}}}"#, dek["ciphertext"])
            }
            Self::Encrypt => format!(r#"{{"plaintext":"{}"}}"#, "AAAA".repeat(700_000 / 3)),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generate => "generate",
            Self::GenerateByBombardier => "generate, bombardier",
            Self::GenerateHttp2 => "generate, HTTP/2",
            Self::GenerateHttp2ByBombardier => "generate, HTTP/2, bombardier",
            Self::Decrypt => "decrypt",
            Self::Encrypt => "encrypt 700 kB",
            Self::Connect => "new connections",
        })
    }
}

/// A request that is sent again and again.
pub struct Load {
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: String,
    /// How many are under way at any time.
    pub connections: usize,
    /// For how long.
    pub time: Duration,
}
