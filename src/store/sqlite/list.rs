//! Pages of recorded settles, and how many of them are open. Everything here walks an index in its
//! order and stops. It must not know how a record is stored.

use std::sync::LazyLock;

use rusqlite::Connection;
use rusqlite::types::ToSql;

use super::super::columns::Cursor;
use super::super::words::Word;
use super::super::{ListQuery, Listed, Position};
use super::columns::Fault;
use super::rows::record_by_row;
use crate::clock::Timestamp;
use crate::settle::{AppId, StateKind};

/// The most settles of one order that are looked at for a page of only some states. No index has
/// both order and state, because an order has few settles.
pub(super) const LOOKS_MAX: u32 = 2_000;

/// First the rest of the moment in which the last page ended, then what is older. With a comparison
/// of pairs SQLite would read everything of that moment. The index is named, so that the plan does
/// not depend on statistics that a tool left in the file.
fn select_newest(index: &str, filter: &str) -> String {
    let select = format!(
        "SELECT create_time_ms, id, state FROM settle INDEXED BY {index} WHERE app_id = ?1 {filter}"
    );
    format!(
        "{select} AND ?2 <= ?3 AND create_time_ms = ?3 AND id < ?4
         UNION ALL {select} AND create_time_ms >= ?2 AND create_time_ms < ?3
         ORDER BY 1 DESC, 2 DESC LIMIT ?5"
    )
}

pub(super) static SELECT_OF_STATE: LazyLock<String> =
    LazyLock::new(|| select_newest("settle_by_state", "AND state = ?6"));
pub(super) static SELECT_OF_ORDER: LazyLock<String> =
    LazyLock::new(|| select_newest("settle_by_order", "AND listed_order_no = ?6"));

pub(super) const SELECT_NEXT_APP: &str =
    "SELECT min(app_id) FROM settle INDEXED BY settle_by_state WHERE app_id > ?";
pub(super) const SELECT_NEXT_STATE: &str =
    "SELECT min(state) FROM settle INDEXED BY settle_by_state WHERE app_id = ? AND state > ?";
pub(super) const COUNT_OF_STATE: &str =
    "SELECT count(*) FROM settle INDEXED BY settle_by_state WHERE app_id = ? AND state = ?";

/// Where the settles of a page come from: those of an app in a span of time.
struct Stretch<'a> {
    connection: &'a Connection,
    app_id: &'a AppId,
    from: Timestamp,
    /// All of them are older than this.
    before: Position,
}

/// Where the settles of a page are.
struct Page {
    positions: Vec<Position>,
    next: Option<Position>,
}

/// Where a settle is, and the word of its state.
type Seen = (Position, String);

pub(super) fn list(connection: &Connection, query: &ListQuery) -> Result<Listed, Fault> {
    // All statements see one state of the database, so that a settle is read in the state in which
    // it was found.
    let snapshot = connection.unchecked_transaction()?;
    let settles_max = query.settles_max.max(1);
    let stretch = Stretch::of(connection, query);
    let page = match (&query.out_order_no, query.states.as_slice()) {
        (None, states) => stretch.of_states(states, settles_max)?,
        (Some(order), states) => stretch.of_order(order.as_str(), states, settles_max)?,
    };
    let records = page.positions.iter().map(|position| record_by_row(connection, position.row));
    let records = records.collect::<Result<Vec<_>, Fault>>()?;
    snapshot.finish()?;
    Ok(Listed { records, next: page.next })
}

impl<'a> Stretch<'a> {
    fn of(connection: &'a Connection, query: &'a ListQuery) -> Self {
        let newest = Position { create_time: Timestamp::from_ms(i64::MAX), row: i64::MAX };
        let until = query.until.map(|until| Position { create_time: until, row: i64::MIN });
        let before = until.unwrap_or(newest).min(query.after.unwrap_or(newest));
        let from = query.from.unwrap_or(Timestamp::from_ms(i64::MIN));
        Self { connection, app_id: &query.app_id, from, before }
    }

    /// Merges the newest settles of each state; of all states, if `states` is empty.
    fn of_states(&self, states: &[StateKind], settles_max: u32) -> Result<Page, Fault> {
        let mut words = states_of(self.connection, self.app_id)?;
        words.retain(|word| passes(states, word));
        let mut seen = Vec::new();
        for word in words {
            let looks_max = settles_max.saturating_add(1);
            seen.extend(self.newest(&SELECT_OF_STATE, Some(&word), looks_max)?);
        }
        seen.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        Ok(Page::cut(seen, settles_max))
    }

