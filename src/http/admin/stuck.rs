//! Which settles do not come to their end, as JSON.

use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use super::{Admin, Answer, JSON, text};
use crate::gateway::StuckReport;
use crate::grpc::time::rfc3339;
use crate::http::listener::Request;
use crate::settle::{AppId, StateKind};

/// The path of the request.
pub(crate) const STUCK_PATH: &str = "/stuck";
/// The most settles in one answer.
const LIMIT_MAX: u32 = 1_000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// `None`: all apps.
    pub app_id: Option<String>,
    pub limit: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Told {
    /// When the gateway last looked through all settles; `None`: not yet.
    pub looked_time: Option<String>,
    pub total: u64,
    pub counts: Vec<Count>,
    /// Those that have been stuck longest come first.
    pub settles: Vec<Settle>,
    /// Stuck settles that are counted and not listed.
    pub unlisted: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Count {
    pub app_id: String,
    pub kind: String,
    pub settles: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Settle {
    pub app_id: String,
    pub out_settle_no: String,
    pub kind: String,
    pub state: String,
    pub since_time: String,
}

impl Default for Asked {
    fn default() -> Self {
        Self { app_id: None, limit: 100 }
    }
}

impl Admin {
    /// As [`Admin::stuck`]; the body may limit the answer.
    pub(super) async fn ask_for_stuck(&self, request: Request) -> Answer {
        if request.headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != JSON) {
            let why = "content-type must be application/json";
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
        }
        let body = match request.body().await {
            Ok(body) => body,
            Err(unread) => return text(unread.status(), "the body could not be read"),
        };
        let asked: Asked = match serde_json::from_slice(&body) {
            Ok(asked) => asked,
            Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        self.stuck(&asked)
    }

    pub(super) fn stuck(&self, asked: &Asked) -> Answer {
        let told = told(self.gateway.stuck(), asked);
        let body = serde_json::to_string_pretty(&told).expect("texts and numbers serialize");
        Answer { status: StatusCode::OK, content_type: JSON, body: format!("{body}\n") }
    }
}

fn told(report: StuckReport, asked: &Asked) -> Told {
    let is_asked = |app_id: &AppId| asked.app_id.as_deref().is_none_or(|id| id == app_id.as_str());
    let counts = report.counts.iter().filter(|((app_id, _), _)| is_asked(app_id));
    let counts = counts.map(|((app_id, kind), settles)| Count {
        app_id: app_id.to_string(),
        kind: kind.as_str().to_owned(),
        settles: *settles,
    });
    let counts: Vec<Count> = counts.collect();
    let limit = usize::try_from(asked.limit.min(LIMIT_MAX)).unwrap_or(usize::MAX);
    let settles = report.settles.into_iter().filter(|settle| is_asked(&settle.key.app_id));
    let settles = settles.take(limit).map(|settle| Settle {
        app_id: settle.key.app_id.to_string(),
        out_settle_no: settle.key.out_settle_no.to_string(),
        kind: settle.kind.as_str().to_owned(),
        state: settle.state.map_or("UNKNOWN", StateKind::as_str).to_owned(),
        since_time: rfc3339(settle.since),
    });
    let settles: Vec<Settle> = settles.collect();
    let total: u64 = counts.iter().map(|count| u64::from(count.settles)).sum();
    let listed = u64::try_from(settles.len()).unwrap_or(u64::MAX);
    let looked_time = report.at.map(rfc3339);
    Told { looked_time, total, counts, settles, unlisted: total.saturating_sub(listed) }
}
