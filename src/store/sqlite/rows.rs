//! A record as a row of `settle` and one of `request`: which column holds what. Each list of
//! columns is written once; the statements, the binding and the reading follow its order.

use std::sync::LazyLock;

use rusqlite::{Connection, Row, params};

use super::columns::{Binder, Cursor, Fault};
use super::words::{
    OriginKind, Word, failure_json, permission_from_json, permission_json, permissions_from_json,
    permissions_json, settle_params_from_json, settle_params_json,
};
use crate::settle::{
    AppId, Content, Contradiction, Evidence, Ext, Facts, Failure, ItemOrderId, Key, NotifyUrl,
    OrderId, Origin, OutOrderNo, OutSettleNo, RULES, Record, Request, SettleDesc, SettleId, State,
    StateKind, TradeSystem, Unlisted, WalletSettleId,
};

/// What an insert writes once.
const FIXED: [&str; 4] = ["app_id", "trade_system", "out_settle_no", "create_time_ms"];

/// What every write of a settle writes.
const CHANGING: [&str; 38] = [
    "version",
    "revision",
    "update_time_ms",
    "origin",
    "state",
    "settle_id",
    "rejection",
    "last_error",
    "contradiction_claimed",
    "contradiction_settle_id",
    "contradiction_source",
    "contradiction_time_ms",
    "contradiction_resolved_ms",
    "open_permissions",
    "lost",
    "last_permission",
    "set_back",
    "exists_seen_ms",
    "refused",
    "fail_seen",
    "unlisted",
    "unlisted_times",
    "empties_after_expiry",
    "last_counted_ms",
    "wallet_settle_id",
    "order_id",
    "out_order_no",
    "item_order_id",
    "cp_extra",
    "settle_status",
    "settle_amount_fen",
    "rake_fen",
    "commission_fen",
    "platform_ticket_fen",
    "settle_detail",
    "message",
    "settle_time_ms",
    "auto_settle",
];

/// What every write writes for statements to read, and a record has elsewhere or knows by itself.
const DERIVED: [&str; 2] = ["owes_query", "rules"];

/// What lists find a settle by and a record has elsewhere.
const LISTED: &str = "listed_order_no";

const REQUEST: [&str; 9] = [
    "out_order_no",
    "item_order_id",
    "settle_desc",
    "settle_params",
    "ext",
    "notify_url",
    "sent_ext",
    "body",
    "submit_before_ms",
];

static INSERT_SETTLE: LazyLock<String> = LazyLock::new(|| {
    let columns = FIXED.iter().chain(&CHANGING).chain(&DERIVED).chain([&LISTED]);
    let columns: Vec<&str> = columns.copied().collect();
    let (marks, columns) = (vec!["?"; columns.len()].join(", "), columns.join(", "));
    format!("INSERT INTO settle ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING")
});

static UPDATE_SETTLE: LazyLock<String> = LazyLock::new(|| {
    let columns: Vec<&str> = CHANGING.iter().chain(&DERIVED).copied().collect();
    format!("UPDATE settle SET {} = ? WHERE id = ?", columns.join(" = ?, "))
});

/// Apart from the rest, so that no write of a settle made here touches the index for nothing.
pub(super) static UPDATE_LISTED: LazyLock<String> = LazyLock::new(|| {
    format!("UPDATE settle SET {LISTED} = ?1 WHERE id = ?2 AND {LISTED} IS NOT ?1")
});

static INSERT_REQUEST: LazyLock<String> = LazyLock::new(|| {
    let marks = vec!["?"; 1 + REQUEST.len()].join(", ");
    format!("INSERT INTO request (settle, {}) VALUES ({marks})", REQUEST.join(", "))
});

