//! The agency system (全融合版, 金融融合版, `apps/trade/v2/settle`): Douyin settles by itself and tells
//! nothing of it, so its settles can only be asked for (6.1).

use super::family::{self, PassedThrough, Spelling};
use super::system::{Credentials, Question, Site, System};

const SPELLING: Spelling = Spelling { app_id: false, passed_through: PassedThrough::CpExtra };

/// The page prints the path with a slash at the end, other than that of the self-operated system.
pub(super) static SYSTEM: System = System {
    site: Site::Open,
    credentials: Credentials::Token,
    create: None,
    question: |app_id, by| {
        let path = "/api/apps/trade/v2/settle/query_settle/";
        Some(Question { path, body: family::query_body(&SPELLING, app_id, by) })
    },
    reports: |answer| family::reports(&answer.data),
    absent: None,
    report: family::report,
    callbacks: None,
    limits: family::LIMITS,
    codes: &[family::codes::TABLE],
};
