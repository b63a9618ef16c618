//! Reads the configuration and the files of TLS again while the server runs.
//!
//! All of it is taken or nothing: until everything was read without an error, nothing has changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};
use std::{fs, io, thread};

use tokio::runtime::Handle;
use tokio::signal::unix::Signal;

use super::StartError;
use super::summary;
use super::terms::{InForce, Terms};
use super::tls::{ServerCertificate, TlsError};
use crate::cli::server::ServerOptions;
use crate::guest::Machine;
use crate::guest::types::{Settings, Tls};
use crate::pool::Pool;
use crate::{file, pem};

/// How often it is seen whether the files of TLS have changed.
const INTERVAL: Duration = Duration::from_secs(1);

/// What of a running server is reloaded.
pub struct Served {
    /// The service.
    pub pool: Arc<Pool>,
    /// Whose logs are turned on or off, and which says what was done.
    pub machine: Arc<Machine>,
    /// The terms in force.
    pub in_force: Arc<InForce>,
}

/// Reloads a running server.
pub struct Reloader {
    served: Served,
    /// The configuration's file; `None` for a server without one.
    file: Option<PathBuf>,
    /// Whether the command line, and not the configuration, says where to listen.
    has_own_address: bool,
    settings: Settings,
    /// The files that are in force.
    taken: Files,
    /// The files when they were last looked at.
    seen: Files,
    /// What was said last of files that can't be used, so that it is said once.
    complaint: Option<String>,
}

impl Reloader {
    /// A server that runs under these settings. `files` are those of TLS from before they were read.
    pub fn new(options: &ServerOptions, served: Served, settings: Settings, files: Files) -> Self {
        Self {
            served,
            file: options.config.clone(),
            has_own_address: options.addr.is_some(),
            settings,
            taken: files.clone(),
            seen: files,
            complaint: None,
        }
    }

