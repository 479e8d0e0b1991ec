//! A record as a row of `settle`: which column holds what. Each list of columns exists once; the
//! statements, the binding and the reading follow its order.

use std::sync::LazyLock;

use rusqlite::{Connection, Row, params};

use super::columns::{Binder, Cursor, Fault};
use super::json::{Stored as _, request_from_json, request_json};
use super::words::{OriginKind, Word};
use crate::settle::{
    AppId, Contradiction, Decision, Evidence, Facts, Failure, Key, Origin, OutOrderNo, OutSettleNo,
    RULES, Record, SettleId, State, StateKind, TradeSystem,
};

/// What an insert writes once.
const FIXED: [&str; 4] = ["app_id", "trade_system", "out_settle_no", "create_time_ms"];

/// What depends on the origin, which hardly ever changes.
const OF_ORIGIN: [&str; 4] = ["origin", "request", "body", "listed_order_no"];

/// What every write of a settle writes.
pub(super) const CHANGING: [&str; 18] = [
    "version",
    "revision",
    "rules",
    "update_time_ms",
    "state",
    "settle_id",
    "owes_query",
    "contradiction_claimed",
    "contradiction_settle_id",
    "contradiction_source",
    "contradiction_time_ms",
    "contradiction_resolved_ms",
    "decision",
    "rejection",
    "last_error",
    "evidence",
    "facts",
    "history",
];

/// When a worker looks at the settle, and which one.
pub(super) const SCHEDULE: [&str; 7] = [
    "fence",
    "due_at_ms",
    "lease_until_ms",
    "wanted_at_ms",
    "attempted_at_ms",
    "attempts",
    "backoff",
];

/// The columns from which a record is read.
const READ: [&str; 22] = [
    "app_id",
    "trade_system",
    "out_settle_no",
    "create_time_ms",
    "version",
    "revision",
    "update_time_ms",
    "state",
    "settle_id",
    "rejection",
    "last_error",
    "contradiction_claimed",
    "contradiction_settle_id",
    "contradiction_source",
    "contradiction_time_ms",
    "contradiction_resolved_ms",
    "decision",
    "evidence",
    "facts",
    "origin",
    "body",
    "request",
];

pub(super) static INSERT_SETTLE: LazyLock<String> = LazyLock::new(|| {
    let columns = FIXED.iter().chain(&OF_ORIGIN).chain(&CHANGING).chain(&SCHEDULE);
    let columns: Vec<&str> = columns.copied().collect();
    let (marks, columns) = (vec!["?"; columns.len()].join(", "), columns.join(", "));
    format!("INSERT INTO settle ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING")
});

/// A statement of its own, so that no other write has to update this index.
const UPDATE_ORIGIN: &str =
    "UPDATE settle SET origin = ?, request = ?, body = ?, listed_order_no = ? WHERE id = ?";

fn select_record(condition: &str) -> String {
    format!("SELECT {} FROM settle WHERE {condition}", READ.join(", "))
}

pub(super) static SELECT_BY_KEY: LazyLock<String> =
    LazyLock::new(|| select_record("app_id = ? AND trade_system = ? AND out_settle_no = ?"));

pub(super) static SELECT_BY_ROW: LazyLock<String> = LazyLock::new(|| select_record("id = ?"));

pub(super) static SELECT_BY_SETTLE_ID: LazyLock<String> =
    LazyLock::new(|| select_record("app_id = ? AND trade_system = ? AND settle_id = ?"));

pub(super) fn record_by_key(connection: &Connection, key: &Key) -> Result<Option<Record>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_BY_KEY)?;
    let key = params![key.app_id.as_str(), key.trade_system.word(), key.out_settle_no.as_str()];
    let mut rows = statement.query(key)?;
    rows.next()?.map(read_record).transpose()
}

