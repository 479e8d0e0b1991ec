//! Reads all settles out of the database, and puts all settles into an empty one. The contract is
//! in [`super::super::moving`]. The lock keeps gateways away meanwhile.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::super::Fence;
use super::super::columns::Cursor;
use super::super::moving::{
    Closed, MoveError, Moved, Reader, Task, Writer, read_moved, select_page,
};
use super::super::rows::{Spelled, spelled};
use super::super::words::Word as _;
use super::batch::Batch;
use super::columns::{Binder, Fault};
use super::connect::close_last;
use super::generation::went_back;
use super::history::insert_late;
use super::open::{self, Opened};
use super::refusal::{OpenError, refusal};
use super::rows::{INSERT_SETTLE, bind_new};
use super::schedule::NewRow;
use super::{Sqlite, SqliteOptions};
use crate::clock::Timestamp;

/// The first version of the schema that has the mark.
const HAS_MARK: i64 = 8;

static SELECT_PAGE: LazyLock<String> = LazyLock::new(|| {
    let entries = "group_concat(entry || char(10), '' ORDER BY revision)";
    select_page(entries, "max(due_at_ms - ?2, 0)", "?1", "")
});

/// Why no gateway may work on the database, whose schema has this version.
pub(super) fn closed(connection: &Connection, version: i64) -> rusqlite::Result<Option<Closed>> {
    if version < HAS_MARK {
        return Ok(None);
    }
    let select = "SELECT closed FROM generation";
    let word: Option<String> = connection.query_row(select, [], |row| row.get(0))?;
    let unknown = || rusqlite::Error::InvalidColumnType(0, "closed".to_owned(), Type::Text);
    word.map(|word| Closed::from_word(&word).ok_or_else(unknown)).transpose()
}

impl Sqlite {
    /// Closes the database for good and writes all settles of it. Returns how many there are.
    pub fn export(options: &SqliteOptions, to: &mut Writer<'_>) -> Result<u64, MoveError> {
        let mut moving = Moving::open(options)?;
        match moving.mark()? {
            Some(Closed::Importing) => return Err(moving.is_closed(Closed::Importing)),
            Some(Closed::Moved) => {}
            None => moving.set_mark(Some(Closed::Moved))?,
        }
        let begun = went_back(&moving.opened.connection).map_err(moving.failed("read it"))?;
        to.head(begun.map(|begun| moving.now.since(begun)))?;
        let mut after = i64::MIN;
        loop {
            let page = page(&moving.opened.connection, after, moving.now);
            let page = page.map_err(|fault| moving.told(fault, "read its settles"))?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            page.into_iter().try_for_each(|(_, settle)| to.settle(settle))?;
        }
        let settles = to.end()?;
        moving.close()?;
        Ok(settles)
    }

    /// Opens a database again that an export closed.
    pub fn take_back(options: &SqliteOptions) -> Result<(), MoveError> {
        let mut moving = Moving::open(options)?;
        match moving.mark()? {
            Some(Closed::Moved) => moving.set_mark(None)?,
            Some(Closed::Importing) => return Err(moving.is_closed(Closed::Importing)),
            None => return Err(MoveError::NotClosed { store: moving.store() }),
        }
        moving.close()
    }

    /// Puts all settles of a file into an empty database. Returns how many there are.
    pub fn import(options: &SqliteOptions, from: &mut Reader<'_>) -> Result<u64, MoveError> {
        let went_back = from.head()?;
        let mut moving = Moving::open(options)?;
        if moving.mark()? == Some(Closed::Moved) {
            return Err(moving.is_closed(Closed::Moved));
        }
        let has_settles = "SELECT EXISTS (SELECT 1 FROM settle)";
        let has_settles =
            moving.opened.connection.query_row(has_settles, [], |row| row.get::<_, bool>(0));
        if has_settles.map_err(moving.failed("look into it"))? {
            return Err(MoveError::NotEmpty { store: moving.store() });
        }
        moving.set_mark(Some(Closed::Importing))?;
        let failed = moving.failed("write its settles");
        let begun =
            moving.opened.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(&failed)?;
        let settles = insert_all(&transaction, from, moving.now).map_err(|stop| match stop {
            Stop::File(error) => error,
            Stop::Store(Fault::Sqlite(error)) => failed(error),
            Stop::Store(Fault::Unreadable(what)) => MoveError::Unreadable(what),
        })?;
        let begun_ms = went_back.map(|ago| moving.now.minus(ago).as_ms());
        let open = "UPDATE generation SET closed = NULL, begun_ms = coalesce(?1, begun_ms)";
        transaction.execute(open, [begun_ms]).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        moving.close()?;
        Ok(settles)
    }
}

