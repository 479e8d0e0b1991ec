//! The one writer. It commits a batch of operations in one transaction, so that durability costs
//! one flush per batch.
//!
//! A job is answered after the COMMIT. If a job fails after it wrote something, which is rare, the
//! whole batch is rolled back, and the others run again without it. If a COMMIT fails, it is not
//! known what it kept, so the whole batch is in doubt. It must not know what the jobs do, nor whose
//! thread it runs on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::super::Error;
use super::batch::Batch;
use super::connect::{close_last, connect_writer, prove_write};
use super::job::{Fate, Job, Urgency};
use super::log::{Callers, Log};
use super::place::{Place, Sizes};
use crate::clock::{Clock, Uptime};
use crate::log_limit::error;
use crate::metrics::{COMMIT_SIZE, COMMIT_TIME, STORE_BYTES, STORE_LOG_BYTES};

/// A store that is down is tried again at most this often, unless an operation asks for it.
const RETRY_GAP: Duration = Duration::from_secs(1);

/// How often a batch runs, each time without the jobs that failed before.
const PASSES_MAX: u32 = 4;

/// The store is down after this many batches in a row that broke the connection.
const BREAKS_MAX: u32 = 2;

/// The write connection and its condition.
pub(super) struct Writer {
    place: Arc<Place>,
    busy_wait: Duration,
    clock: Clock,
    /// Without a connection the store is down, for this reason.
    connection: Result<Connection, String>,
    log: Log,
    /// Batches in a row that broke the connection.
    breaks_in_a_row: u32,
    /// When a new connection was last tried.
    tried: Uptime,
}

impl Writer {
    pub(super) fn new(
        place: Arc<Place>,
        connection: Connection,
        busy_wait: Duration,
        clock: Clock,
        log: Log,
    ) -> Self {
        let tried = clock.uptime();
        ["durable", "failed"].iter().for_each(|result| COMMIT_TIME.begin([result]));
        [&STORE_BYTES, &STORE_LOG_BYTES].iter().for_each(|bytes| bytes.set([], 0));
        let mut writer = Self {
            place,
            busy_wait,
            clock,
            connection: Ok(connection),
            log,
            breaks_in_a_row: 0,
            tried,
        };
        writer.follow();
        writer
    }

    /// Commits a batch and answers each of its jobs.
    ///
    /// A broken connection is replaced before the answers leave: the caller of an operation in
    /// doubt reads again, and must then see what is durable.
    pub(super) fn commit_batch(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let (jobs, begun) = (batch.len(), self.clock.uptime());
        let mut errors = vec![None; jobs];
        let is_looked_at = batch.iter().any(|job| job.urgency() == Urgency::Probe);
        if is_looked_at || self.gap_is_over() {
            self.revive();
        }
        let mut sizes = None;
        if let Some(damage) = self.place.known_damage() {
            fail_rest(&mut errors, &Error::Unavailable(damage));
        } else if let Err(why) = &self.connection {
            let down = format!("the database is down: {why}");
            fail_rest(&mut errors, &Error::Unavailable(down));
        } else if let Ok(connection) = &self.connection {
            let mut transaction = Transaction { connection, place: &self.place };
            match transaction.run(&mut batch, &mut errors) {
                BatchEnd::Committed(committed) => {
                    self.breaks_in_a_row = 0;
                    self.place.committed();
                    sizes = Some(committed);
                }
                BatchEnd::Nothing => {}
                BatchEnd::Broken(why) => self.broken(&why),
            }
        }
        let result = if sizes.is_some() { "durable" } else { "failed" };
        COMMIT_TIME.add_time([result], self.clock.uptime().since(begun));
        COMMIT_SIZE.add([], u64::try_from(jobs).unwrap_or(u64::MAX));
        for (job, error) in batch.into_iter().zip(errors) {
            job.reply(error.map_or(Fate::Durable, Fate::Failed));
        }
        if let (Some(sizes), Ok(connection)) = (sizes, &self.connection) {
            let callers = if is_looked_at && jobs == 1 { Callers::None } else { Callers::Wait };
            self.log.committed(connection, &self.place, sizes, callers);
            if is_looked_at {
                self.log.look(connection, self.place.path(), sizes, self.busy_wait);
            }
        }
    }

    /// Moves the log into the database file, closes it and releases it to other processes.
    fn shut(&mut self) {
        self.log.end();
        let path = self.place.path().display();
        if let Err(astray) = self.place.look() {
            error!(%astray, "closing a database that is not in its place");
        }
        let connection = std::mem::replace(&mut self.connection, Err("it is closed".to_owned()));
        let closed = match connection {
            Ok(connection) => close(connection, &self.place),
            Err(why) => Err(why),
        };
        if let Err(why) = closed {
            tracing::warn!(%path, why,
                "the database was not closed cleanly; the next start recovers its log");
        }
        self.place.release();
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
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
        let path = self.place.path().display().to_string();
        error!(path, why, "a batch broke the database connection");
        // Dropping it rolls back the rest of the transaction, as far as SQLite can.
        self.connection = Err(why.to_owned());
        self.tried = self.clock.uptime();
        if self.breaks_in_a_row < BREAKS_MAX {
            self.connect();
        }
        if let Err(why) = &self.connection {
            error!(path = %self.place.path().display(), why, "the store is down");
        }
    }

    /// Brings a store that is down up again, if possible.
    fn revive(&mut self) {
        if self.connection.is_ok() {
            return;
        }
        self.tried = self.clock.uptime();
        self.connect();
        if self.connection.is_ok() {
            self.breaks_in_a_row = 0;
            tracing::info!(path = %self.place.path().display(), "the store is up again");
        }
    }

