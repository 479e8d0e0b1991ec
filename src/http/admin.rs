//! Floor 3: the admin edge: metrics, health over HTTP, and the few decisions that are an
//! operator's. On loopback by default, because every peer that reaches it may decide.
//!
//! What it must not know: how a settle changes.

mod hosts;
pub(crate) mod stuck;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::descriptors;
use crate::gateway::{Gateway, ResolveError};
use crate::http::listener::{Answer, Handler, Limits, Request};
use crate::log_limit::limited;
use crate::settle::{AppId, Key, OutSettleNo, TradeSystem, Verdict};
use stuck::{Asked, STUCK_PATH};

pub use hosts::Hosts;

/// Whether the gateway serves: the store can commit, and no stop has begun.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The admin edge; cheap to clone.
#[derive(Clone)]
pub struct Admin {
    pub gateway: Gateway,
    pub metrics: PrometheusHandle,
    pub readiness: Readiness,
    pub hosts: Hosts,
}

/// The path of the request that resolves a contradiction.
pub const RESOLVE_PATH: &str = "/contradictions/resolve";

/// Low limits: its peers are people, a scraper and an orchestrator.
pub fn limits() -> Limits {
    Limits {
        connections_max: 64,
        requests_max: 16,
        body_bytes_max: 16 * 1024,
        body_time_max: Duration::from_secs(5),
        idle_time_max: Duration::from_secs(60),
    }
}

/// A decision about the open contradiction of one settle.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    pub app_id: String,
    pub out_settle_no: String,
    pub keep: Keep,
}

/// Which word is true.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The recorded state.
    Recorded,
    /// The state of the contradicting word.
    Claimed,
}

impl Handler for Admin {
    async fn handle(&self, request: Request) -> Answer {
        if let Some(refusal) = self.hosts.refusal(&request) {
            return refusal;
        }
        match (&request.method, request.path.as_str()) {
            (&Method::GET, "/metrics") => Answer {
                status: StatusCode::OK,
                content_type: "text/plain; version=0.0.4",
                body: self.measured(),
            },
            (&Method::GET, "/livez") => text(StatusCode::OK, "alive"),
            (&Method::GET, "/readyz") if self.readiness.is_ready() => text(StatusCode::OK, "ready"),
            (&Method::GET, "/readyz") => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            (&Method::POST, RESOLVE_PATH) => self.resolve(request).await,
            (&Method::GET, STUCK_PATH) => self.stuck(&Asked::default()),
            (&Method::POST, STUCK_PATH) => self.ask_for_stuck(request).await,
            (_, "/metrics" | "/livez" | "/readyz" | RESOLVE_PATH | STUCK_PATH) => {
                text(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
            }
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz"),
        }
    }

    fn name(&self) -> &'static str {
        "admin"
    }

    fn busy(&self) -> Answer {
        text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once")
    }
}

impl Admin {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    fn measured(&self) -> String {
        if let Some(used) = descriptors::used() {
            metrics::gauge!("settlement_descriptors_used").set(used as f64);
        }
        if let Some(allowed) = descriptors::allowed() {
            metrics::gauge!("settlement_descriptors_allowed").set(allowed as f64);
        }
        self.metrics.render()
    }

    /// A page in a browser cannot send this content type here without the browser asking first.
    async fn resolve(&self, request: Request) -> Answer {
        let json = request.headers.get(header::CONTENT_TYPE).is_some_and(|t| t == JSON);
        if !json {
            return text(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-type must be application/json",
            );
        }
        let body = match request.body().await {
            Ok(body) => body,
            Err(unread) => return text(unread.status(), "the body could not be read"),
        };
        let asked: Resolve = match serde_json::from_slice(&body) {
            Ok(asked) => asked,
            Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let (app_id, number) =
            match (AppId::parse(asked.app_id), OutSettleNo::reported(asked.out_settle_no)) {
                (Ok(app_id), Ok(number)) => (app_id, number),
                (Err(invalid), _) => return wrong("app_id", invalid),
                (_, Err(invalid)) => return wrong("out_settle_no", invalid),
            };
        let key = Key { app_id, trade_system: TradeSystem::General, out_settle_no: number };
        let verdict = match asked.keep {
            Keep::Recorded => Verdict::Recorded,
            Keep::Claimed => Verdict::Claimed,
        };
        match self.gateway.resolve(&key, verdict).await {
            Ok(record) => {
                let (state, revision) = (record.state.kind().as_str(), record.revision);
                info!(%key, ?verdict, state, revision, "an operator resolved a contradiction");
                text(StatusCode::OK, &format!("resolved: {key} is {state}, revision {revision}"))
            }
            Err(error) => {
                limited!(Peer, WARN, { %key, ?verdict, ?error },
                    "a contradiction was not resolved");
                let (status, why) = refusal(&error);
                text(status, &why)
            }
        }
    }
}

const JSON: &str = "application/json";

fn refusal(error: &ResolveError) -> (StatusCode, String) {
    let (status, why) = match error {
        ResolveError::NotFound => (StatusCode::NOT_FOUND, "no such settle is recorded"),
        ResolveError::NotDisputed => (StatusCode::CONFLICT, "it has no open contradiction"),
        ResolveError::NotAllowed => (
            StatusCode::CONFLICT,
            "not allowed: only a final settle is decided about, and a success is never left for \
             another settle; keep the recorded word, and mend the money at Douyin",
        ),
        ResolveError::Store(error) => {
            let why = format!("it is not known whether it was resolved, look again: {error}");
            return (StatusCode::SERVICE_UNAVAILABLE, why);
        }
    };
    (status, why.to_owned())
}

fn wrong(field: &str, invalid: crate::settle::Invalid) -> Answer {
    text(StatusCode::BAD_REQUEST, &format!("{field} {invalid}"))
}

fn text(status: StatusCode, text: &str) -> Answer {
    Answer { status, content_type: "text/plain; charset=utf-8", body: format!("{text}\n") }
}
