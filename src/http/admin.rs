//! Floor 3: the admin edge: metrics and health over HTTP, for a scraper and an orchestrator.
//!
//! What it must not know: settles.

mod hosts;
mod page;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::apps::Apps;
use crate::http::listener::{Answer, Handler, Limits, Request};
use crate::http::peer::At;
use crate::metrics::{self, READY};

pub use hosts::Hosts;
pub(crate) use page::APART as PAGES_APART;
pub use page::Page;

/// Whether the gateway serves: the store can commit, and no stop has begun.
#[derive(Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
        READY.set([], u64::from(ready));
    }

    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The admin edge; cheap to clone.
#[derive(Clone)]
pub struct Admin {
    pub apps: Apps,
    pub readiness: Readiness,
    pub hosts: Hosts,
    pub page: Page,
}

/// Low limits: its peers are a scraper, an orchestrator and people.
pub fn limits() -> Limits {
    Limits {
        connections_max: 64,
        requests_max: 16,
        body_bytes_max: 16 * 1024,
        body_time_max: Duration::from_secs(5),
        idle_time_max: Duration::from_secs(60),
    }
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
                body: self.page.read(|| self.measured()).await,
            },
            (&Method::GET, "/livez") => text(StatusCode::OK, "alive"),
            (&Method::GET, "/readyz") if self.readiness.is_ready() => text(StatusCode::OK, "ready"),
            (&Method::GET, "/readyz") => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
            (_, "/metrics" | "/livez" | "/readyz") => {
                text(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
            }
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz"),
        }
    }

    fn name(&self) -> &'static str {
        "admin"
    }

    fn busy(&self, _: At) -> Answer {
        text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once")
    }
}

impl Admin {
    /// All metrics. What costs little to measure is measured only now.
    fn measured(&self) -> String {
        process::measure();
        self.apps.iter().for_each(|app| app.budget.measure());
        metrics::text()
    }
}

fn text(status: StatusCode, text: &str) -> Answer {
    let body = format!("{text}\n").into();
    Answer { status, content_type: "text/plain; charset=utf-8", body }
}
