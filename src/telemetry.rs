//! The log, the audit and the export of spans. The log is text on a terminal and JSON otherwise. It
//! goes to standard
//! error, through a queue (`log_queue`), so that standard output has only what a command prints.

pub mod audit;
mod export;
mod libraries;
mod line;
mod log_queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::{Level, warn};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::log_limit::limited;
use export::Exporter;
use libraries::Libraries;
use line::Line;
use log_queue::{LOG, LogQueue, StandardError};

/// The log of a process, and the export of its spans. Dropped last, so that what is queued is still
/// written.
#[must_use]
pub struct Log {
    queue: LogQueue,
    exporter: Option<Exporter>,
}

impl Log {
    /// Starts logging for a process that serves, within the runtime that exports spans. Its panics
    /// are logged too; printed as usual, they would wait for the reader of standard error.
    pub fn start() -> Self {
        let exporter = Exporter::start();
        let (exporter, problem) = match exporter {
            Ok(exporter) => (exporter, None),
            Err(problem) => (None, Some(problem)),
        };
        let queue = start_with(exporter.as_ref().map(Exporter::tracer)).clone();
        if let Some(error) = problem {
            warn!(%error, "spans are not exported: the exporter cannot be built");
        }
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or("unnamed");
            let place = panic.location().map(tracing::field::display);
            let message = panic.payload_as_str().unwrap_or("no message");
            let backtrace = Backtrace::capture();
            let captured = backtrace.status() == BacktraceStatus::Captured;
            let backtrace = captured.then(|| tracing::field::display(backtrace));
            limited!(Peer, ERROR, { thread, place, panic = message, backtrace },
                "a panic, which is a bug: please report this");
        }));
        Self { queue, exporter }
    }

    /// Sends the spans that wait, for a limited time.
    pub async fn export_rest(&mut self) {
        if let Some(exporter) = self.exporter.take() {
            exporter.finish().await;
        }
    }

    /// Says why a command failed, after what was logged before.
    pub fn complain(&self, problem: impl fmt::Display) {
        self.queue.push(format!("settlement-gateway: {problem}\n").as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.finish();
    }
}

/// Starts logging, and exports nothing.
pub fn start() -> &'static LogQueue {
    start_with(None)
}

/// `RUST_LOG` chooses what is logged; by default information of the gateway and warnings of
/// everything else. What is exported does not depend on it.
fn start_with(tracer: Option<SdkTracer>) -> &'static LogQueue {
    static QUEUE: OnceLock<LogQueue> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let queue = LogQueue::start(StandardError, &LOG);
        let filter = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("warn,settlement_gateway=info,douyin_sim=info"));
        let lines =
            tracing_subscriber::fmt::layer().with_writer(queue.clone()).log_internal_errors(false);
        let lines = match std::io::stderr().is_terminal() {
            true => lines.boxed(),
            false => lines.fmt_fields(JsonFields::new()).event_format(Line).boxed(),
        };
        let spans = tracer.map(|tracer| {
            let layer = OpenTelemetryLayer::new(tracer).with_location(false).with_threads(false);
            layer.with_filter(Targets::new().with_target(libraries::OURS, Level::INFO))
        });
        let log = tracing_subscriber::registry().with(spans).with(lines.with_filter(filter));
        // If something else (a test) keeps the log of this process, that stays.
        let _ = log.with(Libraries::default()).try_init();
        queue
    })
}
