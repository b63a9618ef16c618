//! Reads the files again that the proxy's certificates and keys come from.

use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;

use super::forward::Proxy;
use super::listen::Acceptor;
use super::{ProxyError, credential, signer, tls};
use crate::cli::credential::Credential;
use crate::cli::error::Error;
use crate::cli::output::note;
use crate::cli::proxy::ProxyOptions;

/// Reloads a running proxy.
pub struct Reloader {
    /// They name the files of the certificate that clients see.
    pub options: ProxyOptions,
    /// Signs by the key that the environment names.
    pub proxy: Arc<Proxy>,
    /// That certificate, if there is one.
    pub acceptor: Option<Acceptor>,
}

impl Reloader {
    /// Reloads at each hangup.
    pub async fn run(self, mut hangup: Signal) {
        let reloader = Arc::new(self);
        while hangup.recv().await.is_some() {
            let reloading = reloader.clone();
            // A key may be under a password, which is asked for.
            let reloaded = spawn_blocking(move || reloading.reload()).await;
            let message = match reloaded {
                Ok(Ok(what)) if what.is_empty() => {
                    "SIGHUP: nothing to reload, for no certificate and no key is in a file"
                        .to_owned()
                }
                Ok(Ok(what)) => format!("reloaded {}", what.join(" and ")),
                Ok(Err(error)) => {
                    format!("{error}; nothing was reloaded: what was in force before still is")
                }
                Err(error) => error.to_string(),
            };
            note(&message, reloader.proxy.common);
        }
    }

    /// Takes what is in the files, all of it or nothing: what that was.
    fn reload(&self) -> Result<Vec<&'static str>, Error> {
        let certificate = tls::of_files(&self.options)?;
        let signer = match credential()? {
            Credential::ApiKey(_) => None,
            files @ Credential::Files { .. } => Some(signer(files)?),
        };
        let own = self.proxy.upstream.identity();
        let other = signer.as_ref().map(|signer| signer.identity());
        if let Some(other) = other.filter(|other| *other != own) {
            return Err(ProxyError::OtherIdentity { own, other }.into());
        }
        let mut what = Vec::new();
        if let (Some(acceptor), Some(certificate)) = (&self.acceptor, certificate) {
            acceptor.send_replace(certificate);
            what.push("the certificate that clients see");
        }
        if let Some(signer) = signer {
            self.proxy.upstream.sign_by(signer);
            what.push("the key that signs");
        }
        Ok(what)
    }
}
