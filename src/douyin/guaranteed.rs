//! Guaranteed payment (担保支付, `apps/ecpay/v1`), which Douyin retires (6.3). Its calls carry a
//! signature in the body, its answers are flat, its times are seconds, and it answers a repeated
//! number like the first one (`settle::Repeats`).

mod answers;
mod callback;
mod codes;
mod sign;

use serde::Serialize;
use serde_json::Value;

use super::limits::{Limits, settle_params_text};
use super::system::{Callbacks, Create, Credentials, Question, Site, System};
use super::wire::values::{Fields, names_something};
use super::wire::{Answer, QueryBy, json};
use crate::settle::{AcceptedIds, AppId, Content, Key, NotifyUrl, OutOrderNo};

pub use answers::AmountLeft;
pub(super) use answers::amount_left;
pub(super) use callback::{hear, signed_part};
pub(super) use sign::signed;

pub(super) static SYSTEM: System = System {
    site: Site::Developer,
    credentials: Credentials::Salt,
    create: Some(Create { path: "/api/apps/ecpay/v1/settle", body: create_body, accepted_ids }),
    question,
    reports: answers::reports,
    absent: Some(codes::RECORD_MISSING),
    report: callback::settle,
    callbacks: Some(Callbacks::Token),
    limits: Limits {
        settle_params_bytes_max: 2_048,
        receivers_max: Some(4),
        merchant_uid_bytes_max: Some(32),
        settle_desc_characters_max: Some(80),
        notify_url_bytes_max: Some(256),
        has_items: false,
        has_plain_numbers: true,
    },
    codes: &[codes::TABLE],
};

/// settle, request body without `sign`.
#[derive(Serialize)]
struct CreateBody<'a> {
    app_id: &'a str,
    out_settle_no: &'a str,
    out_order_no: &'a str,
    settle_desc: &'a str,
    /// A JSON array serialized into a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    settle_params: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cp_extra: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify_url: Option<&'a str>,
}

fn create_body(
    key: &Key,
    content: &Content,
    ext: Option<&str>,
    notify_url_default: Option<&NotifyUrl>,
) -> String {
    let settle_params = match content.settle_params.as_slice() {
        [] => None,
        params => Some(settle_params_text(params)),
    };
    let notify_url = content.notify_url.as_ref().or(notify_url_default);
    json(&CreateBody {
        app_id: key.app_id.as_str(),
        out_settle_no: key.out_settle_no.as_str(),
        out_order_no: content.out_order_no.as_str(),
        settle_desc: content.settle_desc.as_str(),
        settle_params,
        cp_extra: ext,
        notify_url: notify_url.map(NotifyUrl::as_str),
    })
}

/// settle, response: the number stands beside `err_no`.
fn accepted_ids(answer: &Answer) -> Option<AcceptedIds> {
    let settle_id = super::facts::settle_id(part(answer, "settle_no")?, "settle_no").ok()?;
    Some(AcceptedIds { settle_id, wallet_settle_id: None, inner_settle_id: None })
}

/// Only a settle's own number is a key of query_settle. What Douyin settled of an order by itself
/// has a query of its own.
fn question(app_id: &AppId, by: QueryBy<'_>) -> Option<Question> {
    #[derive(Serialize)]
    struct OfNumber<'a> {
        app_id: &'a str,
        out_settle_no: &'a str,
    }
    #[derive(Serialize)]
    struct OfOrder<'a> {
        app_id: &'a str,
        out_order_no: &'a str,
        /// The only one that is documented.
        query_type: u8,
    }
    let app_id = app_id.as_str();
    match by {
        QueryBy::OutSettleNo(number) => Some(Question {
            path: "/api/apps/ecpay/v1/query_settle",
            body: json(&OfNumber { app_id, out_settle_no: number.as_str() }),
        }),
        QueryBy::OutOrderNo(number) => Some(Question {
            path: "/api/apps/ecpay/v1/query_platform_order",
            body: json(&OfOrder { app_id, out_order_no: number.as_str(), query_type: 1 }),
        }),
        QueryBy::SettleId(_) | QueryBy::OrderId(_) => None,
    }
}

/// What of an order can still be settled.
pub(super) fn about_order(app_id: &AppId, out_order_no: &OutOrderNo) -> Question {
    #[derive(Serialize)]
    struct OfOrder<'a> {
        app_id: &'a str,
        out_order_no: &'a str,
    }
    let (app_id, out_order_no) = (app_id.as_str(), out_order_no.as_str());
    let body = json(&OfOrder { app_id, out_order_no });
    Question { path: "/api/apps/ecpay/v1/unsettle_amount", body }
}

/// The fields among which this one stands: its pages show it beside the number, and a `data` around
/// it is what Douyin's other systems have.
fn part<'a>(answer: &'a Answer, name: &str) -> Option<&'a Fields> {
    let below = answer.data.as_object();
    [Some(&answer.beside), below].into_iter().flatten().find(|fields| names_something(fields, name))
}

/// The object of this name.
fn object<'a>(answer: &'a Answer, name: &str) -> Option<&'a Fields> {
    part(answer, name)?.get(name).and_then(Value::as_object)
}

#[cfg(test)]
mod tests;
