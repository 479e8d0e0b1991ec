//! Finds settles and due rows that do not fit together, and repairs them. Only a bug or another
//! program makes such rows, so a sweep reads with a reader, and uses the writer only if it found
//! one. The writer then looks again.

use std::sync::LazyLock;

use rusqlite::{Connection, params};

use super::super::columns::Cursor;
use super::super::words::{Word, readable_sql, state_in_sql};
use super::super::{DuePosition, Position, SweepCursor, Swept};
use super::columns::Fault;
use super::list::next_app;
use super::schedule::remove;
use crate::clock::Timestamp;
use crate::settle::{AppId, StateKind};

/// The condition that the due row is not needed. A running lease is left to its holder.
static SUPERFLUOUS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} AND owes_query = 0 AND (lease_until_ms <= ?2) IS NOT FALSE AND {}",
        state_in_sql(StateKind::is_final),
        readable_sql(),
    )
});

/// The rest of the moment in which the last sweep ended, then what is due later.
pub(super) static SELECT_DUE_ROWS: LazyLock<String> = LazyLock::new(|| {
    let select = format!(
        "SELECT due_at_ms, id, {} FROM settle INDEXED BY settle_by_due WHERE app_id = ?1",
        *SUPERFLUOUS,
    );
    format!(
        "{select} AND due_at_ms = ?3 AND id > ?4 UNION ALL {select} AND due_at_ms > ?3
         ORDER BY 1, 2 LIMIT ?5"
    )
});

pub(super) static SELECT_SUPERFLUOUS: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT 1 FROM settle WHERE id = ?1 AND due_at_ms IS NOT NULL AND {}", *SUPERFLUOUS)
});

/// The rest of the moment in which the last sweep ended, then what is newer.
pub(super) static SELECT_OPEN: LazyLock<String> = LazyLock::new(|| {
    let select = "
        SELECT create_time_ms, id, due_at_ms IS NULL
        FROM settle INDEXED BY settle_by_state WHERE app_id = ?1 AND state = ?2";
    format!(
        "{select} AND create_time_ms = ?3 AND id > ?4
         UNION ALL {select} AND create_time_ms > ?3
         ORDER BY 1, 2 LIMIT ?5"
    )
});

pub(super) static UPDATE_MISSING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE settle SET due_at_ms = ?2 WHERE id = ?1 AND due_at_ms IS NULL AND {} AND {}",
        state_in_sql(|state| !state.is_final()),
        readable_sql(),
    )
});

/// What a sweep found, and where it stopped.
pub(super) struct Looked {
    /// Settles that seem to need a due row.
    missing: Vec<i64>,
    /// Settles that seem not to need theirs.
    superfluous: Vec<i64>,
    /// `None`: the round is complete.
    next: Option<SweepCursor>,
}

impl Looked {
    pub(super) fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.superfluous.is_empty()
    }

    /// What to answer if this many were really repaired.
    pub(super) fn swept(&self, missing: u32, superfluous: u32) -> Swept {
        let next = self.next.clone().unwrap_or_default();
        Swept { missing, superfluous, next, wrapped: self.next.is_none() }
    }
}

pub(super) fn look(
    connection: &Connection,
    now: Timestamp,
    from: SweepCursor,
    rows_max: u32,
) -> Result<Looked, Fault> {
    let (missing, superfluous) = (Vec::new(), Vec::new());
    let mut walk = Walk { connection, now, rows_left: rows_max, missing, superfluous };
    let mut next = Some(from);
    while let Some(from) = next.take_if(|_| walk.rows_left > 0) {
        next = match from {
            SweepCursor::App { after } => walk.next_app(after.as_ref())?,
            SweepCursor::Due { app_id, after } => Some(walk.due_rows(app_id, after)?),
            SweepCursor::Open { app_id, state, after } => Some(walk.open(app_id, state, after)?),
        };
    }
    Ok(Looked { missing: walk.missing, superfluous: walk.superfluous, next })
}