static SELECT_RECORD: LazyLock<String> = LazyLock::new(|| {
    let settle = FIXED.iter().chain(&CHANGING).map(|column| format!("settle.{column}"));
    let request = REQUEST.iter().map(|column| format!("request.{column}"));
    let columns: Vec<String> = settle.chain(request).collect();
    let columns = columns.join(", ");
    format!("SELECT {columns} FROM settle LEFT JOIN request ON request.settle = settle.id WHERE")
});

pub(super) static SELECT_BY_KEY: LazyLock<String> = LazyLock::new(|| {
    let by_key = "settle.app_id = ? AND settle.trade_system = ? AND settle.out_settle_no = ?";
    format!("{} {by_key}", *SELECT_RECORD)
});

pub(super) static SELECT_BY_ROW: LazyLock<String> =
    LazyLock::new(|| format!("{} settle.id = ?", *SELECT_RECORD));

pub(super) static SELECT_BY_SETTLE_ID: LazyLock<String> = LazyLock::new(|| {
    let by_settle_id = "settle.app_id = ? AND settle.trade_system = ? AND settle.settle_id = ?";
    format!("{} {by_settle_id}", *SELECT_RECORD)
});

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

/// The record of a row that was found just now, in the same transaction.
pub(super) fn record_by_row(connection: &Connection, id: i64) -> Result<Record, Fault> {
    let mut statement = connection.prepare_cached(&SELECT_BY_ROW)?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.expect("a transaction sees its rows until it ends");
    read_record(row).map_err(|fault| fault.in_row(id))
}

/// Returns the row's id, or `None` if its key or its `settle_id` is taken.
pub(super) fn insert_record(
    connection: &Connection,
    record: &Record,
) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached(&INSERT_SETTLE)?;
    let mut binder = Binder::new(&mut statement);
    binder.put(record.key.app_id.as_str())?;
    binder.put(record.key.trade_system.word())?;
    binder.put(record.key.out_settle_no.as_str())?;
    binder.time(record.create_time)?;
    bind_changing(&mut binder, record)?;
    binder.put(listed_order_no(record))?;
    if binder.execute()? == 0 {
        return Ok(None);
    }
    let id = connection.last_insert_rowid();
    match &record.origin {
        Origin::Gateway(request) => insert_request(connection, id, request)?,
        Origin::Platform => {}
    }
    Ok(Some(id))
}

/// Writes everything that changes, over a row whose origin was `before`.
pub(super) fn update_record(
    connection: &Connection,
    id: i64,
    before: OriginKind,
    record: &Record,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(&UPDATE_SETTLE)?;
    let mut binder = Binder::new(&mut statement);
    bind_changing(&mut binder, record)?;
    binder.put(id)?;
    binder.execute()?;
    match (before, &record.origin) {
        (OriginKind::Gateway, Origin::Gateway(_)) => return Ok(()),
        (OriginKind::Platform, Origin::Platform) => {}
        (OriginKind::Gateway, Origin::Platform) => {
            connection.prepare_cached("DELETE FROM request WHERE settle = ?")?.execute([id])?;
        }
        (OriginKind::Platform, Origin::Gateway(request)) => {
            insert_request(connection, id, request)?;
        }
    }
    let listed = params![listed_order_no(record), id];
    connection.prepare_cached(&UPDATE_LISTED)?.execute(listed).map(|_| ())
}

/// A caller's settle is of the order in its request, whatever Douyin says.
fn listed_order_no(record: &Record) -> Option<&str> {
    let order = match &record.origin {
        Origin::Gateway(request) => Some(&request.content.out_order_no),
        Origin::Platform => record.facts.out_order_no.as_ref(),
    };
    order.map(OutOrderNo::as_str)
}

