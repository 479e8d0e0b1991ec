//! The log, the audit and the export of spans. The log is text on a terminal and JSON otherwise. It
//! goes to standard error, through a queue (`log_queue`), so that standard output has only what a
//! command prints.

pub mod audit;
mod export;
mod libraries;
mod line;
mod log_queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::{Level, Subscriber, warn};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::log_limit::limited;
use export::Exporter;
use libraries::Libraries;
use line::{Line, Pairs};
use log_queue::{LOG, LogQueue, StandardError};

/// How long the end of a process that serves may take after its store is closed: what waits of the
/// audit, of the spans and of the log is written one after another.
pub const REST_TIME_MAX: Duration =
    log_queue::FINISH_MAX.saturating_mul(2).saturating_add(export::FINISH_MAX);

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

/// What is logged where `RUST_LOG` does not choose: information of the gateway, and warnings of
/// everything else.
const DEFAULT: &str = "warn,settlement_gateway=info,douyin_sim=info";

/// Starts logging. What is exported does not depend on `RUST_LOG`.
fn start_with(tracer: Option<SdkTracer>) -> &'static LogQueue {
    static QUEUE: OnceLock<LogQueue> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let queue = LogQueue::start(StandardError, &LOG);
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
        // If something else (a test) keeps the log of this process, that stays.
        let _ = subscriber(queue.clone(), filter, tracer).try_init();
        queue
    })
}

/// Each of its layers has a filter of its own, and none says of a place in the code that it might
/// be wanted some day: HTTP/2 has dozens of TRACE lines for each call, and each of them would then
/// be looked at when it is passed.
fn subscriber(
    queue: LogQueue,
    filter: EnvFilter,
    tracer: Option<SdkTracer>,
) -> impl Subscriber + Send + Sync + 'static {
    let lines = tracing_subscriber::fmt::layer().with_writer(queue).log_internal_errors(false);
    let lines = match std::io::stderr().is_terminal() {
        true => lines.boxed(),
        false => lines.fmt_fields(Pairs).event_format(Line).boxed(),
    };
    let mut layers = vec![lines.with_filter(filter.and(Libraries::default())).boxed()];
    layers.extend(tracer.map(|tracer| {
        // What would be done each time that a span is entered: a create enters its spans dozens of
        // times, and nothing here reads the context or the times.
        let spans = OpenTelemetryLayer::new(tracer)
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false);
        let ours = Targets::new().with_target(libraries::OURS, Level::INFO);
        // What happens in a span is in the log, with the id of the trace.
        let is_span = filter_fn(|about| about.is_span()).with_max_level_hint(Level::INFO);
        spans.with_filter(ours.and(is_span)).boxed()
    }));
    tracing_subscriber::registry().with(layers)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::Subscriber as _;
    use tracing::level_filters::LevelFilter;

    use super::*;

    /// A line that nothing reads costs a comparison of two numbers and nothing of the subscriber's.
    #[test]
    fn levels_that_nothing_reads_are_not_even_looked_at() {
        let most = |filter, tracer| {
            let queue = LogQueue::start(std::io::sink(), &LOG);
            subscriber(queue, EnvFilter::new(filter), tracer).max_level_hint()
        };
        let tracer = || Some(SdkTracerProvider::builder().build().tracer("test"));
        assert_eq!(most(DEFAULT, None), Some(LevelFilter::INFO));
        assert_eq!(most(DEFAULT, tracer()), Some(LevelFilter::INFO));
        assert_eq!(most("warn", None), Some(LevelFilter::WARN));
        assert_eq!(most("warn", tracer()), Some(LevelFilter::INFO), "spans are exported anyway");
        assert_eq!(most("warn,h2=trace", None), Some(LevelFilter::TRACE));
    }
}
