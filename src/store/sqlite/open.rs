//! Opens the database file, or refuses it without changing a byte of it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::super::moving::Task;
use super::check::{Checked, check};
use super::connect::{close_last, connect_reader, connect_writer, prove_write, tables};
use super::disk;
use super::files::{self, Header};
use super::generation::went_back;
use super::lock::{Lock, NoLock};
use super::migrations;
use super::moving;
use super::place::Place;
use super::purpose::Purpose;
use super::refusal::{OpenError, refusal};
use super::schedule::void_leases;
use crate::clock::{Clock, Timestamp};

/// Where the database is, and the limits of what waits for it.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file. `-wal`, `-shm`, `.lock` and `.open` are beside it.
    pub path: PathBuf,
    /// What to do if it is missing. Default: refuse.
    pub missing: Missing,
    /// Whether its settles are real; a database of the other kind is refused. Default: real.
    pub purpose: Purpose,
    /// Writes that may wait for the writer; one more is `Unavailable` at once. Default 4096.
    pub queue_jobs_max: usize,
    /// Writes in one transaction. Default 64.
    pub batch_jobs_max: usize,
    /// Connections for reading. Default 4.
    pub readers: u32,
    /// Reads that may wait or run; one more is `Unavailable` at once. Default 4096.
    pub reads_max: usize,
    /// How long to wait for another SQLite program (a shell, a backup) that holds the file. Default
    /// 2 s.
    pub busy_wait: Duration,
    /// How long the check of an existing file may take at start. The rest is checked while the
    /// gateway serves. Default 300 ms.
    pub check_time_max: Duration,
    /// Measures the check, and spaces attempts to bring up a store that is down. Default: the
    /// machine's.
    pub clock: Clock,
    /// How many processes work on it. Default: one, which its lock ensures.
    pub processes: Processes,
}

/// How many processes work on a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Processes {
    One,
    /// In a simulation: those of one operating system's process, which a
    /// [`Committer`](super::Committer) writes for.
    Several {
        /// Whether hints are lost on their way from one to another.
        lose_hints: bool,
    },
}

impl SqliteOptions {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            missing: Missing::Refuse,
            purpose: Purpose::Real,
            queue_jobs_max: 4_096,
            batch_jobs_max: 64,
            readers: 4,
            reads_max: 4_096,
            busy_wait: Duration::from_secs(2),
            check_time_max: Duration::from_millis(300),
            clock: Clock::system(),
            processes: Processes::One,
        }
    }

    /// Makes the database if it is missing, and its directory if only that is missing.
    #[must_use]
    pub fn creating(self) -> Self {
        Self { missing: Missing::Create, ..self }
    }
}

/// A database that is checked, locked, of the newest schema and without leases.
pub(super) struct Opened {
    pub(super) place: Arc<Place>,
    pub(super) connection: Connection,
    pub(super) tables: Vec<String>,
    /// When the store last went back to an earlier state.
    pub(super) went_back: Option<Timestamp>,
    /// Whether the whole file was checked.
    pub(super) is_checked: bool,
}

/// What to do about a missing database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// Refuse, because a volume that is not mounted looks like an empty folder.
    Refuse,
    /// Make it, because the caller knows that there was none.
    Create,
}

/// Opens the database if it is for one of these purposes.
pub(super) fn open(
    options: &SqliteOptions,
    purposes: &[Purpose],
    task: Task,
) -> Result<Opened, OpenError> {
    let place = Arc::new(take(options)?);
    let path = place.path();
    let at = |doing| move |error| OpenError::Io { path: path.to_owned(), doing, error };
    is_for(&place, purposes)?;
    if files::log_is_lost(path).map_err(at("look at its log"))? {
        return Err(OpenError::LogLost { path: path.to_owned() });
    }
    let is_checked = look_at(&place, options, task)?;
    files::keep_private(path);
    let told = |doing| refusal(path, options.busy_wait, doing);
    let mut connection =
        connect_writer(path, options.busy_wait).map_err(told("open it for writing"))?;
    migrations::migrate(&mut connection).map_err(told("migrate its schema"))?;
    let voided = void_leases(&connection).map_err(told("end the leases of the last process"))?;
    if voided > 0 {
        tracing::info!(leases = voided, "ended the leases that the last process left behind");
    }
    // The log holds something now, so that its loss can be noticed.
    prove_write(&connection).map_err(told("write to it"))?;
    place.remember_log().map_err(at("look at its log"))?;
    let tables = tables(&connection).map_err(told("read its schema"))?;
    let went_back = went_back(&connection).map_err(told("read its generation"))?;
    Ok(Opened { place, connection, tables, went_back, is_checked })
}

/// Refuses a file that is not the gateway's database, and a database for another purpose.
fn is_for(place: &Place, purposes: &[Purpose]) -> Result<(), OpenError> {
    let path = place.path().to_owned();
    let application_id = match files::header(place.file()) {
        Ok(Header::Sqlite { application_id }) => application_id,
        Ok(Header::Empty) => return Err(OpenError::Empty { path }),
        Ok(Header::NotSqlite) => return Err(OpenError::NotSqlite { path }),
        Err(error) => return Err(OpenError::Io { path, doing: "read it", error }),
    };
    match Purpose::of(application_id) {
        Some(purpose) if purposes.contains(&purpose) => Ok(()),
        Some(Purpose::Sandbox) => Err(OpenError::OfSandbox { path }),
        Some(Purpose::Real) => Err(OpenError::PerhapsReal { path }),
        None => Err(OpenError::NotOurs { path, application_id }),
    }
}

