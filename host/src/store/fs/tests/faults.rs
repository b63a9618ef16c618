//! The order of the calls, and what is left when one of them fails.

use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::*;

/// The real calls, recorded, with at most one that fails.
#[derive(Default)]
struct Recorder {
    made: Arc<Mutex<Vec<&'static str>>>,
    failing: Option<(&'static str, Errno)>,
}

impl Recorder {
    fn call(&self, call: &'static str) -> io::Result<()> {
        self.made.lock().unwrap().push(call);
        match self.failing {
            Some((failing, errno)) if failing == call => Err(errno.into()),
            _ => Ok(()),
        }
    }
}

impl Calls for Recorder {
    fn create(&self, directory: &File, name: &str) -> io::Result<File> {
        self.call("create")?;
        OsCalls.create(directory, name)
    }

    /// A write that fails has written half.
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        OsCalls.write(file, &bytes[..bytes.len() / 2])?;
        self.call("write")?;
        OsCalls.write(file, &bytes[bytes.len() / 2..])
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.call("sync")?;
        OsCalls.sync(file)
    }

    fn link(&self, directory: &File, from: &str, to: &str) -> io::Result<()> {
        self.call("link")?;
        OsCalls.link(directory, from, to)
    }

    fn take_after(&self, file: &File, other: &Metadata) -> io::Result<()> {
        self.call("take after")?;
        OsCalls.take_after(file, other)
    }

    fn rename(&self, directory: &File, from: &str, to: &str) -> io::Result<()> {
        self.call("rename")?;
        OsCalls.rename(directory, from, to)
    }

    fn lock(&self, directory: &File) -> io::Result<()> {
        self.call("lock")?;
        OsCalls.lock(directory)
    }

    fn remove(&self, directory: &File, name: &str) -> io::Result<()> {
        self.call("remove")?;
        OsCalls.remove(directory, name)
    }

    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        self.call("sync directory")?;
        OsCalls.sync_directory(directory)
    }

    fn read(&self, file: &mut File, buffer: &mut [u8]) -> io::Result<()> {
        self.call("read")?;
        OsCalls.read(file, buffer)
    }
}

fn store_failing(home: &Path, call: &'static str, errno: Errno) -> FsStore {
    let calls = Recorder {
        failing: Some((call, errno)),
        ..Recorder::default()
    };
    FsStore::open_with(home, Box::new(calls)).unwrap()
}

#[test]
fn a_value_is_on_disk_before_its_name_and_both_before_the_answer() {
    let home = TempDir::new().unwrap();
    let calls = Recorder::default();
    let made = Arc::clone(&calls.made);
    let store = FsStore::open_with(home.path(), Box::new(calls)).unwrap();
    let taken = || std::mem::take(&mut *made.lock().unwrap());
    let created = [
        "create",
        "write",
        "sync",
        "link",
        "remove",
        "sync directory",
    ];
    store.create(&name("key"), b"value").unwrap();
    assert_eq!(taken(), created);
    assert!(matches!(
        store.create(&name("key"), b"value"),
        Err(StoreError::Exists)
    ));
    assert_eq!(
        taken(),
        created,
        "that the key exists is on disk before it is answered"
    );
    let version = store.read(&name("key")).unwrap().version;
    assert_eq!(taken(), ["read"]);
    store.replace(&name("key"), b"other", &version).unwrap();
    assert_eq!(
        taken(),
        [
            "read",
            "create",
            "write",
            "take after",
            "sync",
            "lock",
            "read",
            "rename",
            "sync directory",
        ],
        "what is replaced is looked at under the lock"
    );
    store.delete(&name("key")).unwrap();
    assert_eq!(taken(), ["lock", "remove", "sync directory"]);
}

#[test]
fn a_replace_that_fails_before_the_rename_leaves_the_old_value() {
    let steps = [
        ("create", Operation::MakeTemporary),
        ("write", Operation::Write),
        ("take after", Operation::TakeAfter),
        ("sync", Operation::Sync),
        ("lock", Operation::Lock),
        ("rename", Operation::Replace),
    ];
    for (call, expected) in steps {
        let home = TempDir::new().unwrap();
        let healthy = FsStore::open(home.path()).unwrap();
        healthy.create(&name("key"), b"old").unwrap();
        let version = healthy.read(&name("key")).unwrap().version;
        let error = store_failing(home.path(), call, Errno::IO)
            .replace(&name("key"), b"a secret", &version)
            .unwrap_err();
        let StoreError::Failed { operation, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(operation, expected);
        assert_eq!(*healthy.get(&name("key")).unwrap(), b"old");
        assert_eq!(files(home.path()), ["key"], "{call}");
        healthy.replace(&name("key"), b"new", &version).unwrap();
    }
}

#[test]
fn a_replaced_key_whose_directory_cannot_be_synced_is_said_to_be() {
    let home = TempDir::new().unwrap();
    let healthy = FsStore::open(home.path()).unwrap();
    healthy.create(&name("key"), b"old").unwrap();
    let version = healthy.read(&name("key")).unwrap().version;
    let error = store_failing(home.path(), "sync directory", Errno::IO)
        .replace(&name("key"), b"new", &version)
        .unwrap_err();
    assert!(
        error.to_string().contains("the new value is in place"),
        "{error}"
    );
    assert_eq!(*healthy.get(&name("key")).unwrap(), b"new");
}

#[test]
fn a_create_that_fails_before_the_link_leaves_nothing() {
    let steps = [
        ("create", Operation::MakeTemporary),
        ("write", Operation::Write),
        ("sync", Operation::Sync),
        ("link", Operation::Link),
    ];
    for (call, expected) in steps {
        for errno in [Errno::NOSPC, Errno::IO, Errno::DQUOT, Errno::ROFS] {
            let home = TempDir::new().unwrap();
            let error = store_failing(home.path(), call, errno)
                .create(&name("key"), b"a secret")
                .unwrap_err();
            let StoreError::Failed {
                operation,
                path,
                reason: Reason::Os(reason),
            } = &error
            else {
                panic!("{error:?}");
            };
            assert_eq!(*operation, expected);
            assert_eq!(*path, home.path().join("key"));
            assert_eq!(reason.raw_os_error(), Some(errno.raw_os_error()));
            assert!(!format!("{error} {error:?}").contains("secret"));
            assert_eq!(files(home.path()), [""; 0], "{call} {errno}");
            FsStore::open(home.path())
                .unwrap()
                .create(&name("key"), b"again")
                .unwrap();
        }
    }
}

#[test]
fn a_full_disk_is_said_with_path_and_advice() {
    let home = TempDir::new().unwrap();
    let error = store_failing(home.path(), "write", Errno::NOSPC)
        .create(&name("key"), b"x")
        .unwrap_err();
    let path = home.path().join("key");
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write the value of {}: No space left on device (os error 28); free space on its disk",
            path.display()
        )
    );
}

