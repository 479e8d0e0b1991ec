//! The agency system (全融合版, 金融融合版, `apps/trade/v2/settle`): Douyin settles by itself and tells
//! nothing of it, so its settles can only be asked for (6.1).

use super::family::{self, PassedThrough, Spelling};
use super::system::{Credentials, Site, System};

const SPELLING: Spelling = Spelling { app_id: false, passed_through: PassedThrough::CpExtra };

/// The page prints the path with a slash at the end, other than that of the self-operated system.
pub(super) static SYSTEM: System = System {
    site: Site::Open,
    credentials: Credentials::Token,
    create: None,
    query_path: "/api/apps/trade/v2/settle/query_settle/",
    query_body: |app_id, by| family::query_body(&SPELLING, app_id, by),
    reports: family::reports,
    report: family::report,
    callbacks: None,
    codes: &[family::codes::TABLE],
};