/// Removes the database of a sandbox, if there is one.
pub(super) fn remove_sandbox(options: &SqliteOptions) -> Result<(), OpenError> {
    let at = |doing| move |error| OpenError::Io { path: options.path.clone(), doing, error };
    if files::find(&options.path).map_err(at("find it"))?.is_none() {
        return Ok(());
    }
    let place = take(options)?;
    is_for(&place, &[Purpose::Sandbox])?;
    files::remove(place.path()).map_err(at("remove it"))
}

/// Makes a database that does not exist yet. Returns its path.
pub(super) fn init(options: &SqliteOptions) -> Result<PathBuf, OpenError> {
    let at = |doing| move |error| OpenError::Io { path: options.path.clone(), doing, error };
    // Something that is no file, or a link that leads nowhere, is not replaced either.
    if fs::symlink_metadata(&options.path).is_ok() {
        return Err(OpenError::Exists { path: options.path.clone() });
    }
    let path = files::locate(&options.path).map_err(at("find or create its directory"))?;
    let _lock = lock(&path)?;
    if path.exists() {
        return Err(OpenError::Exists { path });
    }
    create(&path, options)?;
    Ok(path)
}

/// The database file, locked. It is made first if it is missing and may be made.
fn take(options: &SqliteOptions) -> Result<Place, OpenError> {
    let at = |doing| move |error| OpenError::Io { path: options.path.clone(), doing, error };
    let found = files::find(&options.path).map_err(at("find it"))?;
    let path = match (found, options.missing) {
        (Some(path), _) => path,
        (None, Missing::Refuse) => return Err(OpenError::Missing { path: options.path.clone() }),
        (None, Missing::Create) => {
            files::locate(&options.path).map_err(at("find or create its directory"))?
        }
    };
    let lock = lock(&path)?;
    if !path.exists() {
        create(&path, options)?;
    }
    let links = fs::metadata(&path).map_err(at("look at it"))?.nlink();
    if links > 1 && path.is_file() {
        return Err(OpenError::Linked { path, links });
    }
    if disk::mount_point(&path).as_ref() == Some(&path) {
        return Err(OpenError::MountedAlone { path });
    }
    let named = std::path::absolute(&options.path).map_err(at("find it"))?;
    Place::take(path.clone(), named, lock).map_err(|error| no_lock(path, error))
}

fn lock(path: &Path) -> Result<Lock, OpenError> {
    Lock::take(path).map_err(|error| no_lock(path.to_owned(), error))
}

fn no_lock(path: PathBuf, error: NoLock) -> OpenError {
    match error {
        NoLock::Held => OpenError::InUse { path },
        NoLock::Io(error) => OpenError::Io { path, doing: "lock it", error },
    }
}

/// Builds a new database under another name, so that a file under the real name is always complete.
fn create(path: &Path, options: &SqliteOptions) -> Result<(), OpenError> {
    if let Some(log) = files::orphan(path) {
        return Err(OpenError::Orphan { log });
    }
    let at = |doing| move |error| OpenError::Io { path: path.to_owned(), doing, error };
    let new = files::beside(path, ".new");
    files::create_private(&new).map_err(at("create it"))?;
    let build = || {
        let mut connection = connect_writer(&new, options.busy_wait)?;
        connection.pragma_update(None, "application_id", options.purpose.application_id())?;
        migrations::migrate(&mut connection)?;
        close_last(connection)
    };
    build().map_err(refusal(path, options.busy_wait, "create it"))?;
    files::publish(&new, path).map_err(at("create it"))
}

/// Looks at an existing database without writing. If a killed process left a log, that is read too,
/// and stays as it is. Returns whether the whole file was checked.
fn look_at(place: &Place, options: &SqliteOptions, task: Task) -> Result<bool, OpenError> {
    let path = place.path();
    let told = || refusal(path, options.busy_wait, "check it");
    let mut connection = connect_reader(path, options.busy_wait).map_err(told())?;
    let (found, known) =
        (migrations::version(&connection).map_err(told())?, migrations::newest_version());
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    if task == Task::Work
        && let Some(closed) = moving::closed(&connection, found).map_err(told())?
    {
        return Err(OpenError::Closed { path: path.to_owned(), closed });
    }
    let (clock, time_max) = (options.clock.clone(), options.check_time_max);
    let begun = clock.uptime();
    let is_over = move || clock.uptime().since(begun) > time_max;
    match check(&mut connection, is_over).map_err(told())? {
        Checked::Damaged(detail) => Err(OpenError::Damaged { path: path.to_owned(), detail }),
        checked @ (Checked::Sound | Checked::CutShort) => {
            has_room(place, found)?;
            Ok(checked == Checked::Sound)
        }
    }
}

/// Whether the disk has the room that a migration from this version may need.
fn has_room(place: &Place, version: i64) -> Result<(), OpenError> {
    let path = place.path();
    let at = |doing| move |error| OpenError::Io { path: path.to_owned(), doing, error };
    let size = place.file().metadata().map_err(at("look at it"))?.len();
    let needed = migrations::room_needed(version, size);
    let free = disk::free_bytes(path).map_err(at("look at its disk"))?;
    if free < needed {
        return Err(OpenError::NoRoom { path: path.to_owned(), needed, free });
    }
    Ok(())
}
