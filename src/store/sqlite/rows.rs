//! The rows of `settle` in SQLite's words: how they are found, read and bound.

use std::sync::LazyLock;

use rusqlite::{Connection, Row, params};

use super::super::columns::Cursor;
use super::super::rows::{
    CHANGING, CREATED, CREATED_BY_DEFAULT, FIXED, OF_ORIGIN, READ, SCHEDULE, Spelled, key_values,
    read_record,
};
use super::super::words::Word;
use super::columns::{Binder, Fault};
use crate::settle::{AppId, Key, Record, SettleId, TradeSystem};

/// A caller's create is not inserted if one has its number elsewhere. There is one writer, so this
/// needs no unique index, which every insert would have to write.
pub(super) static INSERT_SETTLE: LazyLock<String> = LazyLock::new(|| {
    let columns = FIXED.iter().chain(&OF_ORIGIN).chain(&CHANGING).chain(&SCHEDULE);
    let columns: Vec<&str> = columns.copied().collect();
    let marks: Vec<String> = (1..=columns.len()).map(|place| format!("?{place}")).collect();
    let new = |name| {
        let place = columns.iter().position(|column| *column == name);
        marks[place.expect("it is one of the columns")].as_str()
    };
    format!(
        "INSERT INTO settle ({})
         SELECT {} WHERE {} <> 'GATEWAY' OR NOT EXISTS (
             SELECT 1 FROM settle WHERE out_settle_no = {} AND {CREATED}
             AND (app_id = {} OR {} IS NOT NULL AND by_default_app IS NOT NULL))
         ON CONFLICT DO NOTHING",
        columns.join(", "),
        marks.join(", "),
        new("origin"),
        new("out_settle_no"),
        new("app_id"),
        new("by_default_app"),
    )
});

/// A statement of its own, so that no other write has to update this index.
const UPDATE_ORIGIN: &str =
    "UPDATE settle SET origin = ?, request = ?, body = ?, by_default_app = ?, listed_order_no = ?
     WHERE id = ?";

fn select_record(condition: &str) -> String {
    format!("SELECT {} FROM settle WHERE {condition}", READ.join(", "))
}

pub(super) static SELECT_BY_KEY: LazyLock<String> =
    LazyLock::new(|| select_record("app_id = ? AND trade_system = ? AND out_settle_no = ?"));

pub(super) static SELECT_BY_ROW: LazyLock<String> = LazyLock::new(|| select_record("id = ?"));

pub(super) static SELECT_BY_SETTLE_ID: LazyLock<String> =
    LazyLock::new(|| select_record("app_id = ? AND trade_system = ? AND settle_id = ?"));

pub(super) fn record_by_key(connection: &Connection, key: &Key) -> Result<Option<Record>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_BY_KEY)?;
    let key = params![key.app_id.as_str(), key.trade_system.word(), key.out_settle_no.as_str()];
    let mut rows = statement.query(key)?;
    rows.next()?.map(read).transpose()
}

pub(super) fn record_by_settle_id(
    connection: &Connection,
    app_id: &AppId,
    trade_system: TradeSystem,
    settle_id: &SettleId,
) -> Result<Option<Record>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_BY_SETTLE_ID)?;
    let mut rows = statement.query([app_id.as_str(), trade_system.word(), settle_id.as_str()])?;
    rows.next()?.map(read).transpose()
}

pub(super) static SELECT_ELSEWHERE: LazyLock<String> = LazyLock::new(|| {
    select_record(&format!("{CREATED} AND app_id = ? AND out_settle_no = ? AND trade_system <> ?"))
});

pub(super) static SELECT_OF_DEFAULT_APP: LazyLock<String> = LazyLock::new(|| {
    select_record(&format!("{CREATED_BY_DEFAULT} AND out_settle_no = ? AND app_id <> ?"))
});

/// See [`Store::elsewhere`](crate::store::Store::elsewhere).
pub(super) fn record_elsewhere(
    connection: &Connection,
    key: &Key,
    by_default_app: bool,
) -> Result<Option<Record>, Fault> {
    let (app_id, number) = (key.app_id.as_str(), key.out_settle_no.as_str());
    let mut statement = connection.prepare_cached(&SELECT_ELSEWHERE)?;
    let mut rows = statement.query([app_id, number, key.trade_system.word()])?;
    if let Some(row) = rows.next()? {
        return read(row).map(Some);
    }
    if !by_default_app {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(&SELECT_OF_DEFAULT_APP)?;
    let mut rows = statement.query([number, app_id])?;
    rows.next()?.map(read).transpose()
}

/// The record of a row that was found just now in the same transaction.
pub(super) fn record_by_row(connection: &Connection, id: i64) -> Result<Record, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_BY_ROW)?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.expect("a transaction sees its rows until it ends");
    read(row).map_err(|fault| fault.in_row(id))
}

fn read(row: &Row<'_>) -> Result<Record, Fault> {
    Ok(read_record(&mut Cursor::new(row))?)
}

pub(super) fn bind_key(binder: &mut Binder<'_, '_>, key: &Key) -> rusqlite::Result<()> {
    binder.put_all(&key_values(key))
}

/// In the order of [`INSERT_SETTLE`], without the schedule.
pub(super) fn bind_new(binder: &mut Binder<'_, '_>, settle: &Spelled) -> rusqlite::Result<()> {
    binder.put_all(&settle.fixed())?;
    binder.put_all(&settle.of_origin(settle.request().as_deref()))?;
    binder.put_all(&settle.changing())
}

pub(super) fn update_origin(
    connection: &Connection,
    id: i64,
    settle: &Spelled,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(UPDATE_ORIGIN)?;
    let mut binder = Binder::new(&mut statement);
    binder.put_all(&settle.of_origin(settle.request().as_deref()))?;
    binder.put(id)?;
    binder.execute().map(|_| ())
}