fn insert_request(connection: &Connection, id: i64, request: &Request) -> rusqlite::Result<()> {
    let content = &request.content;
    let mut statement = connection.prepare_cached(&INSERT_REQUEST)?;
    let mut binder = Binder::new(&mut statement);
    binder.put(id)?;
    binder.put(content.out_order_no.as_str())?;
    binder.put(content.item_order_id.as_ref().map(ItemOrderId::as_str))?;
    binder.put(content.settle_desc.as_str())?;
    binder.put(settle_params_json(&content.settle_params))?;
    binder.put(content.ext.as_ref().map(Ext::as_str))?;
    binder.put(content.notify_url.as_ref().map(NotifyUrl::as_str))?;
    binder.put(request.sent_ext.as_deref())?;
    binder.put(request.body.as_str())?;
    binder.time(request.submit_before)?;
    binder.execute()?;
    Ok(())
}

fn bind_changing(binder: &mut Binder<'_, '_>, record: &Record) -> rusqlite::Result<()> {
    binder.put(record.version)?;
    binder.put(record.revision)?;
    binder.time(record.update_time)?;
    let origin = match record.origin {
        Origin::Gateway(_) => OriginKind::Gateway,
        Origin::Platform => OriginKind::Platform,
    };
    binder.put(origin.word())?;
    binder.put(record.state.kind().word())?;
    binder.put(record.state.settle_id().map(SettleId::as_str))?;
    let rejection = match &record.state {
        State::Rejected { rejection } => Some(rejection),
        State::Submitting
        | State::Processing { .. }
        | State::Succeeded { .. }
        | State::Failed { .. } => None,
    };
    binder.put(rejection.map(failure_json))?;
    binder.put(record.last_error.as_ref().map(failure_json))?;
    let contradiction = record.contradiction.as_ref();
    binder.put(contradiction.map(|seen| seen.claimed.word()))?;
    binder.put(contradiction.map(|seen| seen.settle_id.as_str()))?;
    binder.put(contradiction.map(|seen| seen.source.word()))?;
    binder.time_opt(contradiction.map(|seen| seen.time))?;
    binder.time_opt(contradiction.and_then(|seen| seen.resolved))?;
    bind_evidence(binder, &record.evidence)?;
    bind_facts(binder, &record.facts)?;
    binder.put(record.owes_a_query())?;
    binder.put(RULES)
}

fn bind_evidence(binder: &mut Binder<'_, '_>, evidence: &Evidence) -> rusqlite::Result<()> {
    binder.put((!evidence.open.is_empty()).then(|| permissions_json(&evidence.open)))?;
    binder.put(evidence.lost)?;
    binder.put(evidence.last_permission.as_ref().map(permission_json))?;
    binder.put(evidence.set_back)?;
    binder.time_opt(evidence.exists_seen)?;
    binder.put(evidence.refused.as_ref().map(failure_json))?;
    binder.put(evidence.fail_seen.as_ref().map(SettleId::as_str))?;
    let unlisted = evidence.unlisted.as_ref();
    binder.put(unlisted.map(|unlisted| failure_json(&unlisted.failure)))?;
    binder.put(unlisted.map(|unlisted| unlisted.times))?;
    binder.put(evidence.empties_after_expiry)?;
    binder.time_opt(evidence.last_counted)
}

fn bind_facts(binder: &mut Binder<'_, '_>, facts: &Facts) -> rusqlite::Result<()> {
    binder.put(facts.wallet_settle_id.as_ref().map(WalletSettleId::as_str))?;
    binder.put(facts.order_id.as_ref().map(OrderId::as_str))?;
    binder.put(facts.out_order_no.as_ref().map(OutOrderNo::as_str))?;
    binder.put(facts.item_order_id.as_ref().map(ItemOrderId::as_str))?;
    binder.put(facts.cp_extra.as_deref())?;
    binder.put(facts.settle_status.as_deref())?;
    binder.fen_opt(facts.settle_amount)?;
    binder.fen_opt(facts.rake)?;
    binder.fen_opt(facts.commission)?;
    binder.fen_opt(facts.platform_ticket)?;
    binder.put(facts.settle_detail.as_deref())?;
    binder.put(facts.message.as_deref())?;
    binder.time_opt(facts.settle_time)?;
    binder.put(facts.auto_settle)
}

