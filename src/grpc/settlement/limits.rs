//! What a create may say in its trade system: less than the form of each field allows.
//!
//! What it must not know: what Douyin answers to more.

use super::super::violations::Violations;
use crate::douyin::{limits, settle_params_text};
use crate::settle::{
    Invalid, ItemOrderId, NotifyUrl, OutSettleNo, SettleDesc, SettleParam, TradeSystem,
};

/// The fields that have such limits, as far as they were read.
pub(super) struct Said<'a> {
    pub(super) out_settle_no: Option<&'a OutSettleNo>,
    pub(super) settle_desc: Option<&'a SettleDesc>,
    pub(super) settle_params: &'a [SettleParam],
    pub(super) item_order_id: Option<&'a ItemOrderId>,
    pub(super) notify_url: Option<&'a NotifyUrl>,
}

/// Adds what the system does not take.
pub(super) fn check(bad: &mut Violations, trade_system: TradeSystem, said: &Said<'_>) {
    let (limits, system) = (limits(trade_system), trade_system.as_str());
    let mut most = |field: &str, count: usize, max: Option<usize>, unit: &str| {
        if let Some(max) = max.filter(|max| count > *max) {
            let why = format!("has {count} {unit}; the trade system {system} takes at most {max}");
            bad.add(field, why);
        }
    };
    let characters = said.settle_desc.map_or(0, |text| text.as_str().chars().count());
    most("settle_desc", characters, limits.settle_desc_characters_max, "characters");
    let bytes = said.notify_url.map_or(0, |url| url.as_str().len());
    most("notify_url", bytes, limits.notify_url_bytes_max, "bytes");
    most("settle_params", said.settle_params.len(), limits.receivers_max, "receivers");
    for (i, param) in said.settle_params.iter().enumerate() {
        let field = format!("settle_params[{i}].merchant_uid");
        let bytes = param.merchant_uid.as_str().len();
        most(&field, bytes, limits.merchant_uid_bytes_max, "bytes");
    }
    let (bytes, bytes_max) =
        (settle_params_text(said.settle_params).len(), limits.settle_params_bytes_max);
    if !said.settle_params.is_empty() && bytes > bytes_max {
        let invalid = Invalid::TooLong { bytes, bytes_max };
        bad.add("settle_params", format!("as JSON text {invalid}"));
    }
    if said.item_order_id.is_some() && !limits.has_items {
        bad.add("item_order_id", format!("the trade system {system} settles whole orders only"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '*'].contains(&c);
    let is_plain = said.out_settle_no.is_none_or(|number| number.as_str().chars().all(plain));
    if !is_plain && limits.has_plain_numbers {
        let why = "takes letters, digits, \"_\", \"-\" and \"*\" only";
        bad.add("out_settle_no", format!("the trade system {system} {why}"));
    }
}
