//! The writes of a settle: insert it, replace it. Each runs inside its savepoint, so a fault after
//! a first statement leaves nothing behind.

use std::sync::LazyLock;

use rusqlite::{Connection, params};

use super::super::{FIRST_FENCE, Fence, Insert, NewDue, Swap, Swapped};
use super::columns::{Cursor, Fault};
use super::history::insert_history;
use super::rows::{insert_record, record_by_key, record_by_settle_id, update_record};
use super::schedule;
use super::words::{OriginKind, Word, readable_sql};
use crate::clock::Timestamp;
use crate::settle::{Due, Key, Record, Source};

pub(super) fn insert(
    connection: &Connection,
    record: &Record,
    source: Source,
    due: NewDue,
    now: Timestamp,
) -> Result<Insert, Fault> {
    let Some(id) = insert_record(connection, record)? else {
        return existing(connection, record);
    };
    insert_history(connection, id, &record.history_entry(source, None))?;
    let (wait, lease, fence) = match due {
        NewDue::None => return Ok(Insert::Inserted),
        NewDue::In(wait) => (wait, None, Fence(0)),
        NewDue::Leased { lease } => (lease, Some(lease), FIRST_FENCE),
    };
    let row = schedule::NewRow {
        due_at: now.plus(wait),
        lease_until: lease.map(|lease| now.plus(lease)),
        fence,
        // A send that the record's own insert permits counts as an attempt: it spaces out nudges.
        attempted_at: record.evidence.last_permission.map(|_| now),
    };
    schedule::insert(connection, id, record, row)?;
    Ok(Insert::Inserted)
}

/// The row that kept `record` out: the one with its key, else the one with its `settle_id`.
fn existing(connection: &Connection, record: &Record) -> Result<Insert, Fault> {
    if let Some(same_key) = record_by_key(connection, &record.key)? {
        return Ok(Insert::Existing(Box::new(same_key)));
    }
    let settle_id = record.state.settle_id().expect("without an id only the key can be taken");
    let Key { app_id, trade_system, .. } = &record.key;
    let same_id = record_by_settle_id(connection, app_id, *trade_system, settle_id)?;
    let same_id = same_id.expect("the index that refused the row holds the other one");
    Ok(Insert::Existing(Box::new(same_id)))
}

pub(super) fn swap(connection: &Connection, swap: &Swap, now: Timestamp) -> Result<Swapped, Fault> {
    let record = &swap.record;
    let found = match find(connection, &record.key)? {
        Some(found) if found.version == record.version - 1 => found,
        Some(_) | None => return Ok(Swapped::Conflict),
    };
    if let Some(fence) = swap.lease
        && !schedule::holds(connection, found.id, fence, now)?
    {
        return Ok(Swapped::LeaseLost);
    }
    if let Some(absorbed) = &swap.absorbed {
        match find(connection, &absorbed.key)? {
            Some(other) if other.version == absorbed.version => delete(connection, other.id)?,
            Some(_) | None => return Ok(Swapped::Conflict),
        }
    }
    match update_record(connection, found.id, found.origin, record) {
        Ok(()) => {}
        // The first statement that writes: nothing of the swap has to be undone.
        Err(error) if is_unique_violation(&error) && swap.absorbed.is_none() => {
            return Ok(Swapped::SettleIdTaken);
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(entry) = &swap.history {
        insert_history(connection, found.id, entry)?;
    }
    match swap.due {
        Due::Keep => {}
        Due::Remove => schedule::remove(connection, found.id)?,
        Due::Extend { lease } => schedule::extend(connection, found.id, now.plus(lease))?,
        Due::Release(release) => schedule::release(connection, found.id, release, now)?,
        Due::NotLater { wait } => {
            schedule::not_later(connection, found.id, &record.key.app_id, now.plus(wait))?;
        }
    }
    Ok(Swapped::Done)
}

/// Of a settle that is merged into another one nothing stays.
fn delete(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    for delete in [
        "DELETE FROM due WHERE settle = ?",
        "DELETE FROM history WHERE settle = ?",
        "DELETE FROM request WHERE settle = ?",
        "DELETE FROM settle WHERE id = ?",
    ] {
        connection.prepare_cached(delete)?.execute([id])?;
    }
    Ok(())
}

/// The only unique column that a swap changes is `settle_id`.
fn is_unique_violation(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
}

/// What a change of a settle must know of the row it changes.
pub(super) struct Found {
    pub(super) id: i64,
    version: i64,
    origin: OriginKind,
}

pub(super) static SELECT_FOUND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT id, {}, version, origin FROM settle
         WHERE app_id = ? AND trade_system = ? AND out_settle_no = ?",
        readable_sql(),
    )
});

/// The row under a key, for a change; refuses one that holds an unknown word.
pub(super) fn find(connection: &Connection, key: &Key) -> Result<Option<Found>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_FOUND)?;
    let key = params![key.app_id.as_str(), key.trade_system.word(), key.out_settle_no.as_str()];
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let mut cursor = Cursor::new(row);
    let id = cursor.int()?;
    if cursor.flag_opt()? != Some(true) {
        return Err(Fault::Unreadable("the settle holds an unknown word".to_owned()));
    }
    Ok(Some(Found { id, version: cursor.int()?, origin: cursor.word()? }))
}
