//! One gateway per path: a lock that the kernel releases when its process ends in any way. The file
//! itself is locked too ([`super::place`]). This lock exists before the file, and gateways of
//! version 0.1.0 look at it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Holds `<database>.lock`. The file stays when the lock ends, because removing it would let two
/// processes lock two files of the same name.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// Why the path cannot be locked.
#[derive(Debug)]
pub(super) enum NoLock {
    Held,
    Io(io::Error),
}

pub(super) fn lock_path(database: &Path) -> PathBuf {
    super::files::beside(database, ".lock")
}

impl Lock {
    pub(super) fn take(database: &Path) -> Result<Self, NoLock> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(lock_path(database)).map_err(NoLock::Io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(NoLock::Held),
            Err(TryLockError::Error(error)) => Err(NoLock::Io(error)),
        }
    }
}

impl Lock {
    /// At once, and not when the last copy of the descriptor is closed: a child process has a copy
    /// between its fork and its exec.
    pub(super) fn release(&self) {
        // Closing the file ends the lock in any case.
        let _ = self.file.unlock();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_ends_with_its_holder_although_a_child_process_has_a_copy_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("settlement.db");
        let lock = Lock::take(&database).unwrap();
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(&database), Err(NoLock::Held)));
        drop(lock);
        Lock::take(&database).unwrap();
        drop(copy);
    }
}
