//! The calls to the operating system that the fs store is made of. Those that change something or can fail late
//! go through a trait, so that tests see their order and make each of them fail.

use std::ffi::CString;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, linkat, open, openat, renameat, statat, unlinkat,
};

/// Calls that change the store, and the one that reads a value. Names are relative to the open directory.
pub(super) trait Calls: Send + Sync {
    /// Makes an empty file (mode 0600), unless there is something of that name.
    fn create(&self, directory: &File, name: &str) -> io::Result<File>;
    /// Writes all of `bytes`.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()>;
    /// Forces a file's content to disk.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Gives the file `from` the name `to` as well, unless that is taken.
    fn link(&self, directory: &File, from: &str, to: &str) -> io::Result<()>;
    /// Gives a file the owner, group and mode of another one.
    fn take_after(&self, file: &File, other: &Metadata) -> io::Result<()>;
    /// Gives the file `from` the name `to` instead, whose file is gone then.
    fn rename(&self, directory: &File, from: &str, to: &str) -> io::Result<()>;
    /// Waits until nobody else has the directory locked, and locks it until it is closed.
    fn lock(&self, directory: &File) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, directory: &File, name: &str) -> io::Result<()>;
    /// Forces the names in a directory to disk.
    fn sync_directory(&self, directory: &File) -> io::Result<()>;
    /// Fills `buffer` from the file.
    fn read(&self, file: &mut File, buffer: &mut [u8]) -> io::Result<()>;
}

/// The calls themselves.
pub(super) struct OsCalls;

impl Calls for OsCalls {
    fn create(&self, directory: &File, name: &str) -> io::Result<File> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn link(&self, directory: &File, from: &str, to: &str) -> io::Result<()> {
        Ok(linkat(directory, from, directory, to, AtFlags::empty())?)
    }

    fn take_after(&self, file: &File, other: &Metadata) -> io::Result<()> {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (other.uid(), other.gid()) {
            fchown(file, Some(other.uid()), Some(other.gid()))?;
        }
        // After the owner, whose change may take bits of the mode away.
        file.set_permissions(Permissions::from_mode(other.mode() & 0o777))
    }

    fn rename(&self, directory: &File, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(directory, from, directory, to)?)
    }

    fn lock(&self, directory: &File) -> io::Result<()> {
        loop {
            match directory.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked,
            }
        }
    }

    fn remove(&self, directory: &File, name: &str) -> io::Result<()> {
        Ok(unlinkat(directory, name, AtFlags::empty())?)
    }

    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        directory.sync_all()
    }

    fn read(&self, file: &mut File, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact(buffer)
    }
}

/// Opens the directory `path`.
pub(super) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// Opens a file for reading. Neither follows a symbolic link nor waits for the other end of a FIFO.
pub(super) fn open_to_read(directory: &File, name: &str) -> io::Result<File> {
    open_existing(directory, name, OFlags::RDONLY)
}

/// Opens a file so that it can be locked, for which NFS wants it open for writing.
pub(super) fn open_to_lock(directory: &File, name: &str) -> io::Result<File> {
    open_existing(directory, name, OFlags::RDWR)
}

fn open_existing(directory: &File, name: &str, access: OFlags) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(openat(directory, name, access | flags, Mode::empty())?.into())
}

/// Whether `name` is a regular file, not a symbolic link to one.
pub(super) fn is_file(directory: &File, name: &str) -> io::Result<bool> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_file())
}

/// All that is in a directory, in no order, read as it is asked for.
pub(super) fn entries(directory: &File) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
    let entries = Dir::read_from(directory)?;
    Ok(entries.map(|entry| {
        let entry = entry?;
        Ok(Entry {
            name: entry.file_name().to_owned(),
            file_type: entry.file_type(),
        })
    }))
}

/// One name in a directory.
pub(super) struct Entry {
    name: CString,
    file_type: FileType,
}

impl Entry {
    /// The name, unless it is no text.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.to_str().ok()
    }

    /// Whether it is a regular file. One that was removed meanwhile is not.
    pub(super) fn is_file(&self, directory: &File) -> io::Result<bool> {
        match (self.file_type, self.name()) {
            // Some file systems do not tell the type in the listing.
            (FileType::Unknown, Some(name)) => match is_file(directory, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                answer => answer,
            },
            (file_type, _) => Ok(file_type.is_file()),
        }
    }
}
