//! A socket in the file system, for one user.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

/// How long another process may have the folder, which needs it for a moment only.
const LOCKED: Duration = Duration::from_secs(2);

/// How often it is tried in that time.
const PAUSE: Duration = Duration::from_millis(20);

/// The file of a socket that this process listens on. It is removed when this is dropped.
pub struct SocketFile {
    path: PathBuf,
    /// By which it is known: another's may be in its place.
    id: Id,
}

/// Listens at a path, where a socket that nobody listens on is replaced. Only this user may connect.
///
/// # Errors
/// There is something else, somebody listens on it, or the system refuses.
pub fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Err(io::Error::from(ErrorKind::IsADirectory)),
    };
    // Of two that find the same dead socket, the second would remove the living one of the first.
    let _locked = lock(folder)?;
    remove_dead(path)?;
    // From its first moment on nobody else may connect. No other file is made at this time.
    let before = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    let id = id(&fs::symlink_metadata(path)?);
    let path = path.to_owned();
    Ok((listener, SocketFile { path, id }))
}

/// Locks a folder, as anybody may who can read it: so it is not waited for without end.
fn lock(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(reason)) => return Err(reason),
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCKED => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let why = format!("another process has locked its folder {}", folder.display());
                return Err(io::Error::new(ErrorKind::AddrInUse, why));
            }
        }
    }
}

fn remove_dead(path: &Path) -> io::Result<()> {
    let other = |why| Err(io::Error::new(ErrorKind::AddrInUse, why));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => return other("there is a file, no socket"),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Whoever takes no connections lets others wait.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => other("another process listens on it"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            other("another process listens on it")
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// Numbers of files come again: by the time at which it was made it is no other's.
type Id = (u64, u64, i64, i64);

fn id(file: &Metadata) -> Id {
    (file.dev(), file.ino(), file.mtime(), file.mtime_nsec())
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| id(&file) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_that_somebody_locks_is_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let locked = File::open(folder.path()).unwrap();
        locked.lock().unwrap();
        let path = folder.path().join("socket");
        let refused = listen(&path).err().unwrap().to_string();
        assert!(refused.contains("locked"), "{refused}");
        drop(locked);
        assert!(listen(&path).is_ok());
    }

    #[test]
    fn a_dead_socket_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (listener, file) = listen(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = listen(&path).err().unwrap().to_string();
        assert!(refused.contains("another process"), "{refused}");
        drop(listener);
        // As after a kill: the file is there still.
        let (_listener, other) = listen(&path).unwrap();
        drop(file);
        assert!(path.exists(), "another's is not removed");
        drop(other);
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        let refused = listen(&path).err().unwrap().to_string();
        assert!(refused.contains("no socket"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }
}