fn read_record(row: &Row<'_>) -> Result<Record, Fault> {
    let mut cursor = Cursor::new(row);
    let key = Key {
        app_id: cursor.name(AppId::parse)?,
        trade_system: cursor.word()?,
        out_settle_no: cursor.name(OutSettleNo::reported)?,
    };
    let create_time = cursor.time()?;
    let version = cursor.int()?;
    let revision = cursor.int()?;
    let update_time = cursor.time()?;
    let origin = cursor.word()?;
    let state = read_state(&mut cursor)?;
    let last_error = cursor.failure_opt()?;
    let contradiction = read_contradiction(&mut cursor)?;
    let evidence = read_evidence(&mut cursor)?;
    let facts = read_facts(&mut cursor)?;
    let origin = match origin {
        OriginKind::Gateway => Origin::Gateway(read_request(&mut cursor)?),
        OriginKind::Platform => Origin::Platform,
    };
    Ok(Record {
        key,
        origin,
        state,
        facts,
        evidence,
        last_error,
        contradiction,
        version,
        revision,
        create_time,
        update_time,
    })
}

fn read_state(cursor: &mut Cursor<'_>) -> Result<State, Fault> {
    let kind = cursor.word()?;
    let settle_id = cursor.name_opt(SettleId::parse)?;
    let rejection: Option<Failure> = cursor.failure_opt()?;
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

fn read_evidence(cursor: &mut Cursor<'_>) -> Result<Evidence, Fault> {
    Ok(Evidence {
        open: cursor.json_opt(permissions_from_json)?.unwrap_or_default(),
        lost: cursor.count()?,
        last_permission: cursor.json_opt(permission_from_json)?,
        set_back: cursor.flag()?,
        exists_seen: cursor.time_opt()?,
        refused: cursor.failure_opt()?,
        fail_seen: cursor.name_opt(SettleId::parse)?,
        unlisted: match (cursor.failure_opt()?, cursor.count_opt()?) {
            (None, None) => None,
            (Some(failure), Some(times)) => Some(Unlisted { failure, times }),
            (None, Some(_)) | (Some(_), None) => {
                return Err(Fault::Unreadable("unlisted is incomplete".to_owned()));
            }
        },
        empties_after_expiry: cursor.count()?,
        last_counted: cursor.time_opt()?,
    })
}

fn read_facts(cursor: &mut Cursor<'_>) -> Result<Facts, Fault> {
    Ok(Facts {
        wallet_settle_id: cursor.name_opt(WalletSettleId::parse)?,
        order_id: cursor.name_opt(OrderId::parse)?,
        out_order_no: cursor.name_opt(OutOrderNo::parse)?,
        item_order_id: cursor.name_opt(ItemOrderId::parse)?,
        cp_extra: cursor.text_opt()?,
        settle_status: cursor.text_opt()?,
        settle_amount: cursor.fen_opt()?,
        rake: cursor.fen_opt()?,
        commission: cursor.fen_opt()?,
        platform_ticket: cursor.fen_opt()?,
        settle_detail: cursor.text_opt()?,
        message: cursor.text_opt()?,
        settle_time: cursor.time_opt()?,
        auto_settle: cursor.flag_opt()?,
    })
}

fn read_request(cursor: &mut Cursor<'_>) -> Result<Request, Fault> {
    Ok(Request {
        content: Content {
            out_order_no: cursor.name(OutOrderNo::parse)?,
            item_order_id: cursor.name_opt(ItemOrderId::parse)?,
            settle_desc: cursor.name(SettleDesc::parse)?,
            settle_params: cursor.json(settle_params_from_json)?,
            ext: cursor.name_opt(Ext::parse)?,
            notify_url: cursor.name_opt(NotifyUrl::parse)?,
        },
        sent_ext: cursor.text_opt()?,
        body: cursor.text()?,
        submit_before: cursor.time()?,
    })
}
