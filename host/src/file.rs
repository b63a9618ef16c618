//! Files that are read while the server runs.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// The longest file that is read, in bytes: a configuration of a million rules has half of it.
const LONGEST: u64 = 64 << 20;

/// The longest file with a secret alone, in bytes.
const LONGEST_SECRET: u64 = 64 << 10;

/// Reads a file whole, and never waits: a pipe in its place would hold up whoever reads it for ever.
///
/// # Errors
/// It can't be read, is no regular file, or is too long.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_if(path, LONGEST, |_| Ok(()))
}

/// The same for a secret, which is short.
///
/// # Errors
/// Others than this process's user and root can read it, too, or it is theirs.
pub fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let own = rustix::process::geteuid().as_raw();
    read_if(path, LONGEST_SECRET, |about| is_ours(about, own))
}

fn is_ours(about: &Metadata, own: u32) -> Result<(), String> {
    let owner = about.uid();
    if owner != 0 && owner != own {
        return Err(format!(
            "it belongs to the user {owner}, who can read and change it: it has to belong to the one \
             that runs this, {own}, or to root"
        ));
    }
    if about.mode() & 0o077 != 0 {
        return Err(
            "others can read it: `chmod 600` it, and replace the secret if they did".into(),
        );
    }
    Ok(())
}

fn read_if(
    path: &Path,
    longest: u64,
    is_safe: impl Fn(&Metadata) -> Result<(), String>,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let invalid = |what: String| io::Error::new(ErrorKind::InvalidInput, what);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(invalid("it is no regular file".into()));
    }
    is_safe(&about).map_err(invalid)?;
    if about.len() > longest {
        let kibibytes = longest >> 10;
        return Err(invalid(format!("it is longer than {kibibytes} KiB")));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(longest).read_to_end(&mut bytes)?;
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
        let about = path.metadata().unwrap();
        let (owner, other) = (about.uid(), about.uid() + 1);
        assert_eq!(is_ours(&about, owner), Ok(()));
        let refused = is_ours(&about, other);
        assert_eq!(refused.is_ok(), owner == 0, "root's is good for all");
        if owner == 0 {
            std::os::unix::fs::chown(&path, Some(1000), None).unwrap();
            let refused = read_private(&path).unwrap_err().to_string();
            assert!(
                refused.starts_with("it belongs to the user 1000, "),
                "{refused}"
            );
            assert!(is_ours(&path.metadata().unwrap(), 1000).is_ok());
            assert!(read(&path).is_ok());
            std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        }
        std::fs::write(&path, vec![b'a'; 64 << 10]).unwrap();
        assert!(read_private(&path).is_ok());
        std::fs::write(&path, vec![b'a'; (64 << 10) + 1]).unwrap();
        let refused = read_private(&path).unwrap_err().to_string();
        assert_eq!(refused, "it is longer than 64 KiB");
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
