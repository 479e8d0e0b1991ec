//! Pages of recorded settles, and how many of them are open. Everything here walks an index in its
//! order and stops. The records of a page are read by one statement, so they are of one state of
//! the database.

use std::sync::LazyLock;

use tokio_postgres::Row;

use super::super::columns::{Cursor, Value};
use super::super::list::LOOKS_MAX;
use super::super::rows::{READ, key_values};
use super::super::words::{OriginKind, Word as _, readable_sql, state_in_sql};
use super::super::{Error, ListQuery, Listed, Position};
use super::fault::Fault;
use super::generation::Basis;
use super::{Postgres, record};
use crate::clock::Timestamp;
use crate::settle::{AppId, HistoryEntry, Key, StateKind};

/// The columns of a record, its row, and the generation of the store, which is null if that is
/// closed.
fn columns() -> String {
    format!("{}, id, {GENERATION} AS generation", READ.join(", "))
}

const GENERATION: &str = "(SELECT generation FROM store_state WHERE closed IS NULL)";

/// A statement for [`Postgres::records`].
pub(super) fn select(condition: &str) -> String {
    format!("SELECT {} FROM settle WHERE {condition}", columns())
}

/// What a page has in common with the others. Parameters: the app, the moment of its oldest settle
/// (whose row is the seventh one), the moment and row before which the page is, the most settles,
/// the words of the states, each with a comma before and after it, or nothing, and the eighth: the
/// word of the trade system, or nothing.
const WITHIN: &str = "app_id = $1 AND (create_time_ms, id) >= ($2, $7)
                      AND (create_time_ms, id) < ($3, $4)";
const OF_SYSTEM: &str = "($8 = '' OR trade_system = $8)";
const NEWEST_FIRST: &str = "ORDER BY create_time_ms DESC, id DESC";

/// A list of some states must not leave out a settle whose state this version does not know.
fn passes(state: &str) -> String {
    let known: Vec<&str> = StateKind::ALL.iter().map(|kind| kind.word()).collect();
    format!(
        "($6 = '' OR strpos($6, ',' || {state} || ',') > 0 OR {state} NOT IN ('{}'))",
        known.join("', '"),
    )
}

/// Merges what `select` finds in each state. The states are found by one probe of the index each.
fn merged(select: &str) -> String {
    format!(
        "WITH RECURSIVE words (state) AS (
             SELECT min(state) FROM settle WHERE app_id = $1
             UNION ALL
             SELECT (SELECT min(next.state) FROM settle AS next
                     WHERE next.app_id = $1 AND next.state > words.state)
             FROM words WHERE words.state IS NOT NULL
         ) SELECT page.* FROM words CROSS JOIN LATERAL ({select}) AS page
         WHERE words.state IS NOT NULL AND {} {NEWEST_FIRST}",
        passes("words.state"),
    )
}

static SELECT_OF_STATES: LazyLock<String> = LazyLock::new(|| {
    let of_state = select(&format!(
        "{WITHIN} AND settle.state = words.state AND {OF_SYSTEM} {NEWEST_FIRST} LIMIT $5"
    ));
    format!("{} LIMIT $5", merged(&of_state))
});

/// Where the look for a page of one trade system ends: at the settle, of any system, that is as
/// many as the fifth parameter says behind the first one in its state.
static SELECT_END: LazyLock<String> = LazyLock::new(|| {
    let of_state = format!(
        "SELECT create_time_ms, id FROM settle
         WHERE {WITHIN} AND settle.state = words.state {NEWEST_FIRST} OFFSET $5 LIMIT 1"
    );
    format!("{} LIMIT 1", merged(&of_state))
});

/// An order has few settles, so no index has both order and state.
static SELECT_OF_ORDER: LazyLock<String> = LazyLock::new(|| {
    let passes = passes("state");
    let within = format!("{WITHIN} AND listed_order_no = $9 AND {passes} AND {OF_SYSTEM}");
    select(&format!("{within} {NEWEST_FIRST} LIMIT $5"))
});

/// Every pair of an app and a state is found by one probe of the index.
static COUNT_OPEN: LazyLock<String> = LazyLock::new(|| {
    let is_final = state_in_sql(StateKind::is_final).replace("settle.", "pairs.");
    format!(
        "WITH RECURSIVE pairs AS (
             (SELECT app_id, state FROM settle ORDER BY app_id, state LIMIT 1)
             UNION ALL
             SELECT next.* FROM pairs CROSS JOIN LATERAL (
                 SELECT app_id, state FROM settle
                 WHERE (app_id, state) > (pairs.app_id, pairs.state)
                 ORDER BY app_id, state LIMIT 1
             ) AS next
         ) SELECT app_id, sum(settles)::bigint FROM pairs CROSS JOIN LATERAL (
             SELECT count(*) AS settles FROM settle
             WHERE settle.app_id = pairs.app_id AND settle.state = pairs.state
         ) AS counted WHERE NOT {is_final} GROUP BY app_id ORDER BY app_id"
    )
});

static COUNT_OF_CALLERS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT count(*) FROM settle WHERE {} AND origin = '{}' AND {}",
        state_in_sql(|state| !state.is_final()),
        OriginKind::Gateway.word(),
        readable_sql(),
    )
});

