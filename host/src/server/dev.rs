//! `server --dev`: a server to try things on, without a file.

use std::net::SocketAddr;

use ring::rand::{SecureRandom, SystemRandom};
use sealedge_core::api_key::ApiKey;
use zeroize::Zeroizing;

use super::StartError;
use super::tls::ServerCertificate;

/// Where a development server listens unless it is told otherwise.
const ADDRESS: &str = "127.0.0.1:7373";

/// What a development server has instead of files.
pub struct Dev {
    /// Its configuration.
    pub document: String,
    /// Its certificate, made for this run.
    pub certificate: ServerCertificate,
    /// The admin's API key, made for this run.
    api_key: ApiKey,
}

impl Dev {
    /// A development server at the address, or at the usual one.
    ///
    /// # Errors
    /// The address is not this machine's own, or there is no randomness.
    pub fn new(address: Option<&str>) -> Result<Self, StartError> {
        let address = address.unwrap_or(ADDRESS);
        let is_loopback = match address.parse::<SocketAddr>() {
            Ok(address) => address.ip().is_loopback(),
            Err(_) => address
                .rsplit_once(':')
                .is_some_and(|(host, _)| host == "localhost"),
        };
        if !is_loopback {
            return Err(StartError::NotLoopback(address.to_owned()));
        }
        let mut seed = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *seed)
            .map_err(|_| StartError::NoRandomness)?;
        let api_key = ApiKey::from_seed(&seed);
        let document = format!(
            "version: v1\n\
             address: \"{address}\"\n\
             admin: {{identity: {}}}\n\
             tls: {{key: made for this run, cert: made for this run}}\n\
             api: {{/v1/ready: {{skip_auth: true}}}}\n\
             auth: {{bearer: on}}\n\
             keystore: {{mem: {{}}}}\n",
            api_key.identity()
        );
        Ok(Self {
            document,
            certificate: ServerCertificate::of_this_machine().map_err(StartError::Certificate)?,
            api_key,
        })
    }

    /// What to tell whoever started it: what is where, and what to try.
    pub fn banner(&self, address: SocketAddr) -> String {
        let program = program();
        let key = self.api_key.to_text();
        let key = key.as_str();
        let curl = "curl -k -H \"Authorization: Bearer $KES_API_KEY\" -X POST https://$KES_SERVER";
        format!(
            "sealedge is listening on https://{address}\n\
             It is for trying out: keys live in its memory and are gone when it stops (ctrl-c).\n\
             \n\
             API key   {key}\n\
             Identity  {}   (admin)\n\
             \n\
             Try this in another terminal:\n\
             \n  \
             export KES_SERVER={address} KES_API_KEY={key}\n\
             \n  \
             {curl}/v1/key/create/my-key\n  \
             {curl}/v1/key/generate/my-key\n  \
             {program} key dek my-key -k\n  \
             {program} status -k\n",
            self.api_key.identity()
        )
    }
}

/// This program as a shell finds it: by its name if that is on the path, else by its file.
fn program() -> String {
    let Ok(file) = std::env::current_exe() else {
        return "sealedge".to_owned();
    };
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .any(|folder| folder.join("sealedge").canonicalize().ok() == file.canonicalize().ok())
    });
    if on_path {
        return "sealedge".to_owned();
    }
    let file = file.display().to_string();
    if file
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
    {
        file
    } else {
        format!("'{}'", file.replace('\'', r"'\''"))
    }
}
