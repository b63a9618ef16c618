//! Files that are read while the server runs.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// The longest file that is read, in bytes: a configuration of a million rules has half of it.
const LONGEST: u64 = 64 << 20;

/// Reads a file whole, and never waits: a pipe in its place would hold up whoever reads it for ever.
///
/// # Errors
/// It can't be read, is no regular file, or is too long.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_if(path, |_| true)
}

/// The same for a secret.
///
/// # Errors
/// Others than the file's owner can read it, too.
pub fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_if(path, |about| about.mode() & 0o077 == 0)
}

fn read_if(path: &Path, is_safe: impl Fn(&Metadata) -> bool) -> io::Result<Zeroizing<Vec<u8>>> {
    let invalid = |what| Err(io::Error::new(ErrorKind::InvalidInput, what));
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return invalid("it is no regular file");
    }
    if !is_safe(&about) {
        return invalid("others can read it: `chmod 600` it, and replace the secret if they did");
    }
    if about.len() > LONGEST {
        return invalid("it is longer than 64 MiB");
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_regular_files_of_a_sane_length_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(&**read(&path).unwrap(), b"text");
        for (mode, is_private) in [(0o640, false), (0o604, false), (0o600, true)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_private(&path).is_ok(), is_private, "{mode:o}");
        }
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(LONGEST + 1).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::InvalidInput);

        assert!(read(folder.path()).is_err(), "a directory");
        assert!(read(Path::new("/dev/zero")).is_err(), "a device");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert_eq!(read(&pipe).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