/// An entry is one line.
const SELECT_HISTORY: &str = "
    SELECT history || coalesce((
        SELECT string_agg(entry, E'\\n' ORDER BY revision) FROM (
            SELECT entry, revision FROM late_history
            WHERE late_history.settle = settle.id ORDER BY revision LIMIT $4
        ) AS late), '') AS history
    FROM settle WHERE app_id = $1 AND trade_system = $2 AND out_settle_no = $3";

impl Postgres {
    pub(in crate::store) async fn list(&self, query: &ListQuery) -> Result<Listed, Error> {
        self.page(query).await.map_err(Fault::nothing_durable)
    }

    async fn page(&self, query: &ListQuery) -> Result<Listed, Fault> {
        let settles_max = query.settles_max.max(1);
        let newest = Position { create_time: Timestamp::from_ms(i64::MAX), row: i64::MAX };
        let until = query.until.map(|until| Position { create_time: until, row: i64::MIN });
        let before = until.unwrap_or(newest).min(query.after.unwrap_or(newest));
        let from = query.from.unwrap_or(Timestamp::from_ms(i64::MIN));
        let from = Position { create_time: from, row: i64::MIN };
        let words = query.states.iter().map(|state| format!(",{},", state.word()));
        let words: String = words.collect();
        let values = |from: Position, count: u32| {
            vec![
                Value::from(query.app_id.as_str()),
                from.create_time.into(),
                before.create_time.into(),
                before.row.into(),
                count.into(),
                words.as_str().into(),
                from.row.into(),
            ]
        };
        // A settle that changes meanwhile is found by the second statement.
        let end = match (&query.out_order_no, query.trade_system) {
            (None, Some(_)) => {
                let looks_max = settles_max.max(LOOKS_MAX - 1);
                let rows = self.read(&SELECT_END, &values(from, looks_max)).await?;
                rows.first().map(position).transpose()?
            }
            (Some(_), _) | (None, None) => None,
        };
        // One more settle than the page holds shows that it is not the last page.
        let mut values = values(end.unwrap_or(from), settles_max.saturating_add(1));
        values.push(query.trade_system.map_or("", |system| system.word()).into());
        let sql = match &query.out_order_no {
            None => &SELECT_OF_STATES,
            Some(order) => {
                values.push(order.as_str().into());
                &SELECT_OF_ORDER
            }
        };
        let (rows, basis) = self.records(sql, &values).await?;
        let size = usize::try_from(settles_max).unwrap_or(usize::MAX);
        let page = rows.iter().take(size).map(|row| record_of(row, basis));
        let records = page.collect::<Result<Vec<_>, Fault>>()?;
        let last = rows.get(size - 1).filter(|_| rows.len() > size);
        Ok(Listed { records, next: last.map(position).transpose()?.or(end) })
    }

    pub(in crate::store) async fn open_settles(&self) -> Result<Vec<(AppId, u64)>, Error> {
        let counted = async {
            let rows = self.read(&COUNT_OPEN, &[]).await?;
            let count = |row: &Row| {
                let mut cursor = Cursor::new(row);
                Ok((cursor.name(AppId::parse)?, cursor.int()?.unsigned_abs()))
            };
            rows.iter().map(count).collect::<Result<_, Fault>>()
        };
        counted.await.map_err(Fault::nothing_durable)
    }

    pub(super) async fn open_settles_of_callers(&self) -> Result<usize, Fault> {
        let rows = self.read(&COUNT_OF_CALLERS, &[]).await?;
        let count = rows.first().map(|row| Cursor::new(row).int()).transpose()?;
        Ok(usize::try_from(count.unwrap_or(0)).unwrap_or(usize::MAX))
    }

    pub(in crate::store) async fn history(
        &self,
        key: &Key,
        entries_max: u32,
    ) -> Result<Vec<HistoryEntry>, Error> {
        self.entries(key, entries_max).await.map_err(Fault::nothing_durable)
    }

    async fn entries(&self, key: &Key, entries_max: u32) -> Result<Vec<HistoryEntry>, Fault> {
        let mut values = Vec::from(key_values(key));
        values.push(entries_max.into());
        let rows = self.read(SELECT_HISTORY, &values).await?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        let mut cursor = Cursor::new(row);
        let lines = cursor.text()?;
        let size = usize::try_from(entries_max).unwrap_or(usize::MAX);
        let entries = lines.lines().take(size).map(|line| cursor.parsed(line));
        Ok(entries.collect::<Result<_, _>>()?)
    }
}

/// The error names the row, for the operator who must look at it.
pub(super) fn record_of(row: &Row, basis: Basis) -> Result<crate::settle::Record, Fault> {
    record(row, basis).map_err(|fault| match (fault, row.try_get::<_, i64>("id")) {
        (Fault::Unreadable(what), Ok(id)) => {
            Fault::Unreadable(format!("{what} (settle.id = {id})"))
        }
        (fault, _) => fault,
    })
}

/// Where a row that [`select`] reads is in a list.
pub(super) fn position(row: &Row) -> Result<Position, Fault> {
    let told = |error: tokio_postgres::Error| Fault::Unreadable(error.to_string());
    let create_time = Timestamp::from_ms(row.try_get("create_time_ms").map_err(told)?);
    Ok(Position { create_time, row: row.try_get("id").map_err(told)? })
}
