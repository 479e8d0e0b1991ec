//! Finds settles and due rows that do not fit together, and repairs them. Only a bug or another
//! program makes such rows, so a sweep reads with a reader, and uses the writer only if it found
//! one. The writer then looks again.

use std::sync::LazyLock;

use rusqlite::{Connection, params};

use super::super::columns::Cursor;
use super::super::sweep::{Found, swept};
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
    found: Found,
    /// `None`: the round is complete.
    next: Option<SweepCursor>,
}

impl Looked {
    pub(super) fn is_clean(&self) -> bool {
        self.found.missing.is_empty() && self.found.superfluous.is_empty()
    }

    /// What to answer if this many were really repaired.
    pub(super) fn swept(&self, missing: u32, superfluous: u32) -> Swept {
        swept(missing, superfluous, self.next.clone())
    }
}

pub(super) fn look(
    connection: &Connection,
    now: Timestamp,
    from: SweepCursor,
    rows_max: u32,
) -> Result<Looked, Fault> {
    let mut found = Found::nothing(rows_max);
    let mut next = Some(from);
    while let Some(from) = next.take_if(|_| found.rows_left > 0) {
        let rows_max = found.rows_left;
        next = match from {
            SweepCursor::App { after } => found.app(next_app(connection, after.as_ref())?),
            SweepCursor::Due { app_id, after } => {
                let rows = due_rows(connection, now, &app_id, after, rows_max)?;
                Some(found.due_rows(app_id, &rows))
            }
            SweepCursor::Open { app_id, state, after } => {
                let rows = open(connection, &app_id, state, after, rows_max)?;
                Some(found.open(app_id, state, &rows))
            }
        };
    }
    Ok(Looked { found, next })
}

fn due_rows(
    connection: &Connection,
    now: Timestamp,
    app_id: &AppId,
    after: DuePosition,
    rows_max: u32,
) -> Result<Vec<(DuePosition, bool)>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_DUE_ROWS)?;
    let (now, due_at) = (now.as_ms(), after.due_at.as_ms());
    let mut rows = statement.query(params![app_id.as_str(), now, due_at, after.row, rows_max])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cursor = Cursor::new(row);
        let position = DuePosition { due_at: cursor.time()?, row: cursor.int()? };
        found.push((position, cursor.flag_opt()? == Some(true)));
    }
    Ok(found)
}

fn open(
    connection: &Connection,
    app_id: &AppId,
    state: StateKind,
    after: Position,
    rows_max: u32,
) -> Result<Vec<(Position, bool)>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_OPEN)?;
    let created = after.create_time.as_ms();
    let values = params![app_id.as_str(), state.word(), created, after.row, rows_max];
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cursor = Cursor::new(row);
        let position = Position { create_time: cursor.time()?, row: cursor.int()? };
        found.push((position, cursor.flag_opt()? == Some(true)));
    }
    Ok(found)
}

/// Repairs what is still wrong.
pub(super) fn repair(
    connection: &Connection,
    now: Timestamp,
    looked: &Looked,
) -> Result<Swept, Fault> {
    let (mut missing, mut superfluous) = (0, 0);
    let mut schedule = connection.prepare_cached(&UPDATE_MISSING)?;
    for row in &looked.found.missing {
        if schedule.execute([*row, now.as_ms()])? > 0 {
            missing += 1;
        }
    }
    let mut still = connection.prepare_cached(&SELECT_SUPERFLUOUS)?;
    for row in &looked.found.superfluous {
        if still.exists([*row, now.as_ms()])? {
            remove(connection, *row)?;
            superfluous += 1;
        }
    }
    Ok(looked.swept(missing, superfluous))
}
