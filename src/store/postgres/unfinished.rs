//! Pages of the settles that are not final, are in a state that this version does not know, or are
//! final with an open contradiction. Everything here walks an index in its order and stops.

use std::sync::LazyLock;

use tokio_postgres::Row;

use super::super::columns::Cursor;
use super::super::sweep::OLDEST;
use super::super::words::Word as _;
use super::super::{Error, Unfinished, UnfinishedCursor, UnfinishedPage};
use super::fault::Fault;
use super::generation::Basis;
use super::list::{position, record_of, select};
use super::seen::Moment;
use super::{Postgres, stale};
use crate::settle::{AppId, Key, OutSettleNo, StateKind, TradeSystem};

static SELECT_IN_STATE: LazyLock<String> = LazyLock::new(|| {
    select(
        "app_id = $1 AND state = $2 AND (create_time_ms, id) > ($3, $4)
         ORDER BY create_time_ms, id LIMIT $5",
    )
});
static SELECT_DISPUTED: LazyLock<String> = LazyLock::new(|| {
    select(
        "app_id = $1 AND id > $2
         AND contradiction_claimed IS NOT NULL AND contradiction_resolved_ms IS NULL
         ORDER BY id LIMIT $3",
    )
});
const SELECT_NEXT_STATE: &str = "SELECT min(state) FROM settle WHERE app_id = $1 AND state > $2";

impl Postgres {
    pub(in crate::store) async fn unfinished(
        &self,
        cursor: UnfinishedCursor,
        rows_max: u32,
    ) -> Result<UnfinishedPage, Error> {
        let page = self.unfinished_page(cursor, rows_max.max(1)).await;
        page.map_err(Fault::nothing_durable)
    }

    async fn unfinished_page(
        &self,
        from: UnfinishedCursor,
        rows_max: u32,
    ) -> Result<UnfinishedPage, Fault> {
        let full = usize::try_from(rows_max).unwrap_or(usize::MAX);
        match from {
            UnfinishedCursor::App { after } => {
                let next = match self.next_app(after.as_ref()).await? {
                    Some(app_id) => Some(self.next_state(app_id, "").await?),
                    None => None,
                };
                Ok(UnfinishedPage { settles: Vec::new(), next })
            }
            UnfinishedCursor::State { app_id, state, after } => {
                let values = [
                    app_id.as_str().into(),
                    state.as_str().into(),
                    after.create_time.into(),
                    after.row.into(),
                    rows_max.into(),
                ];
                let asked = self.seen.moment();
                let (rows, basis) = self.records(&SELECT_IN_STATE, &values).await?;
                let settles = read(&rows, basis, |_| true)?;
                self.note_all(&settles, asked).await?;
                let next = match rows.last().filter(|_| rows.len() >= full) {
                    Some(last) => UnfinishedCursor::State { app_id, state, after: position(last)? },
                    None => self.next_state(app_id, &state).await?,
                };
                Ok(UnfinishedPage { settles, next: Some(next) })
            }
            UnfinishedCursor::Disputed { app_id, after_row } => {
                let values = [app_id.as_str().into(), after_row.into(), rows_max.into()];
                let (rows, basis) = self.records(&SELECT_DISPUTED, &values).await?;
                // Those that are not final were found in their state.
                let settles = read(&rows, basis, StateKind::is_final)?;
                let next = match rows.last().filter(|_| rows.len() >= full) {
                    Some(last) => {
                        UnfinishedCursor::Disputed { app_id, after_row: position(last)?.row }
                    }
                    None => UnfinishedCursor::App { after: Some(app_id) },
                };
                Ok(UnfinishedPage { settles, next: Some(next) })
            }
        }
    }

    /// By this round a gateway learns of settles that others work on.
    async fn note_all(&self, settles: &[Unfinished], asked: Moment) -> Result<(), Fault> {
        for settle in settles {
            if let Unfinished::Settle(record) = settle
                && !self.is_sound(&record.key, Some(record), asked).await?
            {
                return Err(stale());
            }
        }
        Ok(())
    }

    /// The next state of the app that is not known to be final; after the last one the
    /// contradictions.
    async fn next_state(&self, app_id: AppId, after: &str) -> Result<UnfinishedCursor, Fault> {
        let mut after = after.to_owned();
        loop {
            let values = [app_id.as_str().into(), after.as_str().into()];
            let rows = self.read(SELECT_NEXT_STATE, &values).await?;
            let next = rows.first().map(|row| Cursor::new(row).text_opt()).transpose()?.flatten();
            let Some(state) = next else {
                return Ok(UnfinishedCursor::Disputed { app_id, after_row: i64::MIN });
            };
            if StateKind::from_word(&state).is_none_or(|state| !state.is_final()) {
                return Ok(UnfinishedCursor::State { app_id, state, after: OLDEST });
            }
            after = state;
        }
    }
}

fn read(
    rows: &[Row],
    basis: Basis,
    wanted: fn(StateKind) -> bool,
) -> Result<Vec<Unfinished>, Fault> {
    let mut settles = Vec::new();
    for row in rows {
        match record_of(row, basis) {
            Ok(record) if wanted(record.state.kind()) => {
                settles.push(Unfinished::Settle(Box::new(record)));
            }
            Ok(_) => {}
            Err(Fault::Unreadable(_)) => settles.push(Unfinished::Unreadable(key(row)?)),
            Err(fault) => return Err(fault),
        }
    }
    Ok(settles)
}

/// The key of a row that cannot be read. If its trade system is what is new in it, it is shown in
/// the general one.
fn key(row: &Row) -> Result<Key, Fault> {
    let mut cursor = Cursor::new(row);
    let app_id = cursor.name(AppId::parse)?;
    let trade_system = TradeSystem::from_word(&cursor.text()?).unwrap_or(TradeSystem::General);
    let out_settle_no = cursor.name(OutSettleNo::reported)?;
    Ok(Key { app_id, trade_system, out_settle_no })
}