/// The database while its settles are moved.
struct Moving {
    opened: Opened,
    path: PathBuf,
    busy_wait: Duration,
    now: Timestamp,
}

impl Moving {
    fn open(options: &SqliteOptions) -> Result<Self, MoveError> {
        let opened = open::open(options, &[options.purpose], Task::Move)?;
        let (path, now) = (opened.place.path().to_owned(), options.clock.now());
        Ok(Self { opened, path, busy_wait: options.busy_wait, now })
    }

    fn mark(&self) -> Result<Option<Closed>, MoveError> {
        closed(&self.opened.connection, HAS_MARK).map_err(self.failed("read its mark"))
    }

    /// Durable when it returns.
    fn set_mark(&mut self, mark: Option<Closed>) -> Result<(), MoveError> {
        let word = mark.map(Closed::word);
        let set = self.opened.connection.execute("UPDATE generation SET closed = ?", [word]);
        set.map(drop).map_err(self.failed("mark it"))
    }

    /// Moves the log into the database, so that its file is complete by itself.
    fn close(self) -> Result<(), MoveError> {
        let failed = self.failed("close it");
        let Opened { place, connection, .. } = self.opened;
        place.mark_closed().map_err(|error| OpenError::Io {
            path: self.path.clone(),
            doing: "close it",
            error,
        })?;
        close_last(connection).map_err(failed)
    }

    fn store(&self) -> String {
        self.path.display().to_string()
    }

    fn is_closed(&self, closed: Closed) -> MoveError {
        MoveError::Closed { store: self.store(), closed }
    }

    fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> MoveError + use<> {
        let (path, busy_wait) = (self.path.clone(), self.busy_wait);
        move |error| refusal(&path, busy_wait, doing)(error).into()
    }

    fn told(&self, fault: Fault, doing: &'static str) -> MoveError {
        match fault {
            Fault::Sqlite(error) => self.failed(doing)(error),
            Fault::Unreadable(what) => MoveError::Unreadable(what),
        }
    }
}

/// The settles after a row, with their rows.
fn page(connection: &Connection, after: i64, now: Timestamp) -> Result<Vec<(i64, Moved)>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_PAGE)?;
    let mut rows = statement.query([after, now.as_ms()])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        page.push(read_moved(&mut Cursor::new(row))?);
    }
    Ok(page)
}

/// Why an import does not go on.
enum Stop {
    File(MoveError),
    Store(Fault),
}

impl From<MoveError> for Stop {
    fn from(error: MoveError) -> Self {
        Stop::File(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Stop::Store(error.into())
    }
}

fn insert_all(
    transaction: &Transaction<'_>,
    from: &mut Reader<'_>,
    now: Timestamp,
) -> Result<u64, Stop> {
    let batch = Batch::new(transaction);
    let mut settles = 0;
    while let Some(Moved { record, history, due }) = from.settle()? {
        let (lines, late) = spelled(&history);
        let settle = Spelled::new(record, lines);
        let row = NewRow {
            due_at: due.map(|due| now.plus(due.wait)),
            lease_until: None,
            fence: Fence(0),
            attempted_at: None,
            attempts: due.map_or(0, |due| due.attempts),
            backoff: due.map_or(0, |due| due.backoff),
        };
        let inserted = batch.run(&INSERT_SETTLE, |statement| {
            let mut binder = Binder::new(statement);
            bind_new(&mut binder, &settle)?;
            row.bind(&mut binder)?;
            binder.execute()
        })?;
        if inserted == 0 {
            let twice = "a settle above it has the same number, or Douyin's same number";
            return Err(from.bad(twice.to_owned()).into());
        }
        for entry in &late {
            insert_late(transaction, &settle.record.key, entry)?;
        }
        settles += 1;
    }
    Ok(settles)
}
