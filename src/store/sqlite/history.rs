//! The audit trail of a settle. Its first entries are lines in its row, the others are rows of
//! `late_history`.

use rusqlite::{Connection, params};

use super::super::columns::Cursor;
use super::super::rows::LateEntry;
use super::super::words::Word;
use super::columns::Fault;
use crate::settle::{HistoryEntry, Key};

pub(super) fn insert_late(
    connection: &Connection,
    key: &Key,
    entry: &LateEntry,
) -> rusqlite::Result<()> {
    let Key { app_id, trade_system, out_settle_no } = key;
    let (app_id, trade_system) = (app_id.as_str(), trade_system.word());
    let mut statement = connection.prepare_cached(INSERT_LATE)?;
    let values = params![entry.revision, entry.json, app_id, trade_system, out_settle_no.as_str()];
    statement.execute(values).map(|_| ())
}

pub(super) const INSERT_LATE: &str = "
    INSERT INTO late_history (settle, revision, entry)
    SELECT id, ?, ? FROM settle WHERE app_id = ? AND trade_system = ? AND out_settle_no = ?";
pub(super) const SELECT_HISTORY: &str = "
    SELECT id, history FROM settle WHERE app_id = ? AND trade_system = ? AND out_settle_no = ?";
pub(super) const SELECT_LATE: &str =
    "SELECT entry FROM late_history WHERE settle = ? ORDER BY revision LIMIT ?";

/// Oldest first.
pub(super) fn history_by_key(
    connection: &Connection,
    key: &Key,
    entries_max: u32,
) -> Result<Vec<HistoryEntry>, Fault> {
    let snapshot = connection.unchecked_transaction()?;
    let entries = read(connection, key, entries_max)?;
    snapshot.finish()?;
    Ok(entries)
}

fn read(connection: &Connection, key: &Key, entries_max: u32) -> Result<Vec<HistoryEntry>, Fault> {
    let mut entries = Vec::new();
    let mut entries_left = entries_max;
    let mut statement = connection.prepare_cached(SELECT_HISTORY)?;
    let key = params![key.app_id.as_str(), key.trade_system.word(), key.out_settle_no.as_str()];
    let mut rows = statement.query(key)?;
    let Some(row) = rows.next()? else { return Ok(entries) };
    let mut cursor = Cursor::new(row);
    let (id, lines) = (cursor.int()?, cursor.text()?);
    for line in lines.lines() {
        let Some(left) = entries_left.checked_sub(1) else { break };
        entries.push(cursor.parsed(line)?);
        entries_left = left;
    }
    let mut statement = connection.prepare_cached(SELECT_LATE)?;
    let mut rows = statement.query(params![id, entries_left])?;
    while let Some(row) = rows.next()? {
        let mut cursor = Cursor::new(row);
        let json = cursor.text()?;
        entries.push(cursor.parsed(&json)?);
    }
    Ok(entries)
}
