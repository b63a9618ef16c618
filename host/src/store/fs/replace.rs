//! Replacing a value, with no moment in which the key is gone, and so that a deleted key does not come back.
//!
//! Whoever replaces or deletes has the directory itself locked (flock on its descriptor), be it another thread,
//! process or container: so what a replace has found under the name is still there when it renames its file over
//! it. A create needs no lock, since it takes only a name that is free, and under the lock none of those that are
//! replaced gets free. The lock is the kernel's, which ends it with its process. It is on the directory and no file
//! of its own, because every name in the directory is a key to KES, the directory above may belong to somebody
//! else, and containers that share the directory may have nothing else in common.
//!
//! KES knows no such lock: a key that it deletes and creates anew in that very moment may be replaced all the same.
//! On most network file systems (NFS, SMB) the lock of a directory is one of the machine's own: there keys must not
//! be deleted on one machine while they are replaced on another.
//!
//! A version is the SHA-256 of the value: names are often deleted and created anew, values never come again.

use std::fs::File;

use ring::digest::{SHA256, digest};
use sealedge_core::name::Name;
use sealedge_core::store::{Version, Versioned};

use super::temporary::Temporary;
use super::{FsStore, MAX_VALUE, Operation, Reason, StoreError};

impl FsStore {
    /// The value kept under `name`, and its version.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub fn read(&self, name: &Name) -> Result<Versioned, StoreError> {
        let (value, _) = self.read_in(&self.directory()?, name)?;
        let version = version_of(&value);
        Ok(Versioned { value, version })
    }

    /// Puts `value` in the place of the one that has this version; its file has the owner and the mode of that one's.
    /// Of racing replaces of one version exactly one succeeds.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when another value is there, [`StoreError::NotFound`] when none is. After any other
    /// error one of the two values is there, whole.
    pub fn replace(&self, name: &Name, value: &[u8], version: &Version) -> Result<(), StoreError> {
        if value.len() > MAX_VALUE {
            return Err(self.refused(Operation::Write, name, Reason::TooLong));
        }
        let at = |operation| move |error| self.failed(operation, name, error);
        let directory = self.directory()?;
        let (_, metadata) = self.read_in(&directory, name)?;
        let mut temporary =
            Temporary::create(&*self.calls, &directory).map_err(at(Operation::MakeTemporary))?;
        temporary.write(value).map_err(at(Operation::Write))?;
        temporary
            .take_after(&metadata)
            .map_err(at(Operation::TakeAfter))?;
        temporary.sync().map_err(at(Operation::Sync))?;

        self.lock(&directory, name)?;
        let (there, _) = self.read_in(&directory, name)?;
        if version_of(&there) != *version {
            return Err(StoreError::Changed);
        }
        temporary.rename(name).map_err(at(Operation::Replace))?;
        self.calls
            .sync_directory(&directory)
            .map_err(at(Operation::SyncReplaced))
    }

    /// Keeps others from replacing and deleting until the directory is closed.
    pub(super) fn lock(&self, directory: &File, name: &Name) -> Result<(), StoreError> {
        let locked = self.calls.lock(directory);
        locked.map_err(|error| self.failed(Operation::Lock, name, error))
    }
}

fn version_of(value: &[u8]) -> Version {
    let digest = digest(&SHA256, value);
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Version(digits.collect())
}
