//! The general trading system (通用交易系统, `trade_basic/v1`): where its calls go, what is sent, and how
//! its answers and callbacks describe a settle.
//!
//! Written strictly, read as [`wire`](super::wire) says.
//!
//! What it must not know: HTTP statuses, tokens, what a number of Douyin's means, the other trade
//! systems.

mod callback;
pub(super) mod codes;
mod items;
#[cfg(test)]
mod odd_tests;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

use super::wire::{QueryBy, json, lenient, values};
use crate::settle::{
    AcceptedIds, AppId, Content, Key, NotifyUrl, SettleId, SettleParam, WalletSettleId,
};

pub(super) use callback::report;
pub(super) use items::reports;

/// With the slash at the end: every known client sends it, and a redirect would lose the POST
/// (settle_create, 1.9).
pub(super) const CREATE_PATH: &str = "/api/trade_basic/v1/developer/settle_create/";
pub(super) const QUERY_PATH: &str = "/api/trade_basic/v1/developer/settle_query/";

/// settle_create, request body (1.3). Every value is a string. Unset fields are left out, because a
/// `null` is refused (pitfalls).
#[derive(Serialize)]
struct CreateBody<'a> {
    /// Not on the page, but the official SDK requires it and three SDKs of four send it.
    app_id: &'a str,
    out_order_no: &'a str,
    out_settle_no: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    item_order_id: Option<&'a str>,
    settle_desc: &'a str,
    /// A JSON array serialized into a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    settle_params: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_url: Option<&'a str>,
}

/// settle_create, element of `settle_params` (1.4): here the amount is a JSON number.
#[derive(Serialize)]
struct Receiver<'a> {
    merchant_uid: &'a str,
    amount: i64,
}

/// See [`super::client::create_body`].
pub(super) fn create_body(
    key: &Key,
    content: &Content,
    ext: Option<&str>,
    notify_url_default: Option<&NotifyUrl>,
) -> String {
    let notify_url = content.notify_url.as_ref().or(notify_url_default);
    let settle_params = match content.settle_params.as_slice() {
        [] => None,
        params => Some(settle_params_text(params)),
    };
    json(&CreateBody {
        app_id: key.app_id.as_str(),
        out_order_no: content.out_order_no.as_str(),
        out_settle_no: key.out_settle_no.as_str(),
        item_order_id: content.item_order_id.as_ref().map(|item| item.as_str()),
        settle_desc: content.settle_desc.as_str(),
        settle_params,
        ext,
        notify_url: notify_url.map(NotifyUrl::as_str),
    })
}

/// The receivers as Douyin receives and measures them (1.3: at most 512 bytes), an array without
/// spaces.
pub fn settle_params_text(params: &[SettleParam]) -> String {
    let receivers: Vec<Receiver<'_>> = params
        .iter()
        .map(|param| Receiver {
            merchant_uid: param.merchant_uid.as_str(),
            amount: param.amount.get(),
        })
        .collect();
    json(&receivers)
}

/// settle_query, request body. It has one key only, because of several only the first in Douyin's
/// own order counts.
pub(super) fn query_body(app_id: &AppId, by: QueryBy<'_>) -> String {
    let (key, value) = match by {
        QueryBy::SettleId(settle_id) => ("settle_id", settle_id.as_str()),
        QueryBy::OutSettleNo(out_settle_no) => ("out_settle_no", out_settle_no.as_str()),
        QueryBy::OrderId(order_id) => ("order_id", order_id.as_str()),
        QueryBy::OutOrderNo(out_order_no) => ("out_order_no", out_order_no.as_str()),
    };
    json(&std::collections::BTreeMap::from([("app_id", app_id.as_str()), (key, value)]))
}

/// settle_create, response `data` (1.6). `None`: Douyin names no settle, or the name cannot be
/// used.
pub(super) fn accepted_ids(data: &Value) -> Option<AcceptedIds> {
    let fields = data.as_object()?;
    let settle_id = values::text(fields, &["settle_id"]).ok()??;
    let settle_id = values::names_something(fields, "settle_id").then_some(settle_id)?;
    let settle_id = SettleId::parse(settle_id).ok()?;
    let wallet_settle_id = lenient::id(fields, "wallet_settle_id", WalletSettleId::parse);
    Some(AcceptedIds { settle_id, wallet_settle_id })
}
