//! A record as a row of `settle`: which column holds what. Each list of columns exists once; the
//! statements of every backend, what they write and what they read follow its order.

use super::columns::{Cursor, Unreadable, Value};
use super::json::{Stored as _, request_from_json, request_json};
use super::words::{OriginKind, Word};
use crate::settle::{
    AppId, Contradiction, Decision, Evidence, Facts, Failure, HistoryEntry, Key, Origin,
    OutOrderNo, OutSettleNo, RULES, Record, Request, SettleId, State, StateKind,
};

/// What an insert writes once.
pub(super) const FIXED: [&str; 4] = ["app_id", "trade_system", "out_settle_no", "create_time_ms"];

/// What depends on the origin, which hardly ever changes.
pub(super) const OF_ORIGIN: [&str; 5] =
    ["origin", "request", "body", "by_default_app", "listed_order_no"];

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
pub(super) const READ: [&str; 23] = [
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
    "by_default_app",
    "body",
    "request",
];

/// The conditions under which a caller's create is found by its number alone: in all trade systems
/// of its app, and in all apps if its caller named none.
pub(super) const CREATED: &str = "origin = 'GATEWAY'";
pub(super) const CREATED_BY_DEFAULT: &str = "origin = 'GATEWAY' AND by_default_app IS NOT NULL";

/// A record as the table stores it. The task that calls the store makes it.
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

    /// In the order of [`FIXED`].
    pub(super) fn fixed(&self) -> [Value<'_>; FIXED.len()] {
        let [app_id, trade_system, out_settle_no] = key_values(&self.record.key);
        [app_id, trade_system, out_settle_no, self.record.create_time.into()]
    }

    /// The request as it is stored, which few writes need.
    pub(super) fn request(&self) -> Option<String> {
        self.record.request().map(request_json)
    }

    /// In the order of [`OF_ORIGIN`].
    pub(super) fn of_origin<'a>(
        &'a self,
        request: Option<&'a str>,
    ) -> [Value<'a>; OF_ORIGIN.len()] {
        let record = &self.record;
        [
            origin_kind(&record.origin).word().into(),
            request.into(),
            record.request().map(|request| request.body.as_str()).into(),
            // A number and not a boolean, as all that is read.
            Value::Int(record.request().and_then(|request| request.by_default_app.then_some(1))),
            listed_order_no(record).into(),
        ]
    }

    /// In the order of [`CHANGING`].
    pub(super) fn changing(&self) -> [Value<'_>; CHANGING.len()] {
        let record = &self.record;
        let contradiction = record.contradiction.as_ref();
        [
            record.version.into(),
            record.revision.into(),
            RULES.into(),
            record.update_time.into(),
            record.state.kind().word().into(),
            record.state.settle_id().map(SettleId::as_str).into(),
            record.owes_a_query().into(),
            contradiction.map(|seen| seen.claimed.word()).into(),
            contradiction.map(|seen| seen.settle_id.as_str()).into(),
            contradiction.map(|seen| seen.source.word()).into(),
            contradiction.map(|seen| seen.time).into(),
            contradiction.and_then(|seen| seen.resolved).into(),
            self.decision.as_deref().into(),
            self.rejection.as_deref().into(),
            self.last_error.as_deref().into(),
            self.evidence.as_deref().into(),
            self.facts.as_deref().into(),
            self.history.as_str().into(),
        ]
    }
}

/// The columns that name a settle: the first of [`FIXED`].
pub(super) fn key_values(key: &Key) -> [Value<'_>; 3] {
    [key.app_id.as_str().into(), key.trade_system.word().into(), key.out_settle_no.as_str().into()]
}

/// The last revision whose entry is in the row of its settle. Few settles have more than four.
const IN_ROW_MAX: i64 = 16;

/// An entry of the audit trail that does not go into the row of its settle.
pub(super) struct LateEntry {
    pub(super) revision: i64,
    pub(super) json: String,
}

/// What entries add to the row of their settle, and what become rows of their own.
pub(super) fn spelled<'a>(
    entries: impl IntoIterator<Item = &'a HistoryEntry>,
) -> (String, Vec<LateEntry>) {
    let (mut lines, mut late) = (String::new(), Vec::new());
    for entry in entries {
        let json = entry.to_json();
        if entry.revision > IN_ROW_MAX {
            late.push(LateEntry { revision: entry.revision, json });
        } else {
            lines.push_str(&json);
            lines.push('\n');
        }
    }
    (lines, late)
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

/// Reads the columns of [`READ`].
pub(super) fn read_record(cursor: &mut Cursor<'_>) -> Result<Record, Unreadable> {
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
        state: read_state(cursor)?,
        last_error: cursor.stored_opt()?,
        contradiction: read_contradiction(cursor)?,
        decision: cursor.stored_opt()?,
        evidence: cursor.stored_opt()?.unwrap_or_default(),
        facts: cursor.stored_opt()?.unwrap_or_default(),
        origin: read_origin(cursor)?,
    })
}

fn read_state(cursor: &mut Cursor<'_>) -> Result<State, Unreadable> {
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
    let impossible = || Unreadable("state does not fit settle_id and rejection".to_owned());
    state.ok_or_else(impossible)
}

fn read_contradiction(cursor: &mut Cursor<'_>) -> Result<Option<Contradiction>, Unreadable> {
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
        (_, _, _, _) => Err(Unreadable("contradiction is incomplete".to_owned())),
    }
}

fn read_origin(cursor: &mut Cursor<'_>) -> Result<Origin, Unreadable> {
    let kind = cursor.word()?;
    let by_default_app = cursor.int_opt()?.is_some();
    match kind {
        OriginKind::Platform => Ok(Origin::Platform),
        OriginKind::Gateway => {
            let body = cursor.text()?;
            let request = request_from_json(&cursor.text()?, body);
            let request = request.ok_or_else(|| cursor.unknown())?;
            Ok(Origin::Gateway(Request { by_default_app, ..request }))
        }
    }
}
