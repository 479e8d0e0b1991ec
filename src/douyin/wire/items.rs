//! The settles in an answer to settle_query (2), as the reports of the life cycle.

use serde_json::Value;

use super::Unreadable;
use super::values::{Fields, flag, integer, shown, text};
use crate::clock::Timestamp;
use crate::settle::{
    Facts, Fen, Invalid, ItemOrderId, OrderId, OutOrderNo, OutSettleNo, Report, ReportedStatus,
    SettleId, WalletSettleId,
};

/// The settles that a query found, all of them or none.
///
/// `data` is an array in the sample and an object in the schema of the same page, so both are read.
/// Only an empty array means "none": a `data` that is missing or `null` is a broken answer, and
/// taking it for "none" could end a settle that lives. For the same reason one malformed item
/// spoils the answer: it might be the one that was asked for.
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
    let settle_id = parsed(text(fields, &["settle_id"])?, SettleId::parse, "settle_id")?;
    let word = text(fields, &["settle_status"])?.ok_or(Unreadable("settle_status"))?;
    // The 2023 page and one client call them `…_id`.
    let out_settle_no = text(fields, &["out_settle_no", "out_settle_id"])?;
    let item_order_id = shown(fields, "item_order_id")?;
    Ok(Report {
        settle_id: settle_id.ok_or(Unreadable("settle_id"))?,
        status: status(&word),
        // As in callbacks: of automatic settlement it is Douyin's own and may be longer.
        out_settle_no: parsed(out_settle_no, OutSettleNo::reported, "out_settle_no")?,
        facts: facts(fields, word, item_order_id.clone())?,
        item: item_order_id,
    })
}

/// The words are in one client's constants only, and SUCCESS in the samples: any other word is
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

/// What Douyin shows. Its own ids that only inform are left out if they break our bound, which is a
/// guess: a settle must not hang on that.
pub(super) fn facts(
    fields: &Fields,
    settle_status: String,
    item_order_id: Option<String>,
) -> Result<Facts, Unreadable> {
    let fen = |name| Ok::<_, Unreadable>(integer(fields, name)?.map(Fen::new));
    let item_order_id = item_order_id.filter(|item| !item.is_empty());
    let out_order_no = text(fields, &["out_order_no", "out_order_id"])?;
    let wallet_settle_id = text(fields, &["wallet_settle_id"])?;
    Ok(Facts {
        wallet_settle_id: wallet_settle_id.and_then(|id| WalletSettleId::parse(id).ok()),
        order_id: text(fields, &["order_id"])?.and_then(|id| OrderId::parse(id).ok()),
        out_order_no: parsed(out_order_no, OutOrderNo::parse, "out_order_no")?,
        item_order_id: item_order_id.and_then(|item| ItemOrderId::parse(item).ok()),
        // Empty is a word of Douyin's too: nothing was sent as `ext`.
        cp_extra: shown(fields, "cp_extra")?,
        settle_status: Some(settle_status),
        settle_amount: fen("settle_amount")?,
        rake: fen("rake")?,
        commission: fen("commission")?,
        platform_ticket: fen("platform_ticket")?,
        settle_detail: text(fields, &["settle_detail"])?,
        message: text(fields, &["message"])?,
        settle_time: settle_time(fields)?,
        auto_settle: flag(fields, "is_auto_settle")?,
    })
}

/// `settle_at` here, `settle_time` in the sibling systems; milliseconds. 0 is "not yet", as the
/// zero of a language without optional numbers.
fn settle_time(fields: &Fields) -> Result<Option<Timestamp>, Unreadable> {
    for name in ["settle_at", "settle_time"] {
        match integer(fields, name)? {
            None | Some(0) => {}
            Some(ms) if ms > 0 => return Ok(Some(Timestamp::from_ms(ms))),
            Some(_) => return Err(Unreadable(name)),
        }
    }
    Ok(None)
}

pub(super) fn parsed<T>(
    text: Option<String>,
    parse: fn(String) -> Result<T, Invalid>,
    name: &'static str,
) -> Result<Option<T>, Unreadable> {
    text.map(|text| parse(text).map_err(|_| Unreadable(name))).transpose()
}
