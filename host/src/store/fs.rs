//! Keys as files, laid out as KES lays them out: one directory, one file for each key, the file's name is the
//! key's name and its content the value. Either server can run on the other's directory.
//!
//! - A key appears whole or not at all: its value is written to a [temporary file](temporary) and forced to disk
//!   before a hard link gives it the key's name. The link fails when the name is taken, so one of many racing
//!   creates wins, whatever process they run in.
//! - Each call opens the directory by its path. One that vanishes makes calls fail and one that comes back makes
//!   them work again; the running server never makes it anew, lest keys land under a lost mount point.
//! - A value is replaced by another file that is renamed over it: readers find the one or the other, whole. See
//!   [replacing](replace) for what keeps a deleted key from coming back.
//! - A value that KES is writing at that moment is read as far as it is written: KES writes in place.
//! - Only regular files whose name is a key's name are keys. All else in the directory is not listed, and an
//!   error names it where a call is about that very name. No symbolic link is followed below the directory.

mod calls;
mod replace;
mod temporary;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sealedge_core::name::Name;
use zeroize::Zeroizing;

use self::calls::{Calls, OsCalls};
use self::temporary::Temporary;
use super::{KeyStore, MAX_VALUE, Operation, Reason, StoreError};

/// Keys in the files of one directory.
pub struct FsStore {
    path: PathBuf,
    calls: Box<dyn Calls>,
}

impl FsStore {
    /// The store in the directory `path`, which is made (mode 0700, with its parents) when missing.
    /// Removes the temporary files that ended processes left there.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the directory cannot be made or read, [`StoreError::Unreachable`] when it cannot
    /// be opened.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Box::new(OsCalls))
    }

    fn open_with(path: &Path, calls: Box<dyn Calls>) -> Result<Self, StoreError> {
        let path = std::path::absolute(path)
            .and_then(|path| make_directory(&path).map(|()| path))
            .map_err(|error| failed(Operation::MakeDirectory, path.into(), error))?;
        Self { path, calls }.swept()
    }

    /// The same in a directory that is there.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when it cannot be opened, [`StoreError::Failed`] when it cannot be read.
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        let store = Self {
            path: path.into(),
            calls: Box::new(OsCalls),
        };
        store.swept()
    }

    fn swept(self) -> Result<Self, StoreError> {
        temporary::sweep(&*self.calls, &self.directory()?)
            .map_err(|error| failed(Operation::List, self.path.clone(), error))?;
        Ok(self)
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// As of a listing.
    pub fn count(&self) -> Result<usize, StoreError> {
        let failed = |error| failed(Operation::List, self.path.clone(), error);
        let directory = self.directory()?;
        let mut count = 0;
        for entry in calls::entries(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_named = entry.name().and_then(Name::new).is_some();
            if is_named && entry.is_file(&directory).map_err(failed)? {
                count += 1;
            }
        }
        Ok(count)
    }

    fn directory(&self) -> Result<File, StoreError> {
        calls::open_directory(&self.path).map_err(|reason| StoreError::Unreachable {
            path: self.path.clone(),
            reason,
        })
    }

    /// What to say of a failure with the file `name`.
    fn failed(&self, operation: Operation, name: &Name, error: io::Error) -> StoreError {
        failed(operation, self.path.join(name.as_str()), error)
    }

    /// Fails unless `name` is a regular file in the directory.
    fn expect_key(
        &self,
        directory: &File,
        name: &Name,
        operation: Operation,
    ) -> Result<(), StoreError> {
        match calls::is_file(directory, name.as_str()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.refused(operation, name, Reason::NotAFile)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::NotFound),
            Err(error) => Err(self.failed(operation, name, error)),
        }
    }

    /// A key's value, and what is known of its file.
    fn read_in(
        &self,
        directory: &File,
        name: &Name,
    ) -> Result<(Zeroizing<Vec<u8>>, Metadata), StoreError> {
        let at = |error| self.failed(Operation::Read, name, error);
        // Checked before opening, because opening a device may have effects, and below, because it may change.
        self.expect_key(directory, name, Operation::Read)?;
        let mut file = match calls::open_to_read(directory, name.as_str()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::NotFound),
            file => file.map_err(at)?,
        };
        let metadata = file.metadata().map_err(at)?;
        if !metadata.is_file() {
            return Err(self.refused(Operation::Read, name, Reason::NotAFile));
        }
        let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        if length > MAX_VALUE {
            return Err(self.refused(Operation::Read, name, Reason::TooLong));
        }
        // Sized once: a buffer that grows leaves unwiped copies behind.
        let mut value = Zeroizing::new(vec![0; length]);
        self.calls.read(&mut file, &mut value).map_err(at)?;
        Ok((value, metadata))
    }

    fn refused(&self, operation: Operation, name: &Name, reason: Reason) -> StoreError {
        StoreError::Failed {
            operation,
            path: self.path.join(name.as_str()),
            reason,
        }
    }
}

