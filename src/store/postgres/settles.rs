//! One settle is read, or inserted by one statement.

use std::sync::LazyLock;

use tokio_postgres::Row;

use super::super::columns::{Cursor, Value};
use super::super::rows::{
    CHANGING, CREATED, CREATED_BY_DEFAULT, FIXED, OF_ORIGIN, SCHEDULE, Spelled, key_values, spelled,
};
use super::super::words::Word as _;
use super::super::{Error, Fence, Insert, NewDue, first_fence};
use super::fault::Fault;
use super::sql::{HERE, wait};
use super::{Postgres, TRIES_MAX, again_and_again, list, record, stale};
use crate::settle::{AppId, CallerName, HistoryEntry, Key, Record, SettleId, Source, TradeSystem};

static SELECT_BY_KEY: LazyLock<String> =
    LazyLock::new(|| list::select("app_id = $1 AND trade_system = $2 AND out_settle_no = $3"));
static SELECT_BY_SETTLE_ID: LazyLock<String> =
    LazyLock::new(|| list::select("app_id = $1 AND trade_system = $2 AND settle_id = $3"));

static SELECT_ELSEWHERE: LazyLock<String> = LazyLock::new(|| {
    list::select(&format!(
        "{CREATED} AND app_id = $1 AND out_settle_no = $2 AND trade_system <> $3"
    ))
});
static SELECT_OF_DEFAULT_APP: LazyLock<String> = LazyLock::new(|| {
    list::select(&format!("{CREATED_BY_DEFAULT} AND out_settle_no = $1 AND app_id <> $2"))
});

/// After the values of the columns come the fence, the delay until it is due, the delay until the
/// lease ends, and whether a send is permitted.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let written: Vec<&str> = FIXED.iter().chain(&OF_ORIGIN).chain(&CHANGING).copied().collect();
    let mut values: Vec<String> = (3..).take(written.len()).map(|n| format!("${n}")).collect();
    let [fence, due, lease, sent] = [0, 1, 2, 3].map(|n| format!("${}", 3 + written.len() + n));
    // In the order of `SCHEDULE`. A send that the insert permits counts as an attempt, from which
    // nudges keep their gap.
    values.extend([
        fence,
        format!("here.now + {due}"),
        format!("here.now + {lease}"),
        "NULL".to_owned(),
        format!("CASE WHEN {sent} THEN here.now END"),
        "0".to_owned(),
        "0".to_owned(),
    ]);
    let columns: Vec<&str> = written.iter().chain(&SCHEDULE).copied().collect();
    let version = 3 + FIXED.len() + OF_ORIGIN.len();
    format!(
        "WITH {HERE}, done AS (
             INSERT INTO settle ({}) SELECT {} FROM here WHERE ${version} > here.base
             ON CONFLICT DO NOTHING RETURNING 1
         ) SELECT EXISTS (SELECT FROM done) FROM here",
        columns.join(", "),
        values.join(", "),
    )
});

impl Postgres {
    pub(in crate::store) async fn get(&self, key: &Key) -> Result<Option<Record>, Error> {
        self.by_key(key).await.map_err(Fault::nothing_durable)
    }

    pub(in crate::store) async fn get_by_settle_id(
        &self,
        app_id: &AppId,
        trade_system: TradeSystem,
        settle_id: &SettleId,
    ) -> Result<Option<Record>, Error> {
        let found = self.by_settle_id(app_id, trade_system, settle_id).await;
        found.map_err(Fault::nothing_durable)
    }

    async fn by_key(&self, key: &Key) -> Result<Option<Record>, Fault> {
        for _ in 0..TRIES_MAX {
            let asked = self.seen.moment();
            let (rows, basis) = self.records(&SELECT_BY_KEY, &key_values(key)).await?;
            let found = rows.first().map(|row| record(row, basis)).transpose()?;
            if self.is_sound(key, found.as_ref(), asked).await? {
                return Ok(found);
            }
        }
        Err(stale())
    }

    async fn by_settle_id(
        &self,
        app_id: &AppId,
        trade_system: TradeSystem,
        settle_id: &SettleId,
    ) -> Result<Option<Record>, Fault> {
        let name = [app_id.as_str().into(), trade_system.word().into(), settle_id.as_str().into()];
        self.sound(&SELECT_BY_SETTLE_ID, &name).await
    }

