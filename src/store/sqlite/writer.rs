//! The one writer: commits a batch of operations in one transaction, so that durability costs one
//! flush per batch.
//!
//! Every job runs in a savepoint of its own, so that one that fails does not undo its neighbours,
//! and is answered after the COMMIT. What a failed COMMIT kept, nobody knows: the whole batch is in
//! doubt. It must not know what the jobs do, nor whose thread it runs on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::super::Error;
use super::connect::{connect_writer, prove_write};
use super::job::{Job, Urgency, Verdict};
use super::lock::Lock;
use crate::clock::{Clock, Uptime};

/// A store that is down is tried again at most this often, unless an operation insists.
const RETRY_GAP: Duration = Duration::from_secs(1);

/// A batch that SQLite rolled back as a whole is tried once more without the job that caused it.
const PASSES_MAX: u32 = 2;

/// The store is down after this many batches in a row that broke their connection.
const BREAKS_MAX: u32 = 2;

/// The write connection and what became of it.
pub(super) struct Writer {
    path: PathBuf,
    busy_wait: Duration,
    clock: Clock,
    /// Without one the store is down, for this reason.
    connection: Result<Connection, String>,
    /// Batches that broke their connection since one was committed.
    breaks_in_a_row: u32,
    /// When a new connection was tried last.
    tried: Uptime,
    /// Held for as long as anything here may write.
    lock: Lock,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        lock: Lock,
        path: PathBuf,
        busy_wait: Duration,
        clock: Clock,
    ) -> Self {
        let tried = clock.uptime();
        let connection = Ok(connection);
        Self { path, busy_wait, clock, connection, breaks_in_a_row: 0, tried, lock }
    }

    /// Commits a batch and answers each of its jobs.
    ///
    /// A broken connection is replaced before the answers go out: whoever is told to read again
    /// shall read what lasts.
    pub(super) fn commit_batch(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let mut errors = vec![None; batch.len()];
        if batch.iter().any(|job| job.urgency() == Urgency::Probe) || self.gap_is_over() {
            self.revive();
        }
        match &self.connection {
            Err(why) => {
                let down = format!("the database is down: {why}");
                fail_rest(&mut errors, &Error::Unavailable(down));
            }
            Ok(connection) => match transact(connection, &mut batch, &mut errors) {
                Ending::Committed => self.breaks_in_a_row = 0,
                Ending::Nothing => {}
                Ending::Broken(why) => self.broken(&why),
            },
        }
        for (job, error) in batch.into_iter().zip(errors) {
            job.reply(error.map_or(Verdict::Durable, Verdict::Failed));
        }
    }

    /// Moves the log into the database file, closes it and lets other processes have it.
    pub(super) fn close(self) {
        let Ok(connection) = self.connection else {
            return;
        };
        // Closing the last connection does the same, but tells nobody if it fails.
        let checkpoint = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let closed = checkpoint.and_then(|()| connection.close().map_err(|(_, error)| error));
        if let Err(error) = closed {
            tracing::warn!(path = %self.path.display(), %error,
                "the database was not closed cleanly; the next start recovers its log");
        }
        drop(self.lock);
    }

    #[cfg(test)]
    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a test uses the connection while the store is up")
    }

    fn gap_is_over(&self) -> bool {
        self.clock.uptime().since(self.tried) >= RETRY_GAP
    }

    fn broken(&mut self, why: &str) {
        self.breaks_in_a_row += 1;
        tracing::error!(path = %self.path.display(), why, "a batch broke the database connection");
        // Dropping it rolls back what is left of the transaction, as far as SQLite can.
        self.connection = Err(why.to_owned());
        self.tried = self.clock.uptime();
        if self.breaks_in_a_row < BREAKS_MAX {
            self.connect();
        }
        if let Err(why) = &self.connection {
            tracing::error!(path = %self.path.display(), why, "the store is down");
        }
    }

    /// Brings a store that is down up again, if it can be.
    fn revive(&mut self) {
        if self.connection.is_ok() {
            return;
        }
        self.tried = self.clock.uptime();
        self.connect();
        if self.connection.is_ok() {
            self.breaks_in_a_row = 0;
            tracing::info!(path = %self.path.display(), "the store is up again");
        }
    }

    /// A new connection counts only once it made a write durable. That write also overwrites what
    /// a failed COMMIT may have left in the log, so that what is read from now on is what a crash
    /// would leave.
    fn connect(&mut self) {
        let connection = connect_writer(&self.path, self.busy_wait);
        let proven = connection.and_then(|connection| {
            prove_write(&connection)?;
            Ok(connection)
        });
        self.connection = proven.map_err(|error| error.to_string());
    }
}

