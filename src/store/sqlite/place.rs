//! The database file as this process holds it: locked, open from start to end, and compared with
//! what its path leads to. It must not know SQL.
//!
//! Nothing in this process may open and close the file while SQLite has it open: when any
//! descriptor of a file is closed, the kernel ends the process's POSIX locks on it, SQLite's
//! included. So the one descriptor here is opened before SQLite's and closed after them.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::ErrorCode;

use super::super::Error;
use super::columns::Fault;
use super::disk;
use super::files::{self, beside};
use super::lock::{Lock, NoLock};

/// A database file that only this process uses.
#[derive(Debug)]
pub(super) struct Place {
    /// Without links. The log and its index are beside this path.
    path: PathBuf,
    /// As the operator named it. A link in it may be pointed elsewhere.
    named: PathBuf,
    file: File,
    id: FileId,
    /// The log and its index, as SQLite has them open.
    log: Mutex<Option<[FileId; 2]>>,
    /// Batches that became durable.
    commits: AtomicU64,
    /// Why the file cannot be trusted until a start has checked it.
    damage: Mutex<Option<String>>,
    lock: Lock,
}

/// The identity of a file, under any name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct FileId {
    device: u64,
    inode: u64,
}

/// How large the files are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sizes {
    pub(super) database_bytes: u64,
    pub(super) log_bytes: u64,
}

/// Why the files at the database's path are not those that this process has open. What would be
/// written now would not be found there again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Astray {
    #[error(
        "{} was removed or moved away while the gateway has it open: put that very file back, and \
         do not stop the gateway before it is saved", .0.display()
    )]
    Gone(PathBuf),
    #[error(
        "{} was replaced by another file while the gateway has the first one open: put the first \
         one back, or stop the gateway and start it on the new one", .0.display()
    )]
    Replaced(PathBuf),
    #[error(
        "{} has another name now (a hard link), under which another program would write past this \
         one: remove that name", .0.display()
    )]
    Linked(PathBuf),
    #[error(
        "{} was removed or replaced while the gateway writes to it: stop the gateway in order \
         (SIGTERM, not SIGKILL), which moves what it holds into the database, and start it again",
        .0.display()
    )]
    LogGone(PathBuf),
    #[error("{} cannot be looked at: {error}{}", .path.display(), disk::hint_of_io(path, error))]
    Unseen { path: PathBuf, error: io::Error },
}