impl KeyStore for FsStore {
    /// An error of [`Operation::SyncCreated`] means that the key is in place and can be read but may not outlast
    /// a power failure. It is not removed again: another process may have sealed something with it already.
    /// [`StoreError::Exists`] is answered only once the name that exists is on disk, so that a caller may try
    /// again after that error and trust the answer.
    fn create(&self, name: &Name, value: &[u8]) -> Result<(), StoreError> {
        if value.len() > MAX_VALUE {
            return Err(self.refused(Operation::Write, name, Reason::TooLong));
        }
        let at = |operation| move |error| self.failed(operation, name, error);
        let directory = self.directory()?;
        let mut temporary =
            Temporary::create(&*self.calls, &directory).map_err(at(Operation::MakeTemporary))?;
        temporary.write(value).map_err(at(Operation::Write))?;
        temporary.sync().map_err(at(Operation::Sync))?;
        let linked = temporary.link(name);
        drop(temporary);
        let taken = match linked {
            Ok(()) => false,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => true,
            Err(error) => return Err(self.failed(Operation::Link, name, error)),
        };
        if taken && matches!(calls::is_file(&directory, name.as_str()), Ok(false)) {
            return Err(self.refused(Operation::Link, name, Reason::NotAFile));
        }
        self.calls
            .sync_directory(&directory)
            .map_err(at(Operation::SyncCreated))?;
        if taken {
            Err(StoreError::Exists)
        } else {
            Ok(())
        }
    }

    fn get(&self, name: &Name) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.read_in(&self.directory()?, name)
            .map(|(value, _)| value)
    }

    fn delete(&self, name: &Name) -> Result<(), StoreError> {
        let directory = self.directory()?;
        self.lock(&directory, name)?;
        self.expect_key(&directory, name, Operation::Delete)?;
        match self.calls.remove(&directory, name.as_str()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::NotFound),
            removed => removed.map_err(|error| self.failed(Operation::Delete, name, error))?,
        }
        self.calls
            .sync_directory(&directory)
            .map_err(|error| self.failed(Operation::SyncDeleted, name, error))
    }

    /// Holds no more than `limit` + 1 names at any time, however many files there are.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let failed = |error| failed(Operation::List, self.path.clone(), error);
        let directory = self.directory()?;
        let mut names = BTreeSet::new();
        for entry in calls::entries(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.name().and_then(Name::new) else {
                continue;
            };
            let text = name.as_str();
            let full = names.len() >= limit && names.last().is_none_or(|last: &Name| *last < name);
            let wanted =
                text.starts_with(prefix) && after.is_none_or(|after| text > after) && !full;
            if wanted && entry.is_file(&directory).map_err(failed)? {
                names.insert(name);
                if names.len() > limit {
                    names.pop_last();
                }
            }
        }
        Ok(names.iter().map(|name| name.as_str().to_owned()).collect())
    }

    fn status(&self) -> Result<(), StoreError> {
        let directory = self.directory()?;
        // Looking anything up needs the directory's search permission, which opening it does not.
        calls::is_file(&directory, ".")
            .map(drop)
            .map_err(|error| failed(Operation::List, self.path.clone(), error))
    }
}

fn failed(operation: Operation, path: PathBuf, error: io::Error) -> StoreError {
    StoreError::Failed {
        operation,
        path,
        reason: Reason::Os(error),
    }
}

/// Makes the directory and its parents where they are missing, and forces each new name to disk: keys that are
/// safe in a directory that a power failure can undo are not safe.
fn make_directory(path: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    for directory in path.ancestors() {
        if directory.try_exists()? {
            break;
        }
        missing.push(directory);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    missing
        .iter()
        .filter_map(|directory| directory.parent())
        .try_for_each(|parent| File::open(parent)?.sync_all())
}
