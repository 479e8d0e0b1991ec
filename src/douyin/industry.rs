//! The industry system (行业交易系统, `apps/trade/v2` of the developer host): its requests are signed
//! with the app's own key (`signing`, 6.1 and 7).

use super::codes::Row;
use super::codes::kinds::CREDENTIALS;
use super::family::{self, PassedThrough, Spelling};
use super::system::{Callbacks, Create, Credentials, Question, Site, System};

const SPELLING: Spelling = Spelling { app_id: false, passed_through: PassedThrough::CpExtra };

/// The pages print the paths without a slash at the end.
pub(super) static SYSTEM: System = System {
    site: Site::Developer,
    credentials: Credentials::Signature,
    create: Some(Create {
        path: "/api/apps/trade/v2/create_settle",
        body: |key, content, ext, notify_url| {
            family::create_body(&SPELLING, key, content, ext, notify_url)
        },
        accepted_ids: |answer| family::accepted_ids(&answer.data),
    }),
    question: |app_id, by| {
        let path = "/api/apps/trade/v2/query_settle";
        Some(Question { path, body: family::query_body(&SPELLING, app_id, by) })
    },
    reports: |answer| family::reports(&answer.data),
    absent: None,
    report: family::report,
    callbacks: Some(Callbacks::Version2),
    limits: family::LIMITS,
    codes: &[family::codes::TABLE, TABLE],
};

/// What means another thing here than where a token is sent.
static TABLE: &[Row] = &[Row {
    err_no: 11004,
    meaning: "Douyin rejects the signature of the gateway's call.",
    meaning_zh: "抖音拒绝了网关请求的签名。",
    advice: "Have the gateway's operator check the app's private key, key_version and the clock.",
    ..CREDENTIALS
}];
