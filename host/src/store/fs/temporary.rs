//! The file that a new value is written to before it gets the key's name.
//!
//! It lies in the store's own directory, because that alone is sure to be on the same file system and writable:
//! the directory is often a mount point, whose parent is neither. Its name starts with a dot, which neither this
//! server nor KES takes for a key's name; a KES server on the same directory lists it for the moment of a create,
//! as it lists every file, and refuses to read it. (A nameless `O_TMPFILE` would not even be listed. But network
//! and overlay file systems lack it, so this form would be needed all the same, and one way is simpler than two.)
//!
//! A process that is killed leaves its temporary behind. Each is locked by the process that made it, and the
//! kernel ends the lock with the process, so [`sweep`] removes those that it can lock itself: no clock or process
//! id is trusted, and processes in other containers count. Where a file system has no locks, nothing is swept.

use std::fs::{File, Metadata, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::process;

use sealedge_core::name::Name;

use super::calls::{self, Calls};

/// What the names of temporary files start with.
pub(super) const PREFIX: &str = ".sealedge-tmp-";

/// A temporary file, removed when dropped.
pub(super) struct Temporary<'a> {
    calls: &'a dyn Calls,
    directory: &'a File,
    name: String,
    file: File,
    /// Whether the file has its name still.
    is_there: bool,
}

impl<'a> Temporary<'a> {
    /// Makes an empty one that no sweep removes while it is held.
    pub(super) fn create(calls: &'a dyn Calls, directory: &'a File) -> io::Result<Self> {
        loop {
            let name = format!(
                "{PREFIX}{:016x}",
                RandomState::new().hash_one(process::id())
            );
            match calls.create(directory, &name) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => {
                    let temporary = Self {
                        calls,
                        directory,
                        name,
                        file: created?,
                        is_there: true,
                    };
                    if temporary.claim()? {
                        return Ok(temporary);
                    }
                }
            }
        }
    }

    /// Locks the file. False when a sweep came between its making and its locking.
    fn claim(&self) -> io::Result<bool> {
        let locked = !matches!(self.file.try_lock(), Err(TryLockError::WouldBlock));
        Ok(locked && self.file.metadata()?.nlink() > 0)
    }

    /// Writes all of `value`.
    pub(super) fn write(&mut self, value: &[u8]) -> io::Result<()> {
        self.calls.write(&mut self.file, value)
    }

    /// Forces what was written to disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.calls.sync(&self.file)
    }

    /// Gives the file the owner, group and mode of another one.
    pub(super) fn take_after(&self, other: &Metadata) -> io::Result<()> {
        self.calls.take_after(&self.file, other)
    }

    /// Gives the file the key's name instead of its own, in the place of the file that has it.
    pub(super) fn rename(mut self, name: &Name) -> io::Result<()> {
        self.calls
            .rename(self.directory, &self.name, name.as_str())?;
        self.is_there = false;
        Ok(())
    }

    /// Gives the file the key's name, unless that is taken.
    pub(super) fn link(&self, name: &Name) -> io::Result<()> {
        self.calls.link(self.directory, &self.name, name.as_str())
    }
}

impl Drop for Temporary<'_> {
    /// One that cannot be removed is left to the next sweep: the key's fate does not hang on it.
    fn drop(&mut self) {
        if self.is_there {
            let _ = self.calls.remove(self.directory, &self.name);
        }
    }
}

/// Removes the temporary files whose processes have ended. One that cannot be opened or removed stays.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn sweep(calls: &dyn Calls, directory: &File) -> io::Result<()> {
    for entry in calls::entries(directory)? {
        let entry = entry?;
        let Some(name) = entry.name().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if !entry.is_file(directory)? {
            continue;
        }
        if let Ok(file) = calls::open_to_lock(directory, name)
            && file.try_lock().is_ok()
        {
            let _ = calls.remove(directory, name);
        }
    }
    Ok(())
}
