//! The settles in an answer to a query (2, 6.1), as the reports of the life cycle.

use serde_json::Value;

use crate::douyin::wire::json::is_damaged;
use crate::douyin::wire::values::{Fields, names_something, parsed, shown, text};
use crate::douyin::wire::{Unreadable, lenient};
use crate::settle::{
    Facts, InnerSettleId, ItemOrderId, OrderId, OutOrderNo, OutSettleNo, Report, ReportedStatus,
    SettleId, WalletSettleId,
};

/// The settles that a query found, all of them or none.
///
/// `data` is an array in the sample and an object in the schema of the same page, so both are read.
/// Only an empty array means "none": a missing or `null` `data` is a broken answer, and reading it
/// as "none" could end a settle that lives. For the same reason one malformed item makes the whole
/// answer unreadable: it might be the settle that was asked for.
pub(in crate::douyin) fn reports(data: &Value) -> Result<Vec<Report>, Unreadable> {
    match data {
        Value::Array(items) => items.iter().map(item).collect(),
        Value::Object(_) => Ok(vec![item(data)?]),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(Unreadable("data holds no settles"))
        }
    }
}

fn item(value: &Value) -> Result<Report, Unreadable> {
    let Value::Object(fields) = value else {
        return Err(Unreadable("an item of data is no object"));
    };
    let settle_id = settle_id(fields)?;
    let word = text(fields, &["settle_status"])?.ok_or(Unreadable("settle_status"))?;
    // The 2023 page and one client have the names with `…_id`.
    let out_settle_no = text(fields, &["out_settle_no", "out_settle_id"])?;
    let item_order_id = shown(fields, "item_order_id")?;
    Ok(Report {
        settle_id,
        status: status(&word),
        // As in callbacks: Douyin's own number of automatic settlement may be longer.
        out_settle_no: parsed(out_settle_no, OutSettleNo::reported, "out_settle_no")?,
        facts: facts(fields, word, item_order_id.clone())?,
        item: item_order_id,
    })
}

/// The words are in one client's constants only, and SUCCESS in the samples. Any other word is
/// possible.
pub(super) fn status(word: &str) -> ReportedStatus {
    match word {
        "INIT" => ReportedStatus::Init,
        "PROCESSING" => ReportedStatus::Processing,
        "SUCCESS" => ReportedStatus::Success,
        "FAIL" => ReportedStatus::Fail,
        _ => ReportedStatus::Unlisted,
    }
}

/// What Douyin shows. The order and `cp_extra` decide whose settle it is. All else is left out
/// where it cannot be read.
pub(super) fn facts(
    fields: &Fields,
    settle_status: String,
    item_order_id: Option<String>,
) -> Result<Facts, Unreadable> {
    let item_order_id = item_order_id.filter(|item| !item.is_empty());
    let out_order_no = text(fields, &["out_order_no", "out_order_id"])?;
    let (out_order_no, cp_extra) = match fields.get("cp_extra") {
        // It may be our own `ext`, cut within a character. Read as another text it would prove that
        // the settle is another system's. So it proves nothing, and neither does the order beside
        // it.
        Some(value @ Value::String(text)) if is_damaged(text) => {
            (None, lenient::dropped("cp_extra", value))
        }
        // An empty text means that nothing was sent as `ext`.
        Some(_) | None => (out_order_no, shown(fields, "cp_extra")?),
    };
    Ok(Facts {
        wallet_settle_id: lenient::id(fields, "wallet_settle_id", WalletSettleId::parse),
        inner_settle_id: lenient::id(fields, "inner_settle_id", InnerSettleId::parse),
        order_id: lenient::id(fields, "order_id", OrderId::parse),
        out_order_no: parsed(out_order_no, OutOrderNo::parse, "out_order_no")?,
        item_order_id: item_order_id.and_then(|item| ItemOrderId::parse(item).ok()),
        cp_extra,
        settle_status: Some(settle_status),
        settle_amount: lenient::fen(fields, "settle_amount"),
        rake: lenient::fen(fields, "rake"),
        commission: lenient::fen(fields, "commission"),
        platform_ticket: lenient::fen(fields, "platform_ticket"),
        settle_detail: lenient::text(fields, "settle_detail"),
        message: lenient::text(fields, "message"),
        // `settle_at` in the general system, `settle_time` in the others.
        settle_time: lenient::time(fields, "settle_at")
            .or_else(|| lenient::time(fields, "settle_time")),
        auto_settle: lenient::flag(fields, "is_auto_settle"),
    })
}

/// Zero is no id: some languages write a missing value as 0.
pub(super) fn settle_id(fields: &Fields) -> Result<SettleId, Unreadable> {
    let text = text(fields, &["settle_id"])?.filter(|_| names_something(fields, "settle_id"));
    parsed(text, SettleId::parse, "settle_id")?.ok_or(Unreadable("settle_id is missing"))
}