impl Place {
    /// Locks the file. A process that opens it under another path meets the same lock.
    pub(super) fn take(path: PathBuf, named: PathBuf, lock: Lock) -> Result<Self, NoLock> {
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(NoLock::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(NoLock::Held),
            Err(TryLockError::Error(error)) => return Err(NoLock::Io(error)),
        }
        let id = FileId::of(&file.metadata().map_err(NoLock::Io)?);
        let (log, damage) = (Mutex::new(None), Mutex::new(None));
        Ok(Self { path, named, file, id, log, commits: AtomicU64::new(0), damage, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The one descriptor, for reading.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Remembers the log and its index that belong to the database. SQLite makes new ones only if
    /// no connection has the old ones open.
    pub(super) fn remember_log(&self) -> io::Result<()> {
        let [log, index] = [self.log_path(), beside(&self.path, "-shm")].map(fs::metadata);
        let ids = [FileId::of(&log?), FileId::of(&index?)];
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(ids);
        Ok(())
    }

    /// Whether the paths still lead to the open files. Costs three `stat`.
    pub(super) fn look(&self) -> Result<Sizes, Astray> {
        let named = || self.named.clone();
        let found = match fs::metadata(&self.named) {
            Ok(found) => found,
            Err(error) if is_no_such_file(&error) => return Err(Astray::Gone(named())),
            Err(error) => return Err(Astray::Unseen { path: named(), error }),
        };
        if FileId::of(&found) != self.id {
            return Err(Astray::Replaced(named()));
        }
        if found.nlink() > 1 {
            return Err(Astray::Linked(named()));
        }
        let mut sizes = Sizes { database_bytes: found.len(), log_bytes: 0 };
        let ids = *self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some([log, index]) = ids {
            sizes.log_bytes = self.companion("-wal", log)?;
            self.companion("-shm", index)?;
        }
        Ok(sizes)
    }

    /// The size of a file beside the database, if it is still the one that SQLite has open.
    fn companion(&self, suffix: &str, id: FileId) -> Result<u64, Astray> {
        let path = beside(&self.path, suffix);
        match fs::metadata(&path) {
            Ok(found) if FileId::of(&found) == id => Ok(found.len()),
            Ok(_) => Err(Astray::LogGone(path)),
            Err(error) if is_no_such_file(&error) => Err(Astray::LogGone(path)),
            Err(error) => Err(Astray::Unseen { path, error }),
        }
    }

    /// Cuts the log's file to this length. Closing the log ends no lock of SQLite's: those are on
    /// the database and on the log's index.
    pub(super) fn cut_log(&self, bytes: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.log_path())?.set_len(bytes)
    }

    fn log_path(&self) -> PathBuf {
        beside(&self.path, "-wal")
    }

    /// The error of an operation that failed. If it shows damage, that is remembered.
    pub(super) fn failed(&self, fault: Fault) -> Error {
        match fault {
            Fault::Sqlite(error) => Error::Unavailable(self.told(&error)),
            Fault::Unreadable(what) => Error::Unreadable(what),
        }
    }

    /// An error of SQLite in words for the operator. If it shows damage, that is remembered.
    pub(super) fn told(&self, error: &rusqlite::Error) -> String {
        let path = self.path.display();
        if let Some(what) = damage_in(error) {
            self.is_damaged(what)
        } else if let Some(what) = lack_in(error) {
            format!("{path} lacks a part of its schema ({what}): put back what was taken out of it")
        } else {
            disk::told(&self.path, error)
        }
    }

    /// Remembers damage, and says what to do about it.
    pub(super) fn is_damaged(&self, what: &str) -> String {
        let path = self.path.display();
        let text = format!(
            "{path} is damaged ({what}): nothing more is written to it; keep a copy of it and of \
             its -wal file, then start the gateway again, which checks it"
        );
        self.damage().get_or_insert(text).clone()
    }

    /// Why nothing is written any more until a start has checked the file.
    pub(super) fn known_damage(&self) -> Option<String> {
        self.damage().clone()
    }

    fn damage(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// Records durably that the log now holds what must not be lost.
    pub(super) fn mark_open(&self) -> io::Result<()> {
        files::mark_open(&self.path)
    }

    /// Records durably that the database is complete without its log.
    pub(super) fn mark_closed(&self) -> io::Result<()> {
        files::mark_closed(&self.path)
    }

    /// Releases the file to other processes. No connection to it may be open.
    pub(super) fn release(&self) {
        // At once, and not when the last copy of the descriptor is closed: a child process has a
        // copy between its fork and its exec. Closing it ends the lock in any case.
        let _ = self.file.unlock();
        self.lock.release();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
    }
}

impl FileId {
    fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

fn is_no_such_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Damage that no later attempt can repair.
fn damage_in(error: &rusqlite::Error) -> Option<&'static str> {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => Some("a page of it cannot be understood"),
        Some(ErrorCode::NotADatabase) => Some("it is no database any more"),
        Some(_) | None => None,
    }
}

/// What another program has removed from the schema. It may be put back.
fn lack_in(error: &rusqlite::Error) -> Option<&str> {
    use rusqlite::Error::{SqlInputError, SqliteFailure};
    let (SqliteFailure(_, Some(text)) | SqlInputError { msg: text, .. }) = error else {
        return None;
    };
    let lacks = ["no such table", "no such column"].iter().any(|start| text.starts_with(start));
    lacks.then_some(text.as_str())
}