    /// A new connection counts only once it made a write durable. That write also overwrites what a
    /// failed COMMIT may have left in the log, so that reads see from now on what a crash would
    /// leave.
    fn connect(&mut self) {
        self.connection = connect(&self.place, self.busy_wait);
        self.follow();
    }

    /// Lets the log count the commits of this connection.
    fn follow(&mut self) {
        let followed = self.connection.as_mut().map(|connection| self.log.follow(connection));
        if let Ok(Err(error)) = followed {
            self.connection = Err(self.place.told(&error));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Refuses to write to another file of the same name, or to a damaged file.
fn connect(place: &Place, busy_wait: Duration) -> Result<Connection, String> {
    if let Some(damage) = place.known_damage() {
        return Err(damage);
    }
    place.look().map_err(|astray| astray.to_string())?;
    let connection = connect_writer(place.path(), busy_wait);
    let proven = connection.and_then(|connection| {
        prove_write(&connection)?;
        Ok(connection)
    });
    proven.map_err(|error| place.told(&error))
}

/// If a stop is cut short anywhere in here, it leaves either the mark and the whole log, or no mark
/// and a complete database.
fn close(connection: Connection, place: &Place) -> Result<(), String> {
    let told = |error| place.told(&error);
    let moved = connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
        let (busy, frames, moved): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(busy == 0 && frames == moved)
    });
    if !moved.map_err(told)? {
        return Err("another program reads an older state".to_owned());
    }
    place.mark_closed().map_err(|error| format!("its .open file stays: {error}"))?;
    // Closing keeps a log whose database is not in its place: no other database may find a log with
    // something in it.
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    emptied.and_then(|()| close_last(connection)).map_err(told)
}

/// How a batch ended as a whole.
enum BatchEnd {
    /// The sizes of the files just before.
    Committed(Sizes),
    /// Nothing of it is durable, and the connection is sound.
    Nothing,
    /// The connection cannot be trusted any more.
    Broken(String),
}

/// One batch on its way into the file.
struct Transaction<'a> {
    connection: &'a Connection,
    place: &'a Place,
}

impl Transaction<'_> {
    /// Runs a batch in one transaction. Afterwards `errors` holds the error of each job of which
    /// nothing, or perhaps everything, is durable.
    fn run(&mut self, batch: &mut [Box<dyn Job>], errors: &mut [Option<Error>]) -> BatchEnd {
        for _ in 0..PASSES_MAX {
            if let Err(error) = run(self.connection, "BEGIN IMMEDIATE") {
                return self.not_begun(&error, errors);
            }
            match self.apply_all(batch, errors) {
                Applied::All => return self.commit(errors),
                Applied::RolledBack => {}
            }
        }
        let lost = "other operations of its batch failed again and again";
        fail_rest(errors, &Error::Unavailable(lost.to_owned()));
        BatchEnd::Nothing
    }

    fn not_begun(&self, error: &rusqlite::Error, errors: &mut [Option<Error>]) -> BatchEnd {
        let why = self.place.told(error);
        fail_rest(errors, &Error::Unavailable(why.clone()));
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => BatchEnd::Nothing,
            Some(_) | None => BatchEnd::Broken(why),
        }
    }

    /// Nothing is committed to a file that is not in its place. If it goes between this look and
    /// the end of the commit, a flush of the disk later, the next batch notices.
    fn commit(&self, errors: &mut [Option<Error>]) -> BatchEnd {
        let sizes = match self.place.look() {
            Ok(sizes) => sizes,
            Err(astray) => {
                fail_rest(errors, &Error::Unavailable(astray.to_string()));
                return match run(self.connection, "ROLLBACK") {
                    Ok(()) => BatchEnd::Nothing,
                    Err(error) => BatchEnd::Broken(self.place.told(&error)),
                };
            }
        };
        let Err(error) = run(self.connection, "COMMIT") else {
            return BatchEnd::Committed(sizes);
        };
        let why = self.place.told(&error);
        fail_rest(errors, &Error::InDoubt(why.clone()));
        BatchEnd::Broken(why)
    }

    fn apply_all(&self, jobs: &mut [Box<dyn Job>], errors: &mut [Option<Error>]) -> Applied {
        let connection = self.connection;
        let batch = Batch::new(connection);
        for (job, slot) in jobs.iter_mut().zip(errors).filter(|(_, slot)| slot.is_none()) {
            let changes = connection.total_changes();
            let Err(error) = self.apply(job.as_mut(), &batch) else {
                continue;
            };
            *slot = Some(error);
            // A full disk and the like make SQLite roll back everything by itself. After a
            // statement that failed alone, the statements before it remain.
            if connection.is_autocommit() || connection.total_changes() != changes {
                // Fails if nothing is left to roll back. If something is left, the next BEGIN
                // fails, and the connection is replaced.
                let _ = run(connection, "ROLLBACK");
                return Applied::RolledBack;
            }
        }
        Applied::All
    }

    fn apply(&self, job: &mut dyn Job, batch: &Batch<'_>) -> Result<(), Error> {
        match catch_unwind(AssertUnwindSafe(|| job.apply(batch))) {
            Ok(applied) => applied.map_err(|fault| self.place.failed(fault)),
            Err(_) => Err(Error::Unavailable("the operation panicked, a bug".to_owned())),
        }
    }
}

/// Whether the transaction still stands after all jobs ran.
enum Applied {
    All,
    /// The error of the job that caused it is noted.
    RolledBack,
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// Gives this error to every job without an error of its own.
fn fail_rest(errors: &mut [Option<Error>], error: &Error) {
    for slot in errors.iter_mut().filter(|slot| slot.is_none()) {
        *slot = Some(error.clone());
    }
}
