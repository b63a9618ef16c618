//! Files that a command writes.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::Error;

/// Refuses files that exist; with `force` removes them, so that a new one has its own permissions.
pub fn check_absent(paths: [&PathBuf; 2], force: bool) -> Result<(), Error> {
    for path in paths {
        if force {
            match fs::remove_file(path) {
                Err(reason) if reason.kind() != ErrorKind::NotFound => {
                    return Err(Error::Write {
                        path: path.clone(),
                        reason,
                    });
                }
                _ => {}
            }
        } else if path.symlink_metadata().is_ok() {
            return Err(Error::Exists { path: path.clone() });
        }
    }
    Ok(())
}

/// Writes a new file that only its owner may read.
pub fn write_secret(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    create(&mut options, path, content)
}

/// Writes a new file.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    create(&mut OpenOptions::new(), path, content)
}

fn create(options: &mut OpenOptions, path: &Path, content: &[u8]) -> Result<(), Error> {
    let file = options.write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(content))
        .map_err(|reason| match reason.kind() {
            ErrorKind::AlreadyExists => Error::Exists {
                path: path.to_owned(),
            },
            _ => Error::Write {
                path: path.to_owned(),
                reason,
            },
        })
}
