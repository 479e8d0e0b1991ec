//! The sweep, which repairs the schedule, and how it goes through a store, whatever the database:
//! from app to app, in each first through the due rows and then, state by state, through the
//! settles that are not final. A backend reads the rows; this says what comes after them.

use super::words::Word as _;
use super::{Error, Position, Store};
use crate::clock::Timestamp;
use crate::settle::{AppId, StateKind};

/// Where a sweep is among the due rows of an app; the row that is due for the longest time comes
/// first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DuePosition {
    pub due_at: Timestamp,
    /// Which of the rows due at that moment.
    pub row: i64,
}

/// Where the last sweep ended. The default begins a round. A round goes from app to app, and for
/// each app first through the due rows and then through the settles that are not final.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SweepCursor {
    /// Before the first app after this one.
    App { after: Option<AppId> },
    /// Among the due rows of an app, after this one.
    Due { app_id: AppId, after: DuePosition },
    /// Among the settles of an app in a state, oldest first.
    Open { app_id: AppId, state: StateKind, after: Position },
}

impl Default for SweepCursor {
    fn default() -> Self {
        SweepCursor::App { after: None }
    }
}

/// What [`Store::sweep`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swept {
    /// Settles that were not final and had no due row. Each has one now.
    pub missing: u32,
    /// Due rows that were not needed and are removed.
    pub superfluous: u32,
    /// Where the next sweep begins.
    pub next: SweepCursor,
    /// The round is complete, and `next` begins another one.
    pub wrapped: bool,
}

impl Store {
    /// Repairs the schedule. A settle that is not final and has no due row gets one, due now. The
    /// due row of a final settle that needs no query is removed, unless a worker holds its lease.
    /// Each call looks at no more than `rows_max` rows, beginning where the last sweep ended. If
    /// nothing is wrong, it only reads.
    pub async fn sweep(&self, cursor: SweepCursor, rows_max: u32) -> Result<Swept, Error> {
        match self {
            Store::Sqlite(sqlite) => sqlite.sweep(cursor, rows_max).await,
            Store::Postgres(postgres) => Box::pin(postgres.sweep(cursor, rows_max)).await,
        }
    }
}

/// Before every settle of an app in a state.
pub(super) const OLDEST: Position =
    Position { create_time: Timestamp::from_ms(i64::MIN), row: i64::MIN };

/// What one sweep has found so far.
pub(super) struct Found {
    pub(super) rows_left: u32,
    /// Settles that seem to need a due row.
    pub(super) missing: Vec<i64>,
    /// Settles that seem not to need theirs.
    pub(super) superfluous: Vec<i64>,
}

impl Found {
    pub(super) fn nothing(rows_max: u32) -> Self {
        Self { rows_left: rows_max, missing: Vec::new(), superfluous: Vec::new() }
    }

    /// What comes after the app before this one; `None`: there is no app any more. Finding an app
    /// counts as a row.
    pub(super) fn app(&mut self, next: Option<AppId>) -> Option<SweepCursor> {
        self.rows_left -= 1;
        let after = DuePosition { due_at: OLDEST.create_time, row: OLDEST.row };
        next.map(|app_id| SweepCursor::Due { app_id, after })
    }

    /// Notes due rows of an app, no more than there are left, and whether each is superfluous.
    pub(super) fn due_rows(&mut self, app_id: AppId, rows: &[(DuePosition, bool)]) -> SweepCursor {
        self.count(rows.len());
        let superfluous = rows.iter().filter(|(_, is_superfluous)| *is_superfluous);
        self.superfluous.extend(superfluous.map(|(position, _)| position.row));
        if let (Some((after, _)), 0) = (rows.last(), self.rows_left) {
            return SweepCursor::Due { app_id, after: *after };
        }
        let first = next_open(None).expect("a settle is not final when it begins");
        SweepCursor::Open { app_id, state: first, after: OLDEST }
    }

    /// Notes settles of an app in a state that is not final, and whether each lacks a due row.
    pub(super) fn open(
        &mut self,
        app_id: AppId,
        state: StateKind,
        rows: &[(Position, bool)],
    ) -> SweepCursor {
        self.count(rows.len());
        let missing = rows.iter().filter(|(_, is_missing)| *is_missing);
        self.missing.extend(missing.map(|(position, _)| position.row));
        if let (Some((after, _)), 0) = (rows.last(), self.rows_left) {
            return SweepCursor::Open { app_id, state, after: *after };
        }
        match next_open(Some(state)) {
            Some(state) => SweepCursor::Open { app_id, state, after: OLDEST },
            None => SweepCursor::App { after: Some(app_id) },
        }
    }

    fn count(&mut self, rows: usize) {
        self.rows_left = self.rows_left.saturating_sub(u32::try_from(rows).unwrap_or(u32::MAX));
    }
}

/// What a sweep did that ends at a cursor (`None`: the round is complete).
pub(super) fn swept(missing: u32, superfluous: u32, next: Option<SweepCursor>) -> Swept {
    let wrapped = next.is_none();
    Swept { missing, superfluous, next: next.unwrap_or_default(), wrapped }
}

/// The states that are not final, in the order in which a settle passes through them, so that no
/// settle escapes a sweep by changing its state.
fn next_open(after: Option<StateKind>) -> Option<StateKind> {
    let mut open = StateKind::ALL.iter().copied().filter(|state| !state.is_final());
    match after {
        None => open.next(),
        Some(after) => open.skip_while(|state| *state != after).nth(1),
    }
}