    /// Reloads everything at each hangup, and the files of TLS whenever they have changed, by a thread
    /// of its own: the runtime's may all wait for a key store.
    ///
    /// # Errors
    /// There is no thread.
    pub fn run(mut self, mut hangup: Signal) -> io::Result<()> {
        let (sender, hangups) = channel();
        tokio::spawn(
            async move { while hangup.recv().await.is_some() && sender.send(()).is_ok() {} },
        );
        let runtime = Handle::current();
        let thread = thread::Builder::new().name("reload".into());
        thread.spawn(move || {
            loop {
                match hangups.recv_timeout(INTERVAL) {
                    Ok(()) => self.reload(&runtime),
                    Err(RecvTimeoutError::Timeout) => self.look(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(())
    }

    /// Reads everything again.
    fn reload(&mut self, runtime: &Handle) {
        let Some(file) = self.file.clone() else {
            let message = "SIGHUP: nothing to reload, for --dev has no configuration file";
            return self.served.machine.say(message);
        };
        if let Err(error) = self.take_configuration(&file) {
            return self.served.machine.say_error(&format!(
                "{error}\nnothing was reloaded: what was in force before still is"
            ));
        }
        self.served.machine.say(&format!(
            "reloaded the configuration {}, and the certificate and authorities that it names",
            file.display()
        ));
        // Not waited for: a key store that is away must not keep the next reload waiting.
        let (pool, machine) = (self.served.pool.clone(), self.served.machine.clone());
        summary::check(&self.settings, &pool, &machine, runtime);
        runtime.spawn(async move {
            match pool.prepare().await {
                Ok(None) => {}
                Ok(Some(warning)) => machine.say(&format!("warning: {warning}")),
                Err(error) => machine.say_error(&format!("{error}; all else is reloaded")),
            }
        });
    }

    fn take_configuration(&mut self, file: &Path) -> Result<(), StartError> {
        let unreadable = |reason| StartError::ReadConfiguration {
            file: file.display().to_string(),
            reason,
        };
        let bytes = file::read(file).map_err(unreadable)?;
        let document = std::str::from_utf8(&bytes)
            .map_err(|reason| unreadable(io::Error::new(io::ErrorKind::InvalidData, reason)))?;
        let unusable = |error: crate::pool::StartError| StartError::Configuration {
            file: file.display().to_string(),
            problems: error.to_string(),
        };
        let settings = self.served.pool.read(document).map_err(unusable)?;
        // That the key store is the same, the service sees to.
        if !self.has_own_address && settings.address != self.settings.address {
            return Err(StartError::Configuration {
                file: file.display().to_string(),
                problems: "address: restart the server to change it".to_owned(),
            });
        }
        let files = Files::of(&settings.tls);
        let terms = self.read_terms(&settings).map_err(StartError::Tls)?;
        let (in_force, machine) = (self.served.in_force.clone(), self.served.machine.clone());
        let reconfigured = self.served.pool.reconfigure(document, || {
            in_force.replace(terms);
            machine.set_logs(&settings);
        });
        reconfigured.map_err(unusable)?;
        for warning in &settings.warnings {
            self.served.machine.say(&format!("warning: {warning}"));
        }
        self.settings = settings;
        self.took(files);
        Ok(())
    }

    /// Takes the files of TLS if they have changed and then rested: whoever writes a key and its
    /// certificate one after the other is not disturbed.
    fn look(&mut self) {
        if self.file.is_none() {
            return;
        }
        let files = Files::of(&self.settings.tls);
        let is_at_rest = files == self.seen;
        self.seen = files.clone();
        if !is_at_rest {
            return;
        }
        if files == self.taken {
            self.complaint = None;
            return;
        }
        match self.read_terms(&self.settings) {
            Ok(terms) => {
                let in_force = self.served.in_force.clone();
                self.served.pool.pause(|| in_force.replace(terms));
                let changed = files.changed_from(&self.taken).join(", ");
                self.took(files);
                self.served.machine.say(&format!("reloaded {changed}"));
            }
            Err(error) => {
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    self.served.machine.say_error(&format!(
                        "{complaint}; what was in force before still is, until the files can be used"
                    ));
                    self.complaint = Some(complaint);
                }
            }
        }
    }

    fn read_terms(&self, settings: &Settings) -> Result<Terms, TlsError> {
        let certificate = ServerCertificate::read(&settings.tls)?;
        let warning = certificate.warning(jiff::Timestamp::now().as_second());
        let terms = Terms::new(settings, certificate)?;
        if let Some(warning) = warning {
            self.served.machine.say(&format!("warning: {warning}"));
        }
        Ok(terms)
    }

    fn took(&mut self, files: Files) {
        self.taken = files.clone();
        self.seen = files;
        self.complaint = None;
    }
}

/// The files that the section `tls` names, as far as a change shows: by field.
#[derive(Clone, PartialEq)]
pub struct Files([(&'static str, Vec<Stamp>); 3]);

/// A file behind a path, through all links: replaced or rewritten, it has another one.
type Stamp = (PathBuf, Option<(SystemTime, u64, u64, u64)>);

impl Files {
    /// The files as they are now.
    pub fn of(tls: &Tls) -> Self {
        let authorities = match &tls.authorities {
            // A folder that can't be read has no files; reading it will say so.
            Some(path) if tls.verify_clients => {
                pem::authority_files(Path::new(path)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let stamps = |paths: Vec<PathBuf>| paths.into_iter().map(stamp).collect();
        Self([
            ("tls.key", stamps(vec![PathBuf::from(&tls.key)])),
            ("tls.cert", stamps(vec![PathBuf::from(&tls.certificate)])),
            ("tls.ca", stamps(authorities)),
        ])
    }

    /// The fields whose files are others.
    fn changed_from(&self, before: &Self) -> Vec<&'static str> {
        let pairs = self.0.iter().zip(&before.0);
        pairs
            .filter(|(now, before)| now != before)
            .map(|((field, _), _)| *field)
            .collect()
    }
}

fn stamp(path: PathBuf) -> Stamp {
    let metadata = fs::metadata(&path).ok();
    let stamp = metadata.and_then(|file| {
        let modified = file.modified().ok()?;
        Some((modified, file.len(), file.dev(), file.ino()))
    });
    (path, stamp)
}