    pub(in crate::store) async fn elsewhere(
        &self,
        key: &Key,
        by_default_app: bool,
    ) -> Result<Option<Record>, Error> {
        self.record_elsewhere(key, by_default_app).await.map_err(Fault::nothing_durable)
    }

    async fn record_elsewhere(
        &self,
        key: &Key,
        by_default_app: bool,
    ) -> Result<Option<Record>, Fault> {
        let [app_id, trade_system, number] = key_values(key);
        let found = self.sound(&SELECT_ELSEWHERE, &[app_id, number, trade_system]).await?;
        match found {
            None if by_default_app => self.sound(&SELECT_OF_DEFAULT_APP, &[number, app_id]).await,
            found => Ok(found),
        }
    }

    /// The record that a statement finds, if there is one.
    async fn sound(
        &self,
        select: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Record>, Fault> {
        for _ in 0..TRIES_MAX {
            let asked = self.seen.moment();
            let (rows, basis) = self.records(select, values).await?;
            let Some(found) = rows.first().map(|row| record(row, basis)).transpose()? else {
                return Ok(None);
            };
            if self.is_sound(&found.key, Some(&found), asked).await? {
                return Ok(Some(found));
            }
        }
        Err(stale())
    }

    pub(in crate::store) async fn insert(
        &self,
        record: Record,
        source: Source,
        by: Option<CallerName>,
        due: NewDue,
    ) -> Result<Insert, Error> {
        let first = HistoryEntry { by, ..record.history_entry(source, None) };
        let (history, _) = spelled(Some(&first));
        let inserted = self.insert_new(&Spelled::new(record, history), due).await;
        inserted.map_err(Fault::perhaps_durable)
    }

    async fn insert_new(&self, settle: &Spelled, due: NewDue) -> Result<Insert, Fault> {
        let record = &settle.record;
        let (due_in, lease, fence) = match due {
            NewDue::None => (None, None, Fence(0)),
            NewDue::In(wait) => (Some(wait), None, Fence(0)),
            NewDue::Leased { lease } => (Some(lease), Some(lease), first_fence(record)),
        };
        let sent = record.evidence.last_permission.is_some() && due_in.is_some();
        let request = settle.request();
        let mut values = Vec::new();
        values.extend(settle.fixed());
        values.extend(settle.of_origin(request.as_deref()));
        values.extend(settle.changing());
        values.push(fence.0.into());
        values.extend([due_in, lease].map(|delay| delay.map_or(Value::Int(None), wait)));
        values.push(sent.into());
        // One that this gateway has seen must be there, or the store went back.
        if self.seen.knows(&record.key)
            && let Some(existing) = self.by_key(&record.key).await?
        {
            return Ok(Insert::Existing(Box::new(existing)));
        }
        for _ in 0..TRIES_MAX {
            if !self.basis().is_of(record.version) {
                let why = "the store began a new generation meanwhile: try again";
                return Err(Fault::Down(why.to_owned()));
            }
            let rows = self.write(&INSERT, &values).await?;
            if done(&rows)? {
                self.committed();
                self.note(record);
                return Ok(Insert::Inserted);
            }
            if let Some(existing) = self.existing(record).await? {
                return Ok(Insert::Existing(Box::new(existing)));
            }
            // It was merged into another one meanwhile.
        }
        Err(again_and_again())
    }

    /// The record that prevented the insert: the one with its key, else the one with its
    /// `settle_id`, else the one that a caller created under its number elsewhere.
    async fn existing(&self, record: &Record) -> Result<Option<Record>, Fault> {
        if let Some(same_key) = self.by_key(&record.key).await? {
            return Ok(Some(same_key));
        }
        let Key { app_id, trade_system, .. } = &record.key;
        if let Some(settle_id) = record.state.settle_id()
            && let Some(same_id) = self.by_settle_id(app_id, *trade_system, settle_id).await?
        {
            return Ok(Some(same_id));
        }
        match record.request() {
            Some(request) => self.record_elsewhere(&record.key, request.by_default_app).await,
            None => Ok(None),
        }
    }
}

/// Whether the statement changed a row.
pub(super) fn done(rows: &[Row]) -> Result<bool, Fault> {
    let row = rows.first().expect("a write tells what it did");
    Ok(Cursor::new(row).flag_opt()? == Some(true))
}