/// How a batch ended as a whole.
enum Ending {
    Committed,
    /// Nothing of it is durable; the connection is as good as before.
    Nothing,
    /// The connection is not to be trusted any more.
    Broken(String),
}

/// Runs a batch in one transaction. Afterwards `errors` holds the error of each job of which
/// nothing, or perhaps everything, is durable.
fn transact(
    connection: &Connection,
    batch: &mut [Box<dyn Job>],
    errors: &mut [Option<Error>],
) -> Ending {
    for _ in 0..PASSES_MAX {
        if let Err(error) = run(connection, "BEGIN IMMEDIATE") {
            return not_begun(&error, errors);
        }
        match apply_all(connection, batch, errors) {
            Applied::All => return commit(connection, errors),
            Applied::RolledBack => {}
        }
    }
    let lost = "the transaction was rolled back twice by other operations";
    fail_rest(errors, &Error::Unavailable(lost.to_owned()));
    Ending::Nothing
}

fn not_begun(error: &rusqlite::Error, errors: &mut [Option<Error>]) -> Ending {
    let why = error.to_string();
    fail_rest(errors, &Error::Unavailable(why.clone()));
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Ending::Nothing,
        Some(_) | None => Ending::Broken(why),
    }
}

fn commit(connection: &Connection, errors: &mut [Option<Error>]) -> Ending {
    let Err(error) = run(connection, "COMMIT") else {
        return Ending::Committed;
    };
    let why = error.to_string();
    fail_rest(errors, &Error::InDoubt(why.clone()));
    Ending::Broken(why)
}

/// Whether the transaction still stands after all jobs ran.
enum Applied {
    All,
    /// The error of the job that caused it is noted.
    RolledBack,
}

fn apply_all(
    connection: &Connection,
    batch: &mut [Box<dyn Job>],
    errors: &mut [Option<Error>],
) -> Applied {
    for (job, slot) in batch.iter_mut().zip(errors).filter(|(_, slot)| slot.is_none()) {
        let Err(error) = apply(connection, job.as_mut()) else {
            continue;
        };
        *slot = Some(error);
        // A full disk and the like make SQLite roll back everything by itself. What cannot be
        // undone alone must not be committed either.
        if connection.is_autocommit() || undo(connection).is_err() {
            // Fails if there is nothing left to roll back. Should something be left, the next
            // BEGIN fails, and the connection is replaced.
            let _ = run(connection, "ROLLBACK");
            return Applied::RolledBack;
        }
    }
    Applied::All
}

/// Runs one job in its savepoint, which stays open after an error.
fn apply(connection: &Connection, job: &mut dyn Job) -> Result<(), Error> {
    run(connection, "SAVEPOINT job").map_err(unavailable)?;
    match catch_unwind(AssertUnwindSafe(|| job.apply(connection))) {
        Ok(applied) => applied?,
        Err(_) => return Err(Error::Unavailable("the operation panicked, a bug".to_owned())),
    }
    run(connection, "RELEASE job").map_err(unavailable)
}

fn undo(connection: &Connection) -> rusqlite::Result<()> {
    run(connection, "ROLLBACK TO job")?;
    run(connection, "RELEASE job")
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

fn unavailable(error: rusqlite::Error) -> Error {
    Error::Unavailable(error.to_string())
}

/// Gives every job that has no error of its own this one.
fn fail_rest(errors: &mut [Option<Error>], error: &Error) {
    for slot in errors.iter_mut().filter(|slot| slot.is_none()) {
        *slot = Some(error.clone());
    }
}
