//! What the systems of the trade family (交易系统) have in common: the general one, the self-operated
//! one, the industry one and the agency one. They have the same requests, answers, callbacks and
//! numbers; each spells some of it in its own way, which its module says by a [`Spelling`].
//!
//! Written strictly, read as [`wire`](super::wire) says. What one of them spells in another way
//! than the others is read from all of them: no document rules out that the others do so too.
//!
//! What it must not know: HTTP statuses, tokens, what a number of Douyin's means, which system it
//! is used for.

mod callback;
pub(super) mod codes;
mod items;
#[cfg(test)]
mod odd_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::limits::{Limits, settle_params_text};
use super::wire::{QueryBy, json, lenient, values};
use crate::settle::{
    AcceptedIds, AppId, Content, InnerSettleId, Key, NotifyUrl, SettleId, WalletSettleId,
};

pub(super) use callback::report;
pub(super) use items::reports;

/// As the page of the general system's create has them (1.3). A bound on the receivers is not
/// documented.
pub(super) const LIMITS: Limits = Limits {
    settle_params_bytes_max: 512,
    receivers_max: None,
    merchant_uid_bytes_max: None,
    settle_desc_characters_max: None,
    notify_url_bytes_max: None,
    has_items: true,
    has_plain_numbers: false,
};

/// How one system spells what it shares with the others.
pub(super) struct Spelling {
    /// Whether its bodies name the app. Where they do not, the credentials say whose call it is.
    pub(super) app_id: bool,
    /// The name of the text that Douyin passes through and shows as `cp_extra`.
    pub(super) passed_through: PassedThrough,
}

pub(super) enum PassedThrough {
    Ext,
    CpExtra,
}

/// A create, request body (1.3, 6.1). Every value is a string. Unset fields are left out, because a
/// `null` is refused (pitfalls).
#[derive(Serialize)]
struct CreateBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a str>,
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
    cp_extra: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_url: Option<&'a str>,
}

/// See [`super::client::create_body`].
pub(super) fn create_body(
    spelling: &Spelling,
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
    let (ext, cp_extra) = match spelling.passed_through {
        PassedThrough::Ext => (ext, None),
        PassedThrough::CpExtra => (None, ext),
    };
    json(&CreateBody {
        app_id: spelling.app_id.then_some(key.app_id.as_str()),
        out_order_no: content.out_order_no.as_str(),
        out_settle_no: key.out_settle_no.as_str(),
        item_order_id: content.item_order_id.as_ref().map(|item| item.as_str()),
        settle_desc: content.settle_desc.as_str(),
        settle_params,
        ext,
        cp_extra,
        notify_url: notify_url.map(NotifyUrl::as_str),
    })
}

/// A query, request body. It has one key only, because of several only the first in Douyin's
/// own order counts.
pub(super) fn query_body(spelling: &Spelling, app_id: &AppId, by: QueryBy<'_>) -> String {
    let (key, value) = match by {
        QueryBy::SettleId(settle_id) => ("settle_id", settle_id.as_str()),
        QueryBy::OutSettleNo(out_settle_no) => ("out_settle_no", out_settle_no.as_str()),
        QueryBy::OrderId(order_id) => ("order_id", order_id.as_str()),
        QueryBy::OutOrderNo(out_order_no) => ("out_order_no", out_order_no.as_str()),
    };
    let app_id = spelling.app_id.then_some(("app_id", app_id.as_str()));
    json(&app_id.into_iter().chain([(key, value)]).collect::<BTreeMap<_, _>>())
}

/// A create, response `data` (1.6, 6.1). `None`: Douyin names no settle, or the name cannot be
/// used.
pub(super) fn accepted_ids(data: &Value) -> Option<AcceptedIds> {
    let fields = data.as_object()?;
    let settle_id = values::text(fields, &["settle_id"]).ok()??;
    let settle_id = values::names_something(fields, "settle_id").then_some(settle_id)?;
    let settle_id = SettleId::parse(settle_id).ok()?;
    let wallet_settle_id = lenient::id(fields, "wallet_settle_id", WalletSettleId::parse);
    let inner_settle_id = lenient::id(fields, "inner_settle_id", InnerSettleId::parse);
    Some(AcceptedIds { settle_id, wallet_settle_id, inner_settle_id })
}
