//! Finds settles and due rows that do not fit together, and repairs them. Only a bug or another
//! program makes such rows, so a sweep reads, and writes only what it found to be wrong. The write
//! looks again.

use std::sync::LazyLock;

use tokio_postgres::Row;

use super::super::columns::{Cursor, Value};
use super::super::sweep::{Found, swept};
use super::super::words::{Word as _, readable_sql, state_in_sql};
use super::super::{DuePosition, Error, Position, SweepCursor, Swept};
use super::fault::Fault;
use super::sql::{HERE, RUNS};
use super::{Postgres, schedule};
use crate::settle::{AppId, StateKind};

/// The condition that the due row is not needed. A running lease is left to its holder.
fn superfluous() -> String {
    format!(
        "({} AND NOT owes_query AND NOT {RUNS} AND {})",
        state_in_sql(StateKind::is_final),
        readable_sql(),
    )
}

const SELECT_NEXT_APP: &str = "SELECT min(app_id) FROM settle WHERE app_id > $1";

/// What is due after a position. There is always one row, the first one.
static SELECT_DUE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH {HERE} SELECT due_at_ms, id, {}
         FROM here LEFT JOIN LATERAL (
             SELECT * FROM settle
             WHERE app_id = $3 AND due_at_ms IS NOT NULL AND (due_at_ms, id) > ($4, $5)
             ORDER BY due_at_ms, id LIMIT $6
         ) AS settle ON TRUE ORDER BY due_at_ms, id",
        superfluous(),
    )
});

/// The settles of a state after a position, oldest first.
const SELECT_OPEN: &str = "
    SELECT create_time_ms, id, due_at_ms IS NULL FROM settle
    WHERE app_id = $1 AND state = $2 AND (create_time_ms, id) > ($3, $4)
    ORDER BY create_time_ms, id LIMIT $5";

static SCHEDULE: LazyLock<String> = LazyLock::new(|| {
    let condition = format!("due_at_ms IS NULL AND {}", state_in_sql(|state| !state.is_final()));
    repair_sql("due_at_ms = here.now", &condition)
});

static REMOVE: LazyLock<String> = LazyLock::new(|| {
    repair_sql(
        &schedule::set_none("FALSE"),
        &format!("due_at_ms IS NOT NULL AND {}", superfluous()),
    )
});

fn repair_sql(sets: &str, condition: &str) -> String {
    format!(
        "WITH {HERE}, done AS (
             UPDATE settle SET {sets} FROM here
             WHERE settle.id = $3 AND {condition} AND {} RETURNING 1
         ) SELECT EXISTS (SELECT FROM done) FROM here",
        readable_sql(),
    )
}

impl Postgres {
    pub(in crate::store) async fn sweep(
        &self,
        cursor: SweepCursor,
        rows_max: u32,
    ) -> Result<Swept, Error> {
        self.walk(cursor, rows_max).await.map_err(Fault::perhaps_durable)
    }

    async fn walk(&self, from: SweepCursor, rows_max: u32) -> Result<Swept, Fault> {
        let mut found = Found::nothing(rows_max);
        let mut next = Some(from);
        while let Some(from) = next.take_if(|_| found.rows_left > 0) {
            let rows_max = found.rows_left;
            next = match from {
                SweepCursor::App { after } => found.app(self.next_app(after.as_ref()).await?),
                SweepCursor::Due { app_id, after } => {
                    let rows = self.due_rows(&app_id, after, rows_max).await?;
                    Some(found.due_rows(app_id, &rows))
                }
                SweepCursor::Open { app_id, state, after } => {
                    let rows = self.open_rows(&app_id, state, after, rows_max).await?;
                    Some(found.open(app_id, state, &rows))
                }
            };
        }
        let missing = self.repair(&SCHEDULE, &found.missing).await?;
        let superfluous = self.repair(&REMOVE, &found.superfluous).await?;
        Ok(swept(missing, superfluous, next))
    }

    /// Repairs what is still wrong, one row in one transaction.
    async fn repair(&self, sql: &'static str, ids: &[i64]) -> Result<u32, Fault> {
        let mut repaired = 0;
        for id in ids {
            let rows = self.write(sql, &[(*id).into()]).await?;
            let is_repaired = rows.first().map(|row| Cursor::new(row).flag_opt()).transpose()?;
            repaired += u32::from(is_repaired.flatten() == Some(true));
        }
        Ok(repaired)
    }

    /// The first app with a settle after this one.
    pub(super) async fn next_app(&self, after: Option<&AppId>) -> Result<Option<AppId>, Fault> {
        let after = after.map_or("", AppId::as_str);
        let rows = self.read(SELECT_NEXT_APP, &[after.into()]).await?;
        let next = rows.first().map(|row| Cursor::new(row).name_opt(AppId::parse)).transpose()?;
        Ok(next.flatten())
    }

    async fn due_rows(
        &self,
        app_id: &AppId,
        after: DuePosition,
        rows_max: u32,
    ) -> Result<Vec<(DuePosition, bool)>, Fault> {
        let (due_at, row) = (after.due_at.into(), after.row.into());
        let values = [app_id.as_str().into(), due_at, row, Value::from(rows_max)];
        let rows = self.ask(&SELECT_DUE, &values).await?;
        let mut found = Vec::new();
        for row in &rows {
            let mut cursor = Cursor::new(row);
            let Some(due_at) = cursor.time_opt()? else { break };
            let position = DuePosition { due_at, row: cursor.int()? };
            found.push((position, cursor.flag_opt()? == Some(true)));
        }
        Ok(found)
    }

    async fn open_rows(
        &self,
        app_id: &AppId,
        state: StateKind,
        after: Position,
        rows_max: u32,
    ) -> Result<Vec<(Position, bool)>, Fault> {
        let values = [
            app_id.as_str().into(),
            state.word().into(),
            after.create_time.into(),
            after.row.into(),
            Value::from(rows_max),
        ];
        let rows = self.read(SELECT_OPEN, &values).await?;
        let read = |row: &Row| {
            let mut cursor = Cursor::new(row);
            let position = Position { create_time: cursor.time()?, row: cursor.int()? };
            Ok((position, cursor.flag_opt()? == Some(true)))
        };
        rows.iter().map(read).collect()
    }
}