pub(super) fn record_by_settle_id(
    connection: &Connection,
    app_id: &AppId,
    trade_system: TradeSystem,
    settle_id: &SettleId,
) -> Result<Option<Record>, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_BY_SETTLE_ID)?;
    let mut rows = statement.query([app_id.as_str(), trade_system.word(), settle_id.as_str()])?;
    rows.next()?.map(read_record).transpose()
}

/// The record of a row that was found just now in the same transaction.
pub(super) fn record_by_row(connection: &Connection, id: i64) -> Result<Record, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_BY_ROW)?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.expect("a transaction sees its rows until it ends");
    read_record(row).map_err(|fault| fault.in_row(id))
}

/// A record as the table stores it. The task that calls the store makes it, so that the single
/// writer only binds it.
pub(super) struct Spelled {
    pub(super) record: Record,
    rejection: Option<String>,
    last_error: Option<String>,
    evidence: Option<String>,
    facts: Option<String>,
    decision: Option<String>,
    /// Lines to add to the history; empty: none.
    history: String,
}

impl Spelled {
    pub(super) fn new(record: Record, history: String) -> Self {
        let rejection = match &record.state {
            State::Rejected { rejection } => Some(rejection.to_json()),
            State::Submitting
            | State::Processing { .. }
            | State::Succeeded { .. }
            | State::Failed { .. } => None,
        };
        let Record { evidence, facts, .. } = &record;
        Self {
            rejection,
            last_error: record.last_error.as_ref().map(Failure::to_json),
            evidence: (*evidence != Evidence::default()).then(|| evidence.to_json()),
            facts: (*facts != Facts::default()).then(|| facts.to_json()),
            decision: record.decision.as_ref().map(Decision::to_json),
            history,
            record,
        }
    }

    pub(super) fn bind_new(&self, binder: &mut Binder<'_, '_>) -> rusqlite::Result<()> {
        bind_key(binder, &self.record.key)?;
        binder.time(self.record.create_time)?;
        bind_origin(binder, &self.record)?;
        self.bind_changing(binder)
    }

    /// In the order of [`CHANGING`].
    pub(super) fn bind_changing(&self, binder: &mut Binder<'_, '_>) -> rusqlite::Result<()> {
        let record = &self.record;
        binder.put(record.version)?;
        binder.put(record.revision)?;
        binder.put(RULES)?;
        binder.time(record.update_time)?;
        binder.put(record.state.kind().word())?;
        binder.put(record.state.settle_id().map(SettleId::as_str))?;
        binder.put(record.owes_a_query())?;
        let contradiction = record.contradiction.as_ref();
        binder.put(contradiction.map(|seen| seen.claimed.word()))?;
        binder.put(contradiction.map(|seen| seen.settle_id.as_str()))?;
        binder.put(contradiction.map(|seen| seen.source.word()))?;
        binder.time_opt(contradiction.map(|seen| seen.time))?;
        binder.time_opt(contradiction.and_then(|seen| seen.resolved))?;
        binder.put(self.decision.as_deref())?;
        binder.put(self.rejection.as_deref())?;
        binder.put(self.last_error.as_deref())?;
        binder.put(self.evidence.as_deref())?;
        binder.put(self.facts.as_deref())?;
        binder.put(self.history.as_str())
    }
}

pub(super) fn bind_key(binder: &mut Binder<'_, '_>, key: &Key) -> rusqlite::Result<()> {
    binder.put(key.app_id.as_str())?;
    binder.put(key.trade_system.word())?;
    binder.put(key.out_settle_no.as_str())
}

/// In the order of [`OF_ORIGIN`].
fn bind_origin(binder: &mut Binder<'_, '_>, record: &Record) -> rusqlite::Result<()> {
    let request = record.request();
    binder.put(origin_kind(&record.origin).word())?;
    binder.put(request.map(request_json))?;
    binder.put(request.map(|request| request.body.as_str()))?;
    binder.put(listed_order_no(record))
}

