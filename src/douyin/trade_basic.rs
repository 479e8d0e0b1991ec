//! The general trading system (通用交易系统, `trade_basic/v1`).

use super::family::{self, PassedThrough, Spelling};
use super::system::{Callbacks, Create, Credentials, Question, Site, System};

const SPELLING: Spelling = Spelling {
    // Not on the page, but the official SDK requires it and three SDKs of four send it.
    app_id: true,
    passed_through: PassedThrough::Ext,
};

/// The paths have the slash at the end: every known client sends it, and a redirect would lose the
/// POST (settle_create, 1.9).
pub(super) static SYSTEM: System = System {
    site: Site::Open,
    credentials: Credentials::Token,
    create: Some(Create {
        path: "/api/trade_basic/v1/developer/settle_create/",
        body: |key, content, ext, notify_url| {
            family::create_body(&SPELLING, key, content, ext, notify_url)
        },
        accepted_ids: |answer| family::accepted_ids(&answer.data),
    }),
    question: |app_id, by| {
        let path = "/api/trade_basic/v1/developer/settle_query/";
        Some(Question { path, body: family::query_body(&SPELLING, app_id, by) })
    },
    reports: |answer| family::reports(&answer.data),
    absent: None,
    report: family::report,
    callbacks: Some(Callbacks::Version3),
    limits: family::LIMITS,
    codes: &[family::codes::TABLE],
};