#[test]
fn a_created_key_whose_directory_cannot_be_synced_stays_and_is_said_to() {
    let home = TempDir::new().unwrap();
    let store = store_failing(home.path(), "sync directory", Errno::IO);
    for _ in 0..2 {
        let error = store.create(&name("key"), b"value").unwrap_err();
        assert!(matches!(
            error,
            StoreError::Failed {
                operation: Operation::SyncCreated,
                ..
            }
        ));
        assert!(error.to_string().contains("the key is in place"), "{error}");
        assert_eq!(*store.get(&name("key")).unwrap(), b"value");
        assert_eq!(files(home.path()), ["key"]);
    }
    let healed = FsStore::open(home.path()).unwrap();
    assert!(matches!(
        healed.create(&name("key"), b"other"),
        Err(StoreError::Exists)
    ));
}

#[test]
fn a_temporary_that_cannot_be_removed_is_swept_later() {
    let home = TempDir::new().unwrap();
    store_failing(home.path(), "remove", Errno::IO)
        .create(&name("key"), b"value")
        .unwrap();
    assert_eq!(files(home.path()).len(), 2);
    let store = FsStore::open(home.path()).unwrap();
    assert_eq!(files(home.path()), ["key"]);
    assert_eq!(*store.get(&name("key")).unwrap(), b"value");
}

#[test]
fn failed_reads_and_deletes_are_said() {
    let home = TempDir::new().unwrap();
    FsStore::open(home.path())
        .unwrap()
        .create(&name("key"), b"value")
        .unwrap();
    let failing = |call| store_failing(home.path(), call, Errno::IO);
    let operation = |answer: Result<(), StoreError>| match answer {
        Err(StoreError::Failed {
            operation,
            reason: Reason::Os(_),
            ..
        }) => operation,
        answer => panic!("{answer:?}"),
    };
    assert_eq!(
        operation(failing("read").get(&name("key")).map(drop)),
        Operation::Read
    );
    assert_eq!(
        operation(failing("lock").delete(&name("key"))),
        Operation::Lock
    );
    assert_eq!(
        operation(failing("remove").delete(&name("key"))),
        Operation::Delete
    );
    assert_eq!(*failing("write").get(&name("key")).unwrap(), b"value");
    assert_eq!(
        operation(failing("sync directory").delete(&name("key"))),
        Operation::SyncDeleted
    );
    assert!(matches!(
        failing("write").get(&name("key")),
        Err(StoreError::NotFound)
    ));
}

/// Another process that sweeps between the making and the locking of a temporary, once.
#[derive(Default)]
struct Sweeper {
    swept: Mutex<Option<String>>,
}

impl Calls for Sweeper {
    fn create(&self, directory: &File, name: &str) -> io::Result<File> {
        let file = OsCalls.create(directory, name)?;
        let mut swept = self.swept.lock().unwrap();
        if swept.is_none() {
            temporary::sweep(&OsCalls, directory)?;
            *swept = Some(name.to_owned());
        }
        Ok(file)
    }

    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        OsCalls.write(file, bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        OsCalls.sync(file)
    }

    fn link(&self, directory: &File, from: &str, to: &str) -> io::Result<()> {
        assert_ne!(self.swept.lock().unwrap().as_deref(), Some(from));
        OsCalls.link(directory, from, to)
    }

    fn take_after(&self, file: &File, other: &Metadata) -> io::Result<()> {
        OsCalls.take_after(file, other)
    }

    fn rename(&self, directory: &File, from: &str, to: &str) -> io::Result<()> {
        OsCalls.rename(directory, from, to)
    }

    fn lock(&self, directory: &File) -> io::Result<()> {
        OsCalls.lock(directory)
    }

    fn remove(&self, directory: &File, name: &str) -> io::Result<()> {
        OsCalls.remove(directory, name)
    }

    fn sync_directory(&self, directory: &File) -> io::Result<()> {
        OsCalls.sync_directory(directory)
    }

    fn read(&self, file: &mut File, buffer: &mut [u8]) -> io::Result<()> {
        OsCalls.read(file, buffer)
    }
}

#[test]
fn a_create_survives_the_sweep_of_another_process() {
    let home = TempDir::new().unwrap();
    let store = FsStore::open_with(home.path(), Box::new(Sweeper::default())).unwrap();
    store.create(&name("key"), b"value").unwrap();
    assert_eq!(files(home.path()), ["key"]);
}
