//! Why a database is not opened, with what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

use super::super::moving::Closed;
use super::disk::{hint_of_io, hint_of_sqlite, in_mib};
use super::files::{beside, open_mark};
use super::lock::lock_path;

/// Why the database was not opened. Each message says what to do; the file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{} is in use by another gateway process, which holds it, perhaps under another path, or \
         {}: stop that process, or give this one a database of its own", .path.display(),
        lock_path(.path).display()
    )]
    InUse { path: PathBuf },
    #[error(
        "{} is not there. If this is a new installation, make it: settlement-gateway init, with \
         the same --config and --data-dir. If not, it was moved, or the disk or volume that holds \
         it is not mounted: do not make another one, which would know of no settle", .path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "{} is there already: nothing was changed. To start over, move it away with its -wal file",
        .path.display()
    )]
    Exists { path: PathBuf },
    #[error(
        "{} has {links} names (hard links): two programs that use it under two names write past \
         each other. Remove all names but one (find {} -xdev -samefile {})", .path.display(),
        mounted(.path), .path.display()
    )]
    Linked { path: PathBuf, links: u64 },
    #[error(
        "{} is mounted by itself, apart from the folder that its log must be in: mount its folder \
         instead", .path.display()
    )]
    MountedAlone { path: PathBuf },
    #[error(
        "{} is gone, although the last gateway on {} was not stopped in order: settles that \
         callers were told of may have been in it. Bring it back if there is a copy. If the \
         database is complete without it (a backup, or a SQLite shell has moved the log into it), \
         remove {} and start again", beside(.path, "-wal").display(), .path.display(),
        open_mark(.path).display()
    )]
    LogLost { path: PathBuf },
    #[error(
        "{} is locked by another program that uses SQLite (waited {} ms): end it, then start \
         again", .path.display(), .waited.as_millis()
    )]
    Locked { path: PathBuf, waited: Duration },
    #[error(
        "{} was written by a newer gateway: its schema has version {found}, this gateway knows \
         versions up to {known}. Start the newer gateway, or restore the backup made before the \
         upgrade", .path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{} is not a SQLite database, or its first page is damaged: name another path, or restore \
         a backup", .path.display()
    )]
    NotSqlite { path: PathBuf },
    #[error(
        "{} is a SQLite database of another program (application id {application_id:#010x}): name \
         another path", .path.display()
    )]
    NotOurs { path: PathBuf, application_id: i32 },
    #[error(
        "{} was written by a sandbox, and no settle in it is a real one: name another path",
        .path.display()
    )]
    OfSandbox { path: PathBuf },
    #[error(
        "{} may hold real settles, because no sandbox of this version made it: a sandbox does not \
         touch it. Give the sandbox another folder (--data-dir), or move the file away with its \
         -wal file", .path.display()
    )]
    PerhapsReal { path: PathBuf },
    #[error("{} is closed: {closed}", .path.display())]
    Closed { path: PathBuf, closed: Closed },
    #[error(
        "{} is damaged ({detail}): keep a copy of it and of its -wal file, then restore a backup",
        .path.display()
    )]
    Damaged { path: PathBuf, detail: String },
    #[error(
        "{} must be rewritten for this version, which may need {} on its disk, and {} are free: \
         make room on it. Nothing was changed, and the version before still serves it",
        .path.display(), in_mib(*.needed), in_mib(*.free)
    )]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    #[error(
        "{} is empty, which the gateway never leaves behind: restore a backup, or remove the file \
         if this is a new installation", .path.display()
    )]
    Empty { path: PathBuf },
    #[error(
        "{} is left over from a database that is gone: restore the database beside it, or move it \
         away", .log.display()
    )]
    Orphan { log: PathBuf },
    #[error("{}: cannot {doing}: {error}{}", .path.display(), hint_of_io(.path, .error))]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error("{}: cannot {doing}: {error}{}", .path.display(), hint_of_sqlite(.path, .error))]
    Sqlite { path: PathBuf, doing: &'static str, error: rusqlite::Error },
}

/// Sorts SQLite's errors by what the operator can do.
pub(super) fn refusal(
    path: &Path,
    waited: Duration,
    doing: &'static str,
) -> impl Fn(rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    move |error| {
        let path = path.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                OpenError::Locked { path, waited }
            }
            Some(ErrorCode::DatabaseCorrupt) => {
                OpenError::Damaged { path, detail: error.to_string() }
            }
            Some(ErrorCode::NotADatabase) => OpenError::NotSqlite { path },
            Some(_) | None => OpenError::Sqlite { path, doing, error },
        }
    }
}

fn mounted(path: &Path) -> String {
    let mount = super::disk::mount_point(path);
    mount.map_or("/".to_owned(), |mount| mount.display().to_string())
}
