//! The settles in an answer to a query (2, 6.1), as the reports of the life cycle.

use serde_json::Value;

use crate::douyin::facts::{facts, settle_id, status};
use crate::douyin::wire::Unreadable;
use crate::douyin::wire::values::{parsed, shown, text};
use crate::settle::{OutSettleNo, Report};

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
    let settle_id = settle_id(fields, "settle_id")?;
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
