//! What the systems under `/api/apps/trade/v2` have in common (§6.1).

use serde_json::{Value, json};

use super::{CreateForm, DescLimit, Repeat};
use crate::answers::Refusal;
use crate::choices::Choices;
use crate::fields::Problem;
use crate::query;
use crate::settles::AppliedSettle;

pub(super) const CREATE: CreateForm = CreateForm {
    listed: &[
        "out_order_no",
        "out_settle_no",
        "item_order_id",
        "settle_desc",
        "settle_params",
        "cp_extra",
        "notify_url",
    ],
    mark: "cp_extra",
    desc: DescLimit::Bytes(512),
    settle_params_bytes_max: 512,
    notify_url_bytes_max: 512,
    receivers_max: None,
    settles_per_order_max: None,
    plain_numbers: false,
    first_alone: false,
    repeat: Repeat::Refused,
    accepted: |id, inner_id| json!({ "settle_id": id, "inner_settle_id": inner_id }),
};

/// Items with the time as `settle_time`.
pub(super) fn report(settles: &[&AppliedSettle], choices: &Choices) -> Result<Value, Refusal> {
    Ok(query::items(settles, choices, |_, _| "settle_time"))
}

/// The same, with `inner_settle_id`, which only the industry system's sample has.
pub(super) fn report_with_inner_id(
    settles: &[&AppliedSettle],
    choices: &Choices,
) -> Result<Value, Refusal> {
    Ok(query::items(settles, choices, |settle, item| {
        item.put("inner_settle_id", json!(settle.wallet_settle_id));
        "settle_time"
    }))
}

/// The numbers of these systems' own table, as far as it has them (§1.7).
pub(super) fn field_number(name: &str, problem: Problem) -> i64 {
    match (name, problem) {
        (_, Problem::NotText) => 2_100_004,
        ("out_order_no", Problem::Missing) => 23_003,
        ("out_settle_no", Problem::Missing) => 23_004,
        ("settle_desc", Problem::Missing) => 23_005,
        ("cp_extra", Problem::TooLong) => 23_006,
        ("settle_params", Problem::TooLong) => 23_007,
        ("merchant_uid", _) => 23_008,
        ("amount", _) => 23_009,
        ("settle_desc", Problem::TooLong) => 23_010,
        (_, Problem::Missing | Problem::TooLong | Problem::Bad) => 10_000,
    }
}
