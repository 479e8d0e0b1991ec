//! What Douyin tells about a settle, in answers and in callbacks of every trade system. What one of
//! them spells in another way than the others is read from all of them.
//!
//! What it must not know: where the fields stand in a message.

use super::wire::json::is_damaged;
use super::wire::values::{Fields, names_something, parsed, shown, text};
use super::wire::{Unreadable, lenient};
use crate::settle::{
    Facts, InnerSettleId, ItemOrderId, OrderId, OutOrderNo, ReportedStatus, SettleId,
    WalletSettleId,
};

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
        Some(value @ serde_json::Value::String(text)) if is_damaged(text) => {
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
        // The second name is that of guaranteed payment's automatic settles, here and below.
        rake: lenient::fen(fields, "rake").or_else(|| lenient::fen(fields, "service_charge")),
        commission: lenient::fen(fields, "commission").or_else(|| lenient::fen(fields, "cps")),
        platform_ticket: lenient::fen(fields, "platform_ticket"),
        settle_detail: lenient::text(fields, "settle_detail"),
        // `msg` in guaranteed payment's queries.
        message: lenient::text(fields, "message").or_else(|| lenient::text(fields, "msg")),
        // `settle_at` in the general system, `settled_at` in guaranteed payment, `settle_time` in
        // the others.
        settle_time: ["settle_at", "settle_time", "settled_at"]
            .into_iter()
            .find_map(|name| lenient::time(fields, name)),
        auto_settle: lenient::flag(fields, "is_auto_settle"),
    })
}

/// Zero is no id: some languages write a missing value as 0.
pub(super) fn settle_id(fields: &Fields, name: &'static str) -> Result<SettleId, Unreadable> {
    let text = text(fields, &[name])?.filter(|_| names_something(fields, name));
    parsed(text, SettleId::parse, name)?.ok_or(Unreadable("the id of the settle is missing"))
}
