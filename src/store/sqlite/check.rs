//! Reads a database from end to end and checks that its pages and rows fit together (`PRAGMA
//! quick_check`). The start does this for a moment only; the rest of a large database is read while
//! the gateway serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::connect::connect_reader;
use super::place::Place;
use crate::log_limit::error;

/// Steps of SQLite's virtual machine between two looks whether to end the check.
const STEPS: i32 = 1_000;

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Checked {
    Sound,
    /// The first damage.
    Damaged(String),
    /// The check was told to end.
    CutShort,
}

/// Ends early if `is_over`.
pub(super) fn check(
    connection: &mut Connection,
    is_over: impl FnMut() -> bool + Send + 'static,
) -> rusqlite::Result<Checked> {
    connection.progress_handler(STEPS, Some(is_over))?;
    let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(Checked::Sound),
        Ok(damage) => Ok(Checked::Damaged(damage)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(Checked::CutShort)
        }
        Err(error) => Err(error),
    }
}

/// A check on a thread of its own.
pub(super) struct Checking {
    is_over: Arc<AtomicBool>,
    /// `None`: the thread was joined.
    thread: Option<JoinHandle<()>>,
}

impl Checking {
    /// If it finds damage, the place remembers it, and nothing more is written.
    pub(super) fn begin(place: Arc<Place>, busy_wait: Duration) -> std::io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&is_over);
        let thread = thread::Builder::new().name("store-check".to_owned()).spawn(move || {
            let checked = connect_reader(place.path(), busy_wait).and_then(|mut connection| {
                check(&mut connection, move || ended.load(Ordering::Relaxed))
            });
            let path = place.path().display();
            match checked {
                Ok(Checked::Sound) => tracing::info!(%path, "the whole database was checked"),
                Ok(Checked::CutShort) => {}
                Ok(Checked::Damaged(damage)) => {
                    let why = place.is_damaged(&damage);
                    error!(%path, why, "the check found damage: nothing more is written");
                }
                Err(error) => {
                    let why = place.told(&error);
                    error!(%path, why, "the check of the database failed");
                }
            }
        })?;
        Ok(Self { is_over, thread: Some(thread) })
    }

    /// Ends the check early and waits until it has ended. Blocks for some microseconds.
    pub(super) fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!("the check of the database panicked, a bug");
        }
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
