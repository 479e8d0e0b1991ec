//! The general trading system (§1 to §3).

use serde_json::json;

use super::{CallbackForm, CreateForm, DescLimit, Guard, Reading, Repeat, Shell};
use crate::callbacks::Ladder;
use crate::endpoint::Endpoint;
use crate::fields::Problem;
use crate::query::{self, FOUR_KEYS};

pub(super) const READING: Reading = Reading {
    paths: &[
        ("/api/trade_basic/v1/developer/settle_create", Endpoint::Create),
        ("/api/trade_basic/v1/developer/settle_query", Endpoint::Query),
    ],
    guard: Guard::AccessToken,
    create: Some(CreateForm {
        listed: &[
            "app_id",
            "out_order_no",
            "out_settle_no",
            "item_order_id",
            "settle_desc",
            "settle_params",
            "ext",
            "notify_url",
        ],
        mark: "ext",
        desc: DescLimit::Bytes(512),
        settle_params_bytes_max: 512,
        notify_url_bytes_max: 512,
        receivers_max: None,
        settles_per_order_max: None,
        plain_numbers: false,
        first_alone: false,
        repeat: Repeat::Refused,
        accepted: |id, wallet_id| json!({ "settle_id": id, "wallet_settle_id": wallet_id }),
    }),
    keys: &FOUR_KEYS,
    query_listed: &["app_id"],
    report: |settles, choices| {
        Ok(query::items(settles, choices, |settle, item| {
            item.put("wallet_settle_id", json!(settle.wallet_settle_id));
            item.put_amount("platform_ticket", 0);
            "settle_at"
        }))
    },
    field_number,
    rule_number: |number| number,
    shell: Shell::ErrMsg,
    id_prefix: "ots",
    callback: Some(CallbackForm::Byte(None)),
    ladder: Ladder::General,
    neighbour: None,
};

/// "Param error", and "system busy" for a wrong JSON type (§8).
fn field_number(_: &str, problem: Problem) -> i64 {
    match problem {
        Problem::NotText => 2_100_004,
        Problem::Missing | Problem::TooLong | Problem::Bad => 10_000,
    }
}
