//! The self-operated system of life services (生活服务交易系统, 账号融合版, `apps/trade/v2/settle`).
//! What went wrong stands in two numbers, of which the second one decides (6.1, `codes::decisive`).

use super::family::{self, PassedThrough, Spelling};
use super::system::{Callbacks, Create, Credentials, Question, Site, System};

const SPELLING: Spelling = Spelling { app_id: false, passed_through: PassedThrough::CpExtra };

/// The pages print the paths without a slash at the end.
pub(super) static SYSTEM: System = System {
    site: Site::Open,
    credentials: Credentials::Token,
    create: Some(Create {
        path: "/api/apps/trade/v2/settle/create_settle",
        body: |key, content, ext, notify_url| {
            family::create_body(&SPELLING, key, content, ext, notify_url)
        },
        accepted_ids: |answer| family::accepted_ids(&answer.data),
    }),
    question: |app_id, by| {
        let path = "/api/apps/trade/v2/settle/query_settle";
        Some(Question { path, body: family::query_body(&SPELLING, app_id, by) })
    },
    reports: |answer| family::reports(&answer.data),
    absent: None,
    report: family::report,
    callbacks: Some(Callbacks::Version2),
    limits: family::LIMITS,
    codes: &[family::codes::TABLE],
};
