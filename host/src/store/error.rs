//! What can go wrong in a store, said to the operator. No message holds a value.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::MAX_VALUE;

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// The name is taken.
    Exists,
    /// No key has the name.
    NotFound,
    /// Another value is under the name than the one that was to be replaced.
    Changed,
    /// The store as a whole cannot be reached.
    Unreachable {
        /// The store's directory.
        path: PathBuf,
        /// Why it cannot be opened.
        reason: io::Error,
    },
    /// The store was reached, but what was asked failed.
    Failed {
        /// What was being done.
        operation: Operation,
        /// The file or directory that it was done to.
        path: PathBuf,
        /// Why it failed.
        reason: Reason,
    },
}

/// What was being done to a path when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making the store's directory.
    MakeDirectory,
    /// Making the temporary file of a new value.
    MakeTemporary,
    /// Writing the temporary file of a new value.
    Write,
    /// Giving the temporary file the owner and the mode of the key's file.
    TakeAfter,
    /// Forcing the temporary file to disk.
    Sync,
    /// Giving the written file the key's name.
    Link,
    /// Forcing the new name to disk: the key is in place, yet a power failure may undo it.
    SyncCreated,
    /// Locking the store's directory.
    Lock,
    /// Putting the written file in the place of the key's.
    Replace,
    /// Forcing that to disk: the new value is in place, yet a power failure may bring the old one back.
    SyncReplaced,
    /// Reading a key.
    Read,
    /// Removing a key.
    Delete,
    /// Forcing the removal to disk: the key is gone, yet a power failure may bring it back.
    SyncDeleted,
    /// Reading the names in the store's directory.
    List,
}

/// Why an operation on a path failed.
#[derive(Debug)]
pub enum Reason {
    /// The operating system refused.
    Os(io::Error),
    /// Something else than a regular file has the key's name.
    NotAFile,
    /// The value is longer than [`MAX_VALUE`].
    TooLong,
}

impl std::error::Error for StoreError {}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists => f.write_str("the key already exists"),
            Self::NotFound => f.write_str("the key does not exist"),
            Self::Changed => f.write_str("the key was replaced or created anew meanwhile"),
            Self::Unreachable { path, reason } => {
                write!(f, "cannot open the key store {}: {reason}", path.display())?;
                advise(f, directory_advice(reason.kind()))
            }
            Self::Failed {
                operation,
                path,
                reason,
            } => {
                write!(f, "cannot {operation} {}: {reason}", path.display())?;
                advise(f, consequence(*operation))?;
                advise(f, reason.advice(*operation))
            }
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MakeDirectory => "make the directory",
            Self::MakeTemporary => "make a temporary file for",
            Self::Write => "write the value of",
            Self::TakeAfter => "give a temporary file the owner and mode of",
            Self::Sync => "force to disk the value of",
            Self::Link => "give the written file the name",
            Self::SyncCreated => "force to disk the creation of",
            Self::Lock => "lock the directory of",
            Self::Replace => "replace",
            Self::SyncReplaced => "force to disk the replacement of",
            Self::Read => "read",
            Self::Delete => "remove",
            Self::SyncDeleted => "force to disk the removal of",
            Self::List => "list",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os(reason) => reason.fmt(f),
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::TooLong => write!(f, "it is longer than {MAX_VALUE} bytes"),
        }
    }
}

impl Reason {
    fn advice(&self, operation: Operation) -> Option<&'static str> {
        match self {
            Self::Os(reason) => os_advice(operation, reason.kind()),
            Self::NotAFile => Some("move it out of the key store (links are not followed)"),
            Self::TooLong => Some(
                "no key is that long: if it is a file, replace it from a backup or move it away",
            ),
        }
    }
}

fn advise(f: &mut fmt::Formatter<'_>, advice: Option<&str>) -> fmt::Result {
    advice.map_or(Ok(()), |advice| write!(f, "; {advice}"))
}

/// What holds now, where that is not plain from the failed operation.
fn consequence(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::SyncCreated => Some(
            "the key is in place, but a power failure may undo that: check the disk, then create it again",
        ),
        Operation::SyncReplaced => Some(
            "the new value is in place, but a power failure may bring the old one back: check the disk, then replace it again",
        ),
        Operation::SyncDeleted => Some(
            "the key is gone, but a power failure may bring it back: check the disk, then look again",
        ),
        _ => None,
    }
}

fn directory_advice(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::NotFound => {
            Some("mount or restore the directory; it works again without a restart")
        }
        ErrorKind::NotADirectory => Some("set keystore.fs.path to a directory"),
        _ => os_advice(Operation::List, kind),
    }
}

fn os_advice(operation: Operation, kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull => Some("free space on its disk"),
        ErrorKind::QuotaExceeded => Some("raise the disk quota or remove other files"),
        ErrorKind::FileTooLarge => Some("raise the limit on file sizes (ulimit -f)"),
        ErrorKind::UnexpectedEof => Some("it became shorter while it was read: try again"),
        ErrorKind::ReadOnlyFilesystem => Some("mount its file system for writing"),
        // Linux answers so where a file system has no hard links, such as FAT.
        ErrorKind::PermissionDenied | ErrorKind::Unsupported if operation == Operation::Link => {
            Some("use a file system with hard links")
        }
        ErrorKind::PermissionDenied if operation == Operation::TakeAfter => {
            Some("run this as the user whose files they are")
        }
        ErrorKind::PermissionDenied => {
            Some("give the server's user read and write permission there")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_where_why_and_what_to_do() {
        let failed = |operation, reason| StoreError::Failed {
            operation,
            path: "/keys/k".into(),
            reason,
        };
        let os = |kind: ErrorKind| Reason::Os(kind.into());
        let unreachable = |kind: ErrorKind| StoreError::Unreachable {
            path: "/keys".into(),
            reason: kind.into(),
        };
        let messages = [
            (
                unreachable(ErrorKind::NotFound),
                "cannot open the key store /keys: entity not found; \
                 mount or restore the directory; it works again without a restart",
            ),
            (
                unreachable(ErrorKind::PermissionDenied),
                "cannot open the key store /keys: permission denied; \
                 give the server's user read and write permission there",
            ),
            (
                failed(Operation::Link, os(ErrorKind::PermissionDenied)),
                "cannot give the written file the name /keys/k: permission denied; \
                 use a file system with hard links",
            ),
            (
                failed(Operation::SyncDeleted, os(ErrorKind::Other)),
                "cannot force to disk the removal of /keys/k: other error; \
                 the key is gone, but a power failure may bring it back: check the disk, then look again",
            ),
            (
                failed(Operation::Read, Reason::NotAFile),
                "cannot read /keys/k: it is not a regular file; \
                 move it out of the key store (links are not followed)",
            ),
        ];
        for (error, message) in messages {
            assert_eq!(error.to_string(), message);
        }
    }
}
