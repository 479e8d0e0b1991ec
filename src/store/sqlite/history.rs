//! The audit trail of a settle as rows.

use rusqlite::{Connection, params};

use super::columns::{Binder, Cursor, Fault};
use super::words::{Word, failure_json};
use crate::settle::{HistoryEntry, Key};

pub(super) fn insert_history(
    connection: &Connection,
    id: i64,
    entry: &HistoryEntry,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO history (settle, revision, state, source, log_id, error, time_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    let mut binder = Binder::new(&mut statement);
    binder.put(id)?;
    binder.put(entry.revision)?;
    binder.put(entry.state.word())?;
    binder.put(entry.source.word())?;
    binder.put(entry.log_id.as_deref())?;
    binder.put(entry.error.as_ref().map(failure_json))?;
    binder.time(entry.time)?;
    binder.execute()?;
    Ok(())
}

pub(super) const SELECT_HISTORY: &str = "
    SELECT history.revision, history.state, history.source, history.log_id, history.error,
           history.time_ms
    FROM settle CROSS JOIN history ON history.settle = settle.id
    WHERE settle.app_id = ? AND settle.trade_system = ? AND settle.out_settle_no = ?
    ORDER BY history.revision LIMIT ?";

/// Oldest first.
pub(super) fn history_by_key(
    connection: &Connection,
    key: &Key,
    entries_max: u32,
) -> Result<Vec<HistoryEntry>, Fault> {
    let mut statement = connection.prepare_cached(SELECT_HISTORY)?;
    let mut rows = statement.query(params![
        key.app_id.as_str(),
        key.trade_system.word(),
        key.out_settle_no.as_str(),
        entries_max,
    ])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cursor = Cursor::new(row);
        entries.push(HistoryEntry {
            revision: cursor.int()?,
            state: cursor.word()?,
            source: cursor.word()?,
            log_id: cursor.text_opt()?,
            error: cursor.failure_opt()?,
            time: cursor.time()?,
        });
    }
    Ok(entries)
}
