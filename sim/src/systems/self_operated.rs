//! The life-service system whose accounts are merged (§6.1).

use super::trade_v2::{self, field_number, report};
use super::{CallbackForm, Guard, Reading, Shell};
use crate::callbacks::Ladder;
use crate::choices::CallbackVersion;
use crate::endpoint::Endpoint;
use crate::query::FOUR_KEYS;
use crate::system::System;

pub(super) const READING: Reading = Reading {
    paths: &[
        ("/api/apps/trade/v2/settle/create_settle", Endpoint::Create),
        ("/api/apps/trade/v2/settle/query_settle", Endpoint::Query),
    ],
    guard: Guard::AccessToken,
    create: Some(trade_v2::CREATE),
    keys: &FOUR_KEYS,
    query_listed: &[],
    report,
    field_number,
    rule_number: |number| number,
    shell: Shell::Extra,
    id_prefix: "ot",
    callback: Some(CallbackForm::Byte(Some(CallbackVersion::V2))),
    ladder: Ladder::General2024,
    neighbour: Some(System::Agency),
};
