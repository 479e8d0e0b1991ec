//! Moves all settles of a store into another one, through a file: `export` and `import`.
//!
//! # What keeps the money right
//!
//! - **One store drives a settle.** An export closes its store before it reads the first settle.
//!   The mark is durable, and every write that comes after it changes nothing, in every process.
//! - **Nothing is forgotten.** What was permitted in the store of before is in the file with its
//!   evidence. It was durable before the mark, so it leaves within the time that its permission
//!   lasts, and the gateways on the new store count the grace from a later moment: when they first
//!   see the permission, or when they began. So a move begins no new generation, and what was open
//!   may be sent again. If the store of before had gone back to an earlier state, the new one is as
//!   careful for as long.
//! - **All or nothing.** An import is one transaction into an empty store, which is closed from its
//!   beginning to its end. So no gateway works on a part of the settles, nor on none of them.
//!
//! Tokens, leases, beats and hints stay behind.

mod file;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

use super::columns::{Cursor, Unreadable};
use super::rows::{READ, read_record};
use super::words::{Word, readable_sql, words};
use super::{OpenError, PostgresError};
use crate::settle::{HistoryEntry, Record, Release};

pub use file::{Reader, Writer};

/// Why no gateway may work on a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Closed {
    #[error(
        "its settles were moved to another store (settlement-gateway export): the gateways belong \
         on that one. If none has worked on that one, settlement-gateway export --take-back opens \
         this one again"
    )]
    Moved,
    #[error(
        "an import into it has not run to its end, and it holds no settle yet: run \
         settlement-gateway import again"
    )]
    Importing,
}

words!(Closed { Moved = "MOVED", Importing = "IMPORTING", });

/// What a store is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Task {
    /// Gateways work on it. Refused if it is closed.
    Work,
    /// Its settles are read out or put in.
    Move,
}

/// One settle on its way from a store to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Moved {
    /// Its version is without the generation of its store.
    pub(super) record: Record,
    /// Oldest first.
    pub(super) history: Vec<HistoryEntry>,
    /// `None`: it has no due row.
    pub(super) due: Option<Release>,
}

/// Why settles were not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error("{store} is closed: {closed}")]
    Closed { store: String, closed: Closed },
    #[error("{store} is not closed: there is no mark to take back")]
    NotClosed { store: String },
    #[error(
        "{store} has settles already: an import needs an empty store. Make one: settlement-gateway \
         init"
    )]
    NotEmpty { store: String },
    #[error(
        "a settle cannot be read ({0}), perhaps because a newer gateway wrote it: export with the \
         newest gateway that has worked on this store"
    )]
    Unreadable(String),
    #[error(
        "{store} was opened again, or went back to an earlier state, while it was read: {AGAIN}"
    )]
    Meanwhile { store: String },
    #[error("{store} does not say whether it has committed: look whether serve starts on it")]
    InDoubt { store: String },
    #[error("the file: {0}")]
    File(#[from] io::Error),
    #[error("the file was not made by settlement-gateway export")]
    Foreign,
    #[error("a newer gateway made the file ({0}): import it with that one")]
    Newer(String),
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
    #[error("the file ends after line {line} without its last line, so a part of it is missing")]
    CutOff { line: u64 },
    #[error("the file is not as it was written: its lines do not fit its last one")]
    Changed,
}

const AGAIN: &str = "export once more";

/// Settles in one read, or in one write.
pub(super) const PAGE: usize = 500;

/// The statement that reads a page of settles for [`read_moved`]. `due_in`: how long until the
/// settle is due, in milliseconds, or null; `after`: the parameter for the last row of the page
/// before; `more`: further columns.
pub(super) fn select_page(entries: &str, due_in: &str, after: &str, more: &str) -> String {
    format!(
        "SELECT id, {} AS readable, history || coalesce(
             (SELECT {entries} FROM late_history WHERE late_history.settle = settle.id), ''
         ) AS history, {due_in} AS due_in_ms, attempts, backoff, {} {more}
         FROM settle WHERE id > {after} ORDER BY id LIMIT {PAGE}",
        readable_sql(),
        READ.join(", "),
    )
}

/// One row, with its id.
pub(super) fn read_moved(cursor: &mut Cursor<'_>) -> Result<(i64, Moved), Unreadable> {
    let id = cursor.int()?;
    let moved = read_rest(cursor);
    let moved = moved.map_err(|Unreadable(what)| Unreadable(format!("{what} (settle.id = {id})")));
    Ok((id, moved?))
}

fn read_rest(cursor: &mut Cursor<'_>) -> Result<Moved, Unreadable> {
    let is_readable = cursor.flag_opt()? == Some(true);
    let lines = cursor.text()?;
    let history = lines.lines().map(|line| cursor.parsed(line)).collect::<Result<_, _>>()?;
    let (due_in, attempts, backoff) = (cursor.int_opt()?, cursor.count()?, cursor.count()?);
    let wait = due_in.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    let due = wait.map(|wait| Release { wait, attempts, backoff });
    let record = read_record(cursor)?;
    match is_readable {
        true => Ok(Moved { record, history, due }),
        false => Err(Unreadable("newer rules wrote it".to_owned())),
    }
}
