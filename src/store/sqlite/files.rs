//! The files of a database: where they are, who may read them, and what the first bytes say. It
//! must not know SQL.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a file at the database's path is, by its header ("The Database Header" in SQLite's "File
/// Format For SQLite Databases").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Header {
    Empty,
    NotSqlite,
    /// The application id is at byte 68, big-endian.
    Sqlite {
        application_id: i32,
    },
}

/// The one path of a database under any of its names, so that two gateways lock the same file.
/// `None`: nothing is there.
pub(super) fn find(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::canonicalize(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The path of a database that is to be made. Creates the directory, but not its parents.
pub(super) fn locate(path: &Path) -> io::Result<PathBuf> {
    if let Some(found) = find(path)? {
        return Ok(found);
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    if !directory.exists() {
        fs::DirBuilder::new().mode(0o700).create(directory)?;
    }
    Ok(fs::canonicalize(directory)?.join(name))
}

/// The file of the same name with a suffix, as SQLite names its own.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Reads the open file: opening it once more would end SQLite's locks ([`super::place`]).
pub(super) fn header(file: &File) -> io::Result<Header> {
    let mut bytes = vec![0; 100];
    let mut read = 0;
    while read < bytes.len() {
        let offset = u64::try_from(read).expect("100 fits");
        match file.read_at(bytes.get_mut(read..).unwrap_or_default(), offset)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    if bytes.is_empty() {
        return Ok(Header::Empty);
    }
    match (bytes.starts_with(b"SQLite format 3\0"), bytes.get(68..72)) {
        (true, Some(&[a, b, c, d])) => {
            Ok(Header::Sqlite { application_id: i32::from_be_bytes([a, b, c, d]) })
        }
        (true | false, _) => Ok(Header::NotSqlite),
    }
}

/// A log without its database. The database that it belongs to is gone, and a new one must not use
/// it.
pub(super) fn orphan(path: &Path) -> Option<PathBuf> {
    let logs = ["-wal", "-journal"].map(|suffix| beside(path, suffix));
    logs.into_iter().find(|log| fs::metadata(log).is_ok_and(|found| found.len() > 0))
}

/// An empty file that only its owner can read. It replaces what an interrupted start left.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    remove(path)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(|_| ())
}

/// Removes a database and all files beside it except its lock. The database goes last, so that a
/// later call can remove what is left after an interruption.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm", "-journal", ".open", ""] {
        match fs::remove_file(beside(path, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Gives a finished file its name, durably.
pub(super) fn publish(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_names_beside(to)
}

fn sync_names_beside(path: &Path) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    File::open(directory)?.sync_all()
}

/// The file that exists while the log may hold commits that the database lacks: from the start of a
/// gateway to its orderly stop. A kill leaves it there.
pub(super) fn open_mark(path: &Path) -> PathBuf {
    beside(path, ".open")
}

pub(super) fn mark_open(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).open(open_mark(path))?;
    sync_names_beside(path)
}

pub(super) fn mark_closed(path: &Path) -> io::Result<()> {
    match fs::remove_file(open_mark(path)) {
        Ok(()) => sync_names_beside(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether the last gateway was not stopped in order, and its log is gone.
///
/// A gateway commits something before it makes this file, and SQLite never empties a log while a
/// connection is open. So a log that is empty, or begins differently ("The WAL Header" in SQLite's
/// "File Format"), was emptied or replaced by hand.
pub(super) fn log_is_lost(path: &Path) -> io::Result<bool> {
    if !open_mark(path).exists() {
        return Ok(false);
    }
    let log = match File::open(beside(path, "-wal")) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut magic = Vec::with_capacity(4);
    log.take(4).read_to_end(&mut magic)?;
    Ok(!matches!(*magic, [0x37, 0x7f, 0x06, 0x82 | 0x83]))
}

/// Removes the access of other users to the database, which holds tokens: a copy from a backup may
/// be readable by all users. It is not fatal if the files belong to another user.
pub(super) fn keep_private(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let file = beside(path, suffix);
        let Ok(found) = fs::metadata(&file) else {
            continue;
        };
        if found.permissions().mode() & 0o077 == 0 {
            continue;
        }
        match fs::set_permissions(&file, Permissions::from_mode(0o600)) {
            Ok(()) => tracing::warn!(file = %file.display(), "was readable by others; now 0600"),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "is readable by others");
            }
        }
    }
}