pub(super) fn update_origin(
    connection: &Connection,
    id: i64,
    record: &Record,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(UPDATE_ORIGIN)?;
    let mut binder = Binder::new(&mut statement);
    bind_origin(&mut binder, record)?;
    binder.put(id)?;
    binder.execute().map(|_| ())
}

pub(super) fn origin_kind(origin: &Origin) -> OriginKind {
    match origin {
        Origin::Gateway(_) => OriginKind::Gateway,
        Origin::Platform => OriginKind::Platform,
    }
}

/// A caller's settle is listed under the order in its request, whatever Douyin says.
pub(super) fn listed_order_no(record: &Record) -> Option<&str> {
    let order = match &record.origin {
        Origin::Gateway(request) => Some(&request.content.out_order_no),
        Origin::Platform => record.facts.out_order_no.as_ref(),
    };
    order.map(OutOrderNo::as_str)
}

fn read_record(row: &Row<'_>) -> Result<Record, Fault> {
    let mut cursor = Cursor::new(row);
    Ok(Record {
        key: Key {
            app_id: cursor.name(AppId::parse)?,
            trade_system: cursor.word()?,
            out_settle_no: cursor.name(OutSettleNo::reported)?,
        },
        create_time: cursor.time()?,
        version: cursor.int()?,
        revision: cursor.int()?,
        update_time: cursor.time()?,
        state: read_state(&mut cursor)?,
        last_error: cursor.stored_opt()?,
        contradiction: read_contradiction(&mut cursor)?,
        decision: cursor.stored_opt()?,
        evidence: cursor.stored_opt()?.unwrap_or_default(),
        facts: cursor.stored_opt()?.unwrap_or_default(),
        origin: read_origin(&mut cursor)?,
    })
}

fn read_state(cursor: &mut Cursor<'_>) -> Result<State, Fault> {
    let kind = cursor.word()?;
    let settle_id = cursor.name_opt(SettleId::parse)?;
    let rejection: Option<Failure> = cursor.stored_opt()?;
    let state = match (kind, settle_id, rejection) {
        (StateKind::Submitting, None, None) => Some(State::Submitting),
        (StateKind::Processing, Some(settle_id), None) => Some(State::Processing { settle_id }),
        (StateKind::Succeeded, Some(settle_id), None) => Some(State::Succeeded { settle_id }),
        (StateKind::Failed, Some(settle_id), None) => Some(State::Failed { settle_id }),
        (StateKind::Rejected, None, Some(rejection)) => Some(State::Rejected { rejection }),
        (
            StateKind::Submitting
            | StateKind::Processing
            | StateKind::Succeeded
            | StateKind::Failed
            | StateKind::Rejected,
            _,
            _,
        ) => None,
    };
    let impossible = || Fault::Unreadable("state does not fit settle_id and rejection".to_owned());
    state.ok_or_else(impossible)
}

fn read_contradiction(cursor: &mut Cursor<'_>) -> Result<Option<Contradiction>, Fault> {
    let claimed = cursor.word_opt()?;
    let settle_id = cursor.name_opt(SettleId::parse)?;
    let source = cursor.word_opt()?;
    let time = cursor.time_opt()?;
    let resolved = cursor.time_opt()?;
    match (claimed, settle_id, source, time) {
        (None, None, None, None) => Ok(None),
        (Some(claimed), Some(settle_id), Some(source), Some(time)) => {
            Ok(Some(Contradiction { claimed, settle_id, source, time, resolved }))
        }
        (_, _, _, _) => Err(Fault::Unreadable("contradiction is incomplete".to_owned())),
    }
}

fn read_origin(cursor: &mut Cursor<'_>) -> Result<Origin, Fault> {
    match cursor.word()? {
        OriginKind::Platform => Ok(Origin::Platform),
        OriginKind::Gateway => {
            let body = cursor.text()?;
            let request = request_from_json(&cursor.text()?, body);
            Ok(Origin::Gateway(request.ok_or_else(|| cursor.unknown())?))
        }
    }
}
