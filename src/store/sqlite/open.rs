//! Opens the database file, or refuses it without having changed a byte of it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use super::connect::{connect_reader, connect_writer};
use super::files::{self, Header};
use super::lock::{Lock, NoLock, lock_path};
use super::migrations::{self, APPLICATION_ID};
use super::schedule::void_leases;
use crate::clock::Clock;

/// Where the database is and how much may queue up before it.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file. Its directory is created if only that is missing. `-wal`, `-shm` and
    /// `.lock` are beside it.
    pub path: PathBuf,
    /// Writes that may wait for the writer; one more is `Unavailable` at once. Default 4096.
    pub queue_jobs_max: usize,
    /// Writes in one transaction. Default 64.
    pub batch_jobs_max: usize,
    /// Connections for reading. Default 4.
    pub readers: u32,
    /// Reads that may wait or run; one more is `Unavailable` at once. Default 4096.
    pub reads_max: usize,
    /// How long to wait for another SQLite program (a shell, a backup) that holds the file.
    /// Default 2 s.
    pub busy_wait: Duration,
    /// How long the check of an existing file may take at start; what it has not read by then is
    /// not checked. Default 3 s.
    pub check_time_max: Duration,
    /// Measures the check, and spaces out attempts to bring up a store that is down. Default: the
    /// machine's.
    pub clock: Clock,
}

impl SqliteOptions {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            queue_jobs_max: 4_096,
            batch_jobs_max: 64,
            readers: 4,
            reads_max: 4_096,
            busy_wait: Duration::from_secs(2),
            check_time_max: Duration::from_secs(3),
            clock: Clock::system(),
        }
    }
}

/// Why the database was not opened. Each message says what to do; the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{} is in use by another gateway process, which holds {}: stop that process, or give this \
         one a database of its own", .path.display(), lock_path(.path).display()
    )]
    InUse { path: PathBuf },
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
        "{} is damaged ({detail}): keep a copy of it and of its -wal file, then restore a backup",
        .path.display()
    )]
    Damaged { path: PathBuf, detail: String },
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
    #[error("{}: cannot {doing}: {error}", .path.display())]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error("{}: cannot {doing}: {error}", .path.display())]
    Sqlite { path: PathBuf, doing: &'static str, error: rusqlite::Error },
}

/// A database that is checked, locked, of the newest schema and without leases.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) lock: Lock,
    pub(super) connection: Connection,
}

pub(super) fn open(options: &SqliteOptions) -> Result<Opened, OpenError> {
    let at = |doing| move |error| OpenError::Io { path: options.path.clone(), doing, error };
    let path = files::locate(&options.path).map_err(at("find or create its directory"))?;
    let lock = Lock::take(&path).map_err(|error| match error {
        NoLock::Held => OpenError::InUse { path: path.clone() },
        NoLock::Io(error) => at("lock it")(error),
    })?;
    match files::header(&path).map_err(at("read it"))? {
        Header::Missing => create(&path, options)?,
        Header::Empty => return Err(OpenError::Empty { path }),
        Header::NotSqlite => return Err(OpenError::NotSqlite { path }),
        Header::Sqlite { application_id: APPLICATION_ID } => check(&path, options)?,
        Header::Sqlite { application_id } => {
            return Err(OpenError::NotOurs { path, application_id });
        }
    }
    files::keep_private(&path);
    let told = |doing| refusal(&path, options.busy_wait, doing);
    let mut connection =
        connect_writer(&path, options.busy_wait).map_err(told("open it for writing"))?;
    migrations::migrate(&mut connection).map_err(told("migrate its schema"))?;
    let voided = void_leases(&connection).map_err(told("end the leases of the last process"))?;
    if voided > 0 {
        tracing::info!(leases = voided, "the last process did not end its leases; they are void");
    }
    Ok(Opened { path, lock, connection })
}

/// Builds a new database under another name, so that whatever is found under its own is complete.
fn create(path: &Path, options: &SqliteOptions) -> Result<(), OpenError> {
    if let Some(log) = files::orphan(path) {
        return Err(OpenError::Orphan { log });
    }
    let at = |doing| move |error| OpenError::Io { path: path.to_owned(), doing, error };
    let new = files::beside(path, ".new");
    files::create_private(&new).map_err(at("create it"))?;
    let build = || {
        let mut connection = connect_writer(&new, options.busy_wait)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        migrations::migrate(&mut connection)?;
        connection.close().map_err(|(_, error)| error)
    };
    build().map_err(refusal(path, options.busy_wait, "create it"))?;
    files::publish(&new, path).map_err(at("create it"))
}

/// Looks at an existing database without writing. Its log, if a killed process left one, is read
/// along, and stays as it is.
fn check(path: &Path, options: &SqliteOptions) -> Result<(), OpenError> {
    let told = || refusal(path, options.busy_wait, "check it");
    let mut connection = connect_reader(path, options.busy_wait).map_err(told())?;
    let keep_log = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    keep_log.map_err(told())?;
    let (found, known) =
        (migrations::version(&connection).map_err(told())?, migrations::newest_version());
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    match quick_check(&mut connection, options) {
        Ok(None) => Ok(()),
        Ok(Some(detail)) => Err(OpenError::Damaged { path: path.to_owned(), detail }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            let ms = options.check_time_max.as_millis();
            tracing::warn!(path = %path.display(), "the check was cut short after {ms} ms");
            Ok(())
        }
        Err(error) => Err(told()(error)),
    }
}

/// Returns the first damage found.
fn quick_check(
    connection: &mut Connection,
    options: &SqliteOptions,
) -> rusqlite::Result<Option<String>> {
    let (clock, time_max) = (options.clock.clone(), options.check_time_max);
    let begun = clock.uptime();
    let too_long = move || clock.uptime().since(begun) > time_max;
    connection.progress_handler(1_000, Some(too_long))?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

/// Sorts what SQLite says into what the operator can do.
fn refusal(
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
