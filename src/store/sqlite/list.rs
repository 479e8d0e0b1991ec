//! Pages of recorded settles, and how many of them are open. Everything here walks an index in its
//! order and stops. It must not know how a record is stored.

use std::sync::LazyLock;

use rusqlite::{Connection, params};

use super::super::columns::Cursor;
use super::super::list::LOOKS_MAX;
use super::super::words::Word;
use super::super::{ListQuery, Listed, Position};
use super::columns::Fault;
use super::rows::record_by_row;
use crate::clock::Timestamp;
use crate::settle::{AppId, StateKind};

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

pub(super) const SELECT_SYSTEM: &str = "SELECT trade_system FROM settle WHERE id = ?";
pub(super) const SELECT_NEXT_APP: &str =
    "SELECT min(app_id) FROM settle INDEXED BY settle_by_state WHERE app_id > ?";
pub(super) const SELECT_NEXT_STATE: &str =
    "SELECT min(state) FROM settle INDEXED BY settle_by_state WHERE app_id = ? AND state > ?";
pub(super) const COUNT_OF_STATE: &str =
    "SELECT count(*) FROM settle INDEXED BY settle_by_state WHERE app_id = ? AND state = ?";

/// Where the settles of a page come from: those of an app in a span of time.
struct Stretch<'a> {
    connection: &'a Connection,
    query: &'a ListQuery,
    from: Timestamp,
    /// All of them are older than this.
    before: Position,
}

/// Where a settle is, and the word of its state.
type Seen = (Position, String);

pub(super) fn list(connection: &Connection, query: &ListQuery) -> Result<Listed, Fault> {
    // All statements see one state of the database, so that a settle is read in the state in which
    // it was found.
    let snapshot = connection.unchecked_transaction()?;
    let (positions, next) = Stretch::of(connection, query).page()?;
    let records = positions.iter().map(|position| record_by_row(connection, position.row));
    let records = records.collect::<Result<Vec<_>, Fault>>()?;
    snapshot.finish()?;
    Ok(Listed { records, next })
}

impl<'a> Stretch<'a> {
    fn of(connection: &'a Connection, query: &'a ListQuery) -> Self {
        let newest = Position { create_time: Timestamp::from_ms(i64::MAX), row: i64::MAX };
        let until = query.until.map(|until| Position { create_time: until, row: i64::MIN });
        let before = until.unwrap_or(newest).min(query.after.unwrap_or(newest));
        let from = query.from.unwrap_or(Timestamp::from_ms(i64::MIN));
        Self { connection, query, from, before }
    }

    /// Where the settles of the page are, and where it ended. The index has those of one order, or
    /// those of each state, which are merged. Whether they pass the filters that it does not have
    /// is looked at for a bounded number of settles, so such a page may be short.
    fn page(&self) -> Result<(Vec<Position>, Option<Position>), Fault> {
        let ListQuery { out_order_no, trade_system, states, settles_max, .. } = self.query;
        let settles_max = *settles_max.max(&1);
        let (select, words, all_pass) = match out_order_no {
            None => (&SELECT_OF_STATE, self.states()?, true),
            Some(order) => (&SELECT_OF_ORDER, vec![order.as_str().to_owned()], states.is_empty()),
        };
        let all_pass = all_pass && trade_system.is_none();
        let enough = settles_max.saturating_add(1);
        let looks_max = if all_pass { enough } else { enough.max(LOOKS_MAX) };
        let (mut seen, mut end) = (Vec::new(), None);
        for word in words {
            let newest = self.newest(select, &word, looks_max)?;
            if newest.len() == size(looks_max) {
                end = end.max(newest.last().map(|(position, _)| *position));
            }
            seen.extend(newest);
        }
        // What is older may come after settles that were not looked at.
        seen.retain(|(position, word)| Some(*position) >= end && passes(states, word));
        seen.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        let mut positions = Vec::new();
        for (position, _) in seen {
            if self.is_of_system(position)? {
                positions.push(position);
            }
            // One more than the page holds shows that it is not the last page.
            if positions.len() > size(settles_max) {
                positions.pop();
                end = positions.last().copied();
                break;
            }
        }
        Ok((positions, end))
    }

    /// The words of the states that are asked for.
    fn states(&self) -> Result<Vec<String>, Fault> {
        let mut words = states_of(self.connection, &self.query.app_id)?;
        words.retain(|word| passes(&self.query.states, word));
        Ok(words)
    }

    fn is_of_system(&self, position: Position) -> Result<bool, Fault> {
        let Some(trade_system) = self.query.trade_system else { return Ok(true) };
        let mut statement = self.connection.prepare_cached(SELECT_SYSTEM)?;
        let word: String = statement.query_row([position.row], |row| row.get(0))?;
        Ok(word == trade_system.word())
    }

    /// At most `looks_max` settles, from the newest on.
    fn newest(&self, select: &str, filter: &str, looks_max: u32) -> Result<Vec<Seen>, Fault> {
        let mut statement = self.connection.prepare_cached(select)?;
        let (app_id, from) = (self.query.app_id.as_str(), self.from.as_ms());
        let (time, row) = (self.before.create_time.as_ms(), self.before.row);
        let mut rows = statement.query(params![app_id, from, time, row, looks_max, filter])?;
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
