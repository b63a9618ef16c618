//! Files that a command writes.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::Error;

/// Refuses files that exist, before any is written.
pub fn check_absent(paths: [&PathBuf; 2]) -> Result<(), Error> {
    match paths
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
    {
        Some(path) => Err(Error::Exists { path: path.clone() }),
        None => Ok(()),
    }
}

/// Writes a file that only its owner may read. One that is there is replaced with `force` only.
pub fn write_secret(path: &Path, content: &[u8], force: bool) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write_with(&mut options, path, content, force)
}

/// Writes a file. One that is there is replaced with `force` only.
pub fn write(path: &Path, content: &[u8], force: bool) -> Result<(), Error> {
    write_with(&mut OpenOptions::new(), path, content, force)
}

fn write_with(
    options: &mut OpenOptions,
    path: &Path,
    content: &[u8],
    force: bool,
) -> Result<(), Error> {
    let failed = |reason: std::io::Error| match reason.kind() {
        ErrorKind::AlreadyExists => Error::Exists {
            path: path.to_owned(),
        },
        _ => Error::Write {
            path: path.to_owned(),
            reason,
        },
    };
    if force {
        // Removed rather than overwritten: the new file has its own permissions.
        match fs::remove_file(path) {
            Err(reason) if reason.kind() != ErrorKind::NotFound => return Err(failed(reason)),
            _ => {}
        }
    }
    let file = options.write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(content))
        .map_err(failed)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_its_owners_even_where_a_file_was() {
        let folder = std::env::temp_dir().join(format!("sealedge-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("key");
        write(&path, b"old", false).unwrap();
        assert!(matches!(
            write_secret(&path, b"new", false),
            Err(Error::Exists { .. })
        ));
        assert!(matches!(
            check_absent([&folder.join("other"), &path]),
            Err(Error::Exists { .. })
        ));
        write_secret(&path, b"new", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