    /// Looks at a bounded number of settles, so a page of some states may be short.
    fn of_order(&self, order: &str, states: &[StateKind], settles_max: u32) -> Result<Page, Fault> {
        let enough = settles_max.saturating_add(1);
        let looks_max = if states.is_empty() { enough } else { enough.max(LOOKS_MAX) };
        let mut seen = self.newest(&SELECT_OF_ORDER, Some(order), looks_max)?;
        let all_seen = seen.len() < size(looks_max);
        let oldest = seen.last().map(|(position, _)| *position);
        seen.retain(|(_, word)| passes(states, word));
        let page = Page::cut(seen, settles_max);
        let next = if all_seen { page.next } else { page.next.or(oldest) };
        Ok(Page { next, ..page })
    }

    /// At most `looks_max` settles, from the newest on.
    fn newest(
        &self,
        select: &str,
        filter: Option<&str>,
        looks_max: u32,
    ) -> Result<Vec<Seen>, Fault> {
        let mut statement = self.connection.prepare_cached(select)?;
        let (app_id, from) = (self.app_id.as_str(), self.from.as_ms());
        let (time, row) = (self.before.create_time.as_ms(), self.before.row);
        let mut values: Vec<&dyn ToSql> = vec![&app_id, &from, &time, &row, &looks_max];
        values.extend(filter.as_ref().map(|filter| filter as &dyn ToSql));
        let mut rows = statement.query(values.as_slice())?;
        let mut seen = Vec::new();
        while let Some(row) = rows.next()? {
            let mut cursor = Cursor::new(row);
            seen.push((
                Position { create_time: cursor.time()?, row: cursor.int()? },
                cursor.text()?,
            ));
        }
        Ok(seen)
    }
}

impl Page {
    /// One more settle than the page holds shows that it is not the last page.
    fn cut(seen: Vec<Seen>, settles_max: u32) -> Self {
        let more = seen.len() > size(settles_max);
        let positions = seen.into_iter().map(|(position, _)| position);
        let positions: Vec<Position> = positions.take(size(settles_max)).collect();
        let next = if more { positions.last().copied() } else { None };
        Self { positions, next }
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A list of some states must not leave out a settle whose state this version does not know.
fn passes(states: &[StateKind], word: &str) -> bool {
    let known = StateKind::from_word(word);
    states.is_empty() || known.is_none_or(|state| states.contains(&state))
}

/// The states of the app's settles. SQLite probes its index once for each.
pub(super) fn states_of(connection: &Connection, app_id: &AppId) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached(SELECT_NEXT_STATE)?;
    let mut words: Vec<String> = Vec::new();
    loop {
        let last = words.last().map_or("", String::as_str);
        let mut rows = statement.query([app_id.as_str(), last])?;
        let next = rows.next()?.map(|row| Cursor::new(row).text_opt()).transpose()?.flatten();
        drop(rows);
        match next {
            Some(word) => words.push(word),
            None => return Ok(words),
        }
    }
}

/// The first app with a settle after this one, in the order of the index.
pub(super) fn next_app(
    connection: &Connection,
    after: Option<&AppId>,
) -> Result<Option<AppId>, Fault> {
    let mut statement = connection.prepare_cached(SELECT_NEXT_APP)?;
    let mut rows = statement.query([after.map_or("", AppId::as_str)])?;
    let next = rows.next()?.map(|row| Cursor::new(row).name_opt(AppId::parse)).transpose()?;
    Ok(next.flatten())
}

pub(super) fn open_settles(connection: &Connection) -> Result<Vec<(AppId, u64)>, Fault> {
    let snapshot = connection.unchecked_transaction()?;
    let mut open = Vec::new();
    let mut app = next_app(connection, None)?;
    while let Some(app_id) = app {
        let mut settles = 0;
        for word in states_of(connection, &app_id)? {
            if StateKind::from_word(&word).is_none_or(|state| !state.is_final()) {
                settles += count(connection, &app_id, &word)?;
            }
        }
        app = next_app(connection, Some(&app_id))?;
        if settles > 0 {
            open.push((app_id, settles));
        }
    }
    snapshot.finish()?;
    Ok(open)
}

fn count(connection: &Connection, app_id: &AppId, word: &str) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached(COUNT_OF_STATE)?;
    let settles: i64 = statement.query_row([app_id.as_str(), word], |row| row.get(0))?;
    Ok(settles.unsigned_abs())
}
