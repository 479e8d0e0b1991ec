//! The industry trading system (§6.1), whose calls are signed (§7).

use super::trade_v2::{self, field_number, report_with_inner_id};
use super::{CallbackForm, Guard, Reading, Shell};
use crate::callbacks::Ladder;
use crate::choices::CallbackVersion;
use crate::endpoint::Endpoint;
use crate::query::FOUR_KEYS;

pub(super) const READING: Reading = Reading {
    paths: &[
        ("/api/apps/trade/v2/create_settle", Endpoint::Create),
        ("/api/apps/trade/v2/query_settle", Endpoint::Query),
    ],
    guard: Guard::ByteAuthorization,
    create: Some(trade_v2::CREATE),
    keys: &FOUR_KEYS,
    query_listed: &[],
    report: report_with_inner_id,
    field_number,
    rule_number: |number| number,
    shell: Shell::ErrTips,
    id_prefix: "ot",
    callback: Some(CallbackForm::Byte(Some(CallbackVersion::V2))),
    ladder: Ladder::Industry,
    neighbour: None,
};