/// The state of one sweep while it looks. Each step begins where the last one ended, and says where
/// the next one begins.
struct Walk<'a> {
    connection: &'a Connection,
    now: Timestamp,
    rows_left: u32,
    missing: Vec<i64>,
    superfluous: Vec<i64>,
}

impl Walk<'_> {
    /// Finding an app counts as a row.
    fn next_app(&mut self, after: Option<&AppId>) -> Result<Option<SweepCursor>, Fault> {
        self.rows_left -= 1;
        let app_id = next_app(self.connection, after)?;
        let after = DuePosition { due_at: OLDEST.create_time, row: OLDEST.row };
        Ok(app_id.map(|app_id| SweepCursor::Due { app_id, after }))
    }

    fn due_rows(&mut self, app_id: AppId, after: DuePosition) -> Result<SweepCursor, Fault> {
        let mut statement = self.connection.prepare_cached(&SELECT_DUE_ROWS)?;
        let (now, due_at) = (self.now.as_ms(), after.due_at.as_ms());
        let values = params![app_id.as_str(), now, due_at, after.row, self.rows_left];
        let mut rows = statement.query(values)?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let mut cursor = Cursor::new(row);
            let position = DuePosition { due_at: cursor.time()?, row: cursor.int()? };
            if cursor.flag_opt()? == Some(true) {
                self.superfluous.push(position.row);
            }
            self.rows_left -= 1;
            last = Some(position);
        }
        if let (Some(after), 0) = (last, self.rows_left) {
            return Ok(SweepCursor::Due { app_id, after });
        }
        let first = next_open(None).expect("a settle is not final when it begins");
        Ok(SweepCursor::Open { app_id, state: first, after: OLDEST })
    }

    fn open(
        &mut self,
        app_id: AppId,
        state: StateKind,
        after: Position,
    ) -> Result<SweepCursor, Fault> {
        let mut statement = self.connection.prepare_cached(&SELECT_OPEN)?;
        let mut rows = statement.query(params![
            app_id.as_str(),
            state.word(),
            after.create_time.as_ms(),
            after.row,
            self.rows_left,
        ])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let mut cursor = Cursor::new(row);
            let position = Position { create_time: cursor.time()?, row: cursor.int()? };
            if cursor.flag_opt()? == Some(true) {
                self.missing.push(position.row);
            }
            self.rows_left -= 1;
            last = Some(position);
        }
        if let (Some(after), 0) = (last, self.rows_left) {
            return Ok(SweepCursor::Open { app_id, state, after });
        }
        Ok(match next_open(Some(state)) {
            Some(state) => SweepCursor::Open { app_id, state, after: OLDEST },
            None => SweepCursor::App { after: Some(app_id) },
        })
    }
}

/// Before every settle of an app in a state.
pub(super) const OLDEST: Position =
    Position { create_time: Timestamp::from_ms(i64::MIN), row: i64::MIN };

/// The states that are not final, in the order in which a settle passes through them, so that no
/// settle escapes a sweep by changing its state.
fn next_open(after: Option<StateKind>) -> Option<StateKind> {
    let mut open = StateKind::ALL.iter().copied().filter(|state| !state.is_final());
    match after {
        None => open.next(),
        Some(after) => open.skip_while(|state| *state != after).nth(1),
    }
}

/// Repairs what is still wrong.
pub(super) fn repair(
    connection: &Connection,
    now: Timestamp,
    looked: &Looked,
) -> Result<Swept, Fault> {
    let (mut missing, mut superfluous) = (0, 0);
    let mut schedule = connection.prepare_cached(&UPDATE_MISSING)?;
    for row in &looked.missing {
        if schedule.execute([*row, now.as_ms()])? > 0 {
            missing += 1;
        }
    }
    let mut still = connection.prepare_cached(&SELECT_SUPERFLUOUS)?;
    for row in &looked.superfluous {
        if still.exists([*row, now.as_ms()])? {
            remove(connection, *row)?;
            superfluous += 1;
        }
    }
    Ok(looked.swept(missing, superfluous))
}
