//! Keeps this process's memory, which holds keys, from leaving the process.
#![forbid(unsafe_code)]

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Turns core dumps off. On Linux this also keeps other programs of the same user from attaching to this
/// process and from reading its memory by `/proc`, where only root finds the open files and the
/// environment from then on; status and scheduling figures stay readable for all.
///
/// # Errors
/// The system refuses, which a sandbox may.
pub fn forbid_dumps() -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    // A handler that gets dumps by a pipe gets them whatever the limit says.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Keeps all memory, this and what is to come, from being written to swap, if this process may lock as
/// much as it wants. Pages are locked when they are first touched, so none is taken up in advance.
///
/// A limit that is merely high would not do: each instance of the guest reserves gigabytes of addresses,
/// which count, and the process would fail when it reaches the limit.
///
/// # Errors
/// It may not, and nothing has changed.
#[cfg(target_os = "linux")]
pub fn lock() -> io::Result<()> {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::getrlimit;

    let limit = getrlimit(Resource::Memlock);
    // Under a limit of 0 locking works just for those whom no limit binds. To ask for the capability
    // instead would mislead: in a user namespace it is there and has no effect.
    let current = limit.maximum.map(|_| 0);
    setrlimit(Resource::Memlock, Rlimit { current, ..limit })?;
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).inspect_err(|_| {
        // Back to what it was, which is never refused.
        let _ = setrlimit(Resource::Memlock, limit);
    })?;
    Ok(())
}

/// Whether the machine has swap in use.
#[cfg(target_os = "linux")]
fn has_swap() -> bool {
    // A line for each place, below a heading.
    std::fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

/// Locks the memory if that is allowed; what the operator should know if it is not and would matter.
pub fn keep_from_swap() -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    if lock().is_err() && has_swap() {
        return Some(
            "keys in memory may be written to swap: let the server lock its memory \
             (LimitMEMLOCK=infinity or CAP_IPC_LOCK), or turn swap off",
        );
    }
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_process_that_forbids_dumps_can_t_be_dumped() {
        forbid_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
