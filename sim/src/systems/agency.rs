//! The systems in which the platform settles by itself (§6.1): a query, and nothing else.
//!
//! Its address is printed with a slash at the end, and the self-operated system's without one. No
//! document says that the slash decides; here it does, unless only the other system's books have
//! what is asked for.

use super::trade_v2::{field_number, report};
use super::{Guard, Reading, Shell};
use crate::callbacks::Ladder;
use crate::endpoint::Endpoint;
use crate::query::FOUR_KEYS;
use crate::system::System;

pub(super) const READING: Reading = Reading {
    paths: &[("/api/apps/trade/v2/settle/query_settle/", Endpoint::Query)],
    guard: Guard::AccessToken,
    create: None,
    keys: &FOUR_KEYS,
    query_listed: &[],
    report,
    field_number,
    rule_number: |number| number,
    shell: Shell::Extra,
    id_prefix: "ot",
    callback: None,
    ladder: Ladder::Once,
    neighbour: Some(System::SelfOperated),
};
