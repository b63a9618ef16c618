//! What the service needs before it can serve, at the start or as soon as it is to be had.

use super::Service;
use crate::error::Error;
use crate::platform::Platform;
use crate::sealing::SealingError;

impl<P: Platform> Service<P> {
    /// Has the node's identity read or unwrapped, and creates the keys that the configuration wants to
    /// exist. If the server that unwraps it is away, the log says so and requests try again. What comes
    /// back is a warning: with that identity the node does not do all that it should.
    ///
    /// # Errors
    /// What the operator should know: of the identity, or of the first key that could not be created.
    pub async fn prepare(&self) -> Result<Option<String>, String> {
        self.sealing.try_again();
        match self.sealing.prepare(&self.platform).await {
            Ok(()) => {
                let created = self.create_keys().await;
                created.map_err(|error| uncreated(&error))?;
                self.owes_keys.set(false);
                Ok(self.sealing.warning(&self.platform).await)
            }
            Err(SealingError::Away(_)) => {
                self.owes_keys.set(true);
                Ok(None)
            }
            Err(error) => {
                // Who asked for it says it.
                self.sealing.is_news(&error);
                Err(error.to_string())
            }
        }
    }

    /// Has requests served before [`Service::prepare`]: one that misses a key has those created that the
    /// configuration wants to exist.
    pub fn begin_unprepared(&self) {
        self.owes_keys.set(!self.keys.is_empty());
    }

    /// This node's fingerprint, by which records and errors name it, once its identity is there.
    pub fn node(&self) -> Option<String> {
        self.sealing.node().map(|node| node.to_string())
    }

    async fn create_keys(&self) -> Result<(), Error> {
        for name in &self.keys {
            match self.create_key(name, self.admin).await {
                Ok(()) | Err(Error::KeyExists) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has the node's identity read or unwrapped by now, and then creates the keys that could not be
    /// created at the start.
    ///
    /// # Errors
    /// There is no identity, or not yet.
    pub(crate) async fn unseal(&self) -> Result<(), SealingError> {
        self.sealing.prepare(&self.platform).await?;
        if !self.owes_keys.get() {
            return Ok(());
        }
        // Calls that come here together all create them, so that each finds them afterwards.
        let created = self.create_keys().await;
        let is_outage = created.as_ref().is_err_and(Error::is_outage);
        if !is_outage
            && self.owes_keys.replace(false)
            && let Err(error) = created
        {
            self.platform.error(&uncreated(&error));
        }
        Ok(())
    }
}

fn uncreated(error: &Error) -> String {
    let why = error.detail().unwrap_or_else(|| error.to_string());
    format!("the configured keys can't be created: {why}")
}
