//! The files of a database: where they are, who may read them, and what the first bytes say. It
//! must not know SQL.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a file at the database's path is, by its header ("The Database Header" in SQLite's "File
/// Format For SQLite Databases").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Header {
    Missing,
    Empty,
    NotSqlite,
    /// The application id is at byte 68, big-endian.
    Sqlite {
        application_id: i32,
    },
}

/// The one path of a database, however it was named: so that two gateways lock the same file.
/// Creates the directory, but not its parents.
pub(super) fn locate(path: &Path) -> io::Result<PathBuf> {
    if let Ok(found) = fs::canonicalize(path) {
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

/// The file of the same name with something appended, as SQLite names its own.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn header(path: &Path) -> io::Result<Header> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Header::Missing),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::with_capacity(100);
    file.take(100).read_to_end(&mut bytes)?;
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

/// A log without its database: what it belongs to is gone, and a new database must not meet it.
pub(super) fn orphan(path: &Path) -> Option<PathBuf> {
    let logs = ["-wal", "-journal"].map(|suffix| beside(path, suffix));
    logs.into_iter().find(|log| fs::metadata(log).is_ok_and(|found| found.len() > 0))
}

/// An empty file that only its owner can read; whatever an interrupted start left is replaced.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(path, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(|_| ())
}

/// Gives a finished file its name, durably.
pub(super) fn publish(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let directory = to.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    File::open(directory)?.sync_all()
}

/// Takes away what others may do with the database, which holds tokens: a copy that came back from
/// a backup may be readable by everybody. Not ours to change is not fatal.
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
