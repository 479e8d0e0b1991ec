//! Finds settles and due rows that do not fit together, and repairs them. Only a bug or another
//! program makes such rows, so a sweep reads, and writes only what it found to be wrong. The write
//! looks again.

use std::sync::LazyLock;

use super::super::columns::{Cursor, Value};
use super::super::words::{Word as _, readable_sql, state_in_sql};
use super::super::{DuePosition, Error, Position, SweepCursor, Swept};
use super::fault::Fault;
use super::sql::{HERE, RUNS};
use super::{Postgres, schedule};
use crate::clock::Timestamp;
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

/// The state of one sweep while it looks. Each step begins where the last one ended, and says where
/// the next one begins.
struct Walk<'a> {
    store: &'a Postgres,
    rows_left: u32,
    /// Settles that seem to need a due row.
    missing: Vec<i64>,
    /// Settles that seem not to need theirs.
    superfluous: Vec<i64>,
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
        let (missing, superfluous) = (Vec::new(), Vec::new());
        let mut walk = Walk { store: self, rows_left: rows_max, missing, superfluous };
        let mut next = Some(from);
        while let Some(from) = next.take_if(|_| walk.rows_left > 0) {
            next = match from {
                SweepCursor::App { after } => walk.next_app(after.as_ref()).await?,
                SweepCursor::Due { app_id, after } => Some(walk.due_rows(app_id, after).await?),
                SweepCursor::Open { app_id, state, after } => {
                    Some(walk.open(app_id, state, after).await?)
                }
            };
        }
        let missing = self.repair(&SCHEDULE, &walk.missing).await?;
        let superfluous = self.repair(&REMOVE, &walk.superfluous).await?;
        let wrapped = next.is_none();
        Ok(Swept { missing, superfluous, next: next.unwrap_or_default(), wrapped })
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
}

impl Walk<'_> {
    /// Finding an app counts as a row.
    async fn next_app(&mut self, after: Option<&AppId>) -> Result<Option<SweepCursor>, Fault> {
        self.rows_left -= 1;
        let app_id = self.store.next_app(after).await?;
        let after = DuePosition { due_at: OLDEST.create_time, row: OLDEST.row };
        Ok(app_id.map(|app_id| SweepCursor::Due { app_id, after }))
    }

    async fn due_rows(&mut self, app_id: AppId, after: DuePosition) -> Result<SweepCursor, Fault> {
        let values = [
            app_id.as_str().into(),
            after.due_at.into(),
            after.row.into(),
            Value::from(self.rows_left),
        ];
        let rows = self.store.ask(&SELECT_DUE, &values).await?;
        let mut last = None;
        for row in &rows {
            let mut cursor = Cursor::new(row);
            let Some(due_at) = cursor.time_opt()? else { break };
            let position = DuePosition { due_at, row: cursor.int()? };
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

    async fn open(
        &mut self,
        app_id: AppId,
        state: StateKind,
        after: Position,
    ) -> Result<SweepCursor, Fault> {
        let values = [
            app_id.as_str().into(),
            state.word().into(),
            after.create_time.into(),
            after.row.into(),
            Value::from(self.rows_left),
        ];
        let rows = self.store.read(SELECT_OPEN, &values).await?;
        let mut last = None;
        for row in &rows {
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
