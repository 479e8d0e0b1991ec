//! The answers of guaranteed payment's queries (6.3).
//!
//! What it must not know: what a number of Douyin's means.

use serde_json::Value;

use super::{object, part};
use crate::douyin::facts::{facts, settle_id, status};
use crate::douyin::wire::values::{Fields, parsed, text};
use crate::douyin::wire::{Answer, Unreadable, lenient};
use crate::settle::{Fen, OutOrderNo, OutSettleNo, Report};

/// The settle of query_settle, or those of query_platform_order. A settle without a number or a
/// status is none: it is how an unknown number is shown.
pub(super) fn reports(answer: &Answer) -> Result<Vec<Report>, Unreadable> {
    let order = object(answer, "platform_order");
    match (object(answer, "settle_info"), order) {
        // It does not repeat the number that was asked for, and shows no order.
        (Some(settle), None) => Ok(vec![report(settle, None)?]),
        (None, Some(order)) => of_order(order),
        (Some(_), Some(_)) | (None, None) => Err(Unreadable("the answer holds no settles")),
    }
}

/// What Douyin settled of an order by itself.
fn of_order(order: &Fields) -> Result<Vec<Report>, Unreadable> {
    let number = parsed(text(order, &["out_order_no"])?, OutOrderNo::parse, "out_order_no")?;
    let Some(Value::Array(settles)) = order.get("settle_info_list") else {
        return Err(Unreadable("settle_info_list is missing"));
    };
    let one = |settle: &Value| {
        let settle = settle.as_object().ok_or(Unreadable("a settle of the order is no object"))?;
        let mut report = report(settle, number.clone())?;
        report.facts.auto_settle.get_or_insert(true);
        Ok(report)
    };
    settles.iter().map(one).collect()
}

/// One settle. `order`: the order that it is of, if the message names it beside the settle.
pub(super) fn report(fields: &Fields, order: Option<OutOrderNo>) -> Result<Report, Unreadable> {
    let settle_id = settle_id(fields, "settle_no")?;
    // `status` in callbacks.
    let word = text(fields, &["settle_status", "status"])?.ok_or(Unreadable("settle_status"))?;
    // `cp_settle_no` in callbacks.
    let number = text(fields, &["out_settle_no", "cp_settle_no"])?;
    let mut facts = facts(fields, word.clone(), None)?;
    facts.out_order_no = facts.out_order_no.or(order);
    Ok(Report {
        settle_id,
        status: status(&word),
        // Douyin's own number of automatic settlement may be longer than a caller's.
        out_settle_no: parsed(number, OutSettleNo::reported, "out_settle_no")?,
        item: None,
        facts,
    })
}

/// unsettle_amount, response: what of an order can still be settled, after fees and refunds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AmountLeft {
    pub amount: Fen,
    /// What was paid for the order.
    pub paid: Option<Fen>,
    /// What was refunded of it.
    pub refunded: Option<Fen>,
    /// The fee of the payment, and that of life services.
    pub payment_rake: Option<Fen>,
    pub life_rake: Option<Fen>,
    pub commission: Option<Fen>,
}

pub(in crate::douyin) fn amount_left(
    answer: &Answer,
    asked: &OutOrderNo,
) -> Result<AmountLeft, Unreadable> {
    // A 0 is an amount, so it is not looked for by what names something.
    let below = answer.data.as_object();
    let found = below.or_else(|| part(answer, "out_order_no"));
    let fields = found.ok_or(Unreadable("the answer holds no amount"))?;
    let number = parsed(text(fields, &["out_order_no"])?, OutOrderNo::parse, "out_order_no")?;
    if number.is_some_and(|number| number != *asked) {
        return Err(Unreadable("it answers another question"));
    }
    let amount = crate::douyin::wire::values::integer(fields, "unsettle_amount")?;
    let none = Fields::new();
    let detail = fields.get("detail").and_then(Value::as_object).unwrap_or(&none);
    let paid = detail.get("pay_info").and_then(Value::as_object).unwrap_or(&none);
    let refunds = detail.get("refund_info").and_then(Value::as_array);
    let refunded = refunds.and_then(|refunds| {
        let amounts = refunds.iter().map(|one| lenient::fen(one.as_object()?, "amount"));
        Fen::checked_sum(amounts.collect::<Option<Vec<_>>>()?)
    });
    Ok(AmountLeft {
        amount: amount.map(Fen::new).ok_or(Unreadable("unsettle_amount"))?,
        paid: lenient::fen(paid, "amount"),
        refunded,
        payment_rake: lenient::fen(detail, "payment_rake"),
        life_rake: lenient::fen(detail, "life_rake"),
        commission: lenient::fen(detail, "commission"),
    })
}
