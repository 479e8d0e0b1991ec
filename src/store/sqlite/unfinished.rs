//! Pages of the settles that are not final, are in a state that this version does not know, or are
//! final with an open contradiction. Everything here walks an index in its order and stops.

use rusqlite::{Connection, params};

use super::super::columns::Cursor;
use super::super::sweep::OLDEST;
use super::super::words::Word;
use super::super::{Position, Unfinished, UnfinishedCursor, UnfinishedPage};
use super::columns::Fault;
use super::list::{next_app, states_of};
use super::rows::record_by_row;
use crate::settle::{AppId, Key, OutSettleNo, StateKind, TradeSystem};

pub(super) const SELECT_IN_STATE: &str = "
    SELECT create_time_ms, id FROM settle INDEXED BY settle_by_state
    WHERE app_id = ?1 AND state = ?2 AND create_time_ms = ?3 AND id > ?4
    UNION ALL
    SELECT create_time_ms, id FROM settle INDEXED BY settle_by_state
    WHERE app_id = ?1 AND state = ?2 AND create_time_ms > ?3
    ORDER BY 1, 2 LIMIT ?5";
pub(super) const SELECT_DISPUTED: &str = "
    SELECT id FROM settle INDEXED BY settle_by_open_contradiction
    WHERE app_id = ?1 AND id > ?2
        AND contradiction_claimed IS NOT NULL AND contradiction_resolved_ms IS NULL
    ORDER BY id LIMIT ?3";
const SELECT_KEY: &str = "SELECT app_id, trade_system, out_settle_no FROM settle WHERE id = ?";

pub(super) fn unfinished(
    connection: &Connection,
    from: &UnfinishedCursor,
    rows_max: u32,
) -> Result<UnfinishedPage, Fault> {
    // All statements see one state of the database, so that a settle is read in the state in which
    // it was found.
    let snapshot = connection.unchecked_transaction()?;
    let rows_max = rows_max.max(1);
    let (settles, next) = match from {
        UnfinishedCursor::App { after } => (Vec::new(), first_of_app(connection, after.as_ref())?),
        UnfinishedCursor::State { app_id, state, after } => {
            let rows = in_state(connection, app_id, state, *after, rows_max)?;
            let last = rows.last().copied().filter(|_| is_full(&rows, rows_max));
            let next = match last {
                Some(after) => {
                    let (app_id, state) = (app_id.clone(), state.clone());
                    UnfinishedCursor::State { app_id, state, after }
                }
                None => next_state(connection, app_id, Some(state))?,
            };
            (read(connection, rows.iter().map(|position| position.row), |_| true)?, Some(next))
        }
        UnfinishedCursor::Disputed { app_id, after_row } => {
            let rows = disputed(connection, app_id, *after_row, rows_max)?;
            let last = rows.last().copied().filter(|_| is_full(&rows, rows_max));
            let next = match last {
                Some(after_row) => UnfinishedCursor::Disputed { app_id: app_id.clone(), after_row },
                None => UnfinishedCursor::App { after: Some(app_id.clone()) },
            };
            // The other contradictions belong to settles that were read by their states.
            (read(connection, rows.into_iter(), StateKind::is_final)?, Some(next))
        }
    };
    snapshot.finish()?;
    Ok(UnfinishedPage { settles, next })
}

fn is_full<T>(rows: &[T], rows_max: u32) -> bool {
    u32::try_from(rows.len()).is_ok_and(|rows| rows >= rows_max)
}

fn first_of_app(
    connection: &Connection,
    after: Option<&AppId>,
) -> Result<Option<UnfinishedCursor>, Fault> {
    let app_id = next_app(connection, after)?;
    app_id.map(|app_id| next_state(connection, &app_id, None)).transpose()
}

/// The next state of the app that is not known to be final; after the last one the contradictions.
fn next_state(
    connection: &Connection,
    app_id: &AppId,
    after: Option<&str>,
) -> Result<UnfinishedCursor, Fault> {
    let states = states_of(connection, app_id)?;
    let state = states.into_iter().find(|state| {
        after.is_none_or(|after| after < state.as_str())
            && StateKind::from_word(state).is_none_or(|state| !state.is_final())
    });
    let app_id = app_id.clone();
    Ok(match state {
        Some(state) => UnfinishedCursor::State { app_id, state, after: OLDEST },
        None => UnfinishedCursor::Disputed { app_id, after_row: i64::MIN },
    })
}

fn in_state(
    connection: &Connection,
    app_id: &AppId,
    state: &str,
    after: Position,
    rows_max: u32,
) -> Result<Vec<Position>, Fault> {
    let mut statement = connection.prepare_cached(SELECT_IN_STATE)?;
    let (time, row) = (after.create_time.as_ms(), after.row);
    let mut rows = statement.query(params![app_id.as_str(), state, time, row, rows_max])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cursor = Cursor::new(row);
        found.push(Position { create_time: cursor.time()?, row: cursor.int()? });
    }
    Ok(found)
}

fn disputed(
    connection: &Connection,
    app_id: &AppId,
    after_row: i64,
    rows_max: u32,
) -> Result<Vec<i64>, Fault> {
    let mut statement = connection.prepare_cached(SELECT_DISPUTED)?;
    let rows = statement.query_map(params![app_id.as_str(), after_row, rows_max], |row| row.get(0));
    Ok(rows?.collect::<rusqlite::Result<_>>()?)
}

fn read(
    connection: &Connection,
    rows: impl Iterator<Item = i64>,
    wanted: fn(StateKind) -> bool,
) -> Result<Vec<Unfinished>, Fault> {
    let mut settles = Vec::new();
    for row in rows {
        match record_by_row(connection, row) {
            Ok(record) if wanted(record.state.kind()) => {
                settles.push(Unfinished::Settle(Box::new(record)));
            }
            Ok(_) => {}
            Err(Fault::Unreadable(_)) => {
                settles.push(Unfinished::Unreadable(key(connection, row)?))
            }
            Err(fault @ Fault::Sqlite(_)) => return Err(fault),
        }
    }
    Ok(settles)
}

/// The key of a row that cannot be read. If its trade system is what is new in it, it is shown in
/// the general one.
fn key(connection: &Connection, row: i64) -> Result<Key, Fault> {
    let mut statement = connection.prepare_cached(SELECT_KEY)?;
    let mut rows = statement.query([row])?;
    let found = rows.next()?.expect("a transaction sees its rows until it ends");
    let mut cursor = Cursor::new(found);
    Ok(Key {
        app_id: cursor.name(AppId::parse)?,
        trade_system: TradeSystem::from_word(&cursor.text()?).unwrap_or(TradeSystem::General),
        out_settle_no: cursor.name(OutSettleNo::reported)?,
    })
}
