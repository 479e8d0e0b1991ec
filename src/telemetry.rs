//! The log, the audit and the export of spans. The log is text on a terminal and JSON otherwise. It
//! goes to standard error, through a queue (`log_queue`), so that standard output has only what a
//! command prints.

pub mod audit;
mod export;
mod libraries;
mod line;
mod log_queue;
mod sampling;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::{Subscriber, warn};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::FilterExt as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::log_limit::limited;
use export::Exporter;
use libraries::Libraries;
use line::Lines;
use log_queue::{LOG, LogQueue, StandardError};
use sampling::Sampling;

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

/// Chooses what is logged: a level, or `target=level` for a part, with a comma between them. A span
/// or a field would have to be looked up each time that a span is entered, and is not taken.
const FILTER: &str = "RUST_LOG";
/// What is logged where `RUST_LOG` does not choose: information of the gateway, and warnings of
/// everything else.
const DEFAULT: &str = "warn,settlement_gateway=info,douyin_sim=info";

/// Starts logging. What is exported does not depend on `RUST_LOG`.
fn start_with(tracer: Option<SdkTracer>) -> &'static LogQueue {
    static QUEUE: OnceLock<LogQueue> = OnceLock::new();
    QUEUE.get_or_init(|| {
        let queue = LogQueue::start(StandardError, &LOG);
        let (filter, problem) = filter(&std::env::var(FILTER).unwrap_or_default());
        let exported = tracer.map(|tracer| (tracer, Sampling::of_environment()));
        // If something else (a test) keeps the log of this process, that stays.
        let _ = subscriber(queue.clone(), filter, exported).try_init();
        if let Some(error) = problem {
            warn!(error, "RUST_LOG cannot be read: what is logged by default is logged");
        }
        queue
    })
}

/// What is logged, and why that is not what was asked for. To ask for nothing is not to ask.
fn filter(asked: &str) -> (Targets, Option<String>) {
    let default = || DEFAULT.parse().expect("the default is a filter");
    match asked.parse() {
        _ if asked.is_empty() => (default(), None),
        // The library takes them for a part of the target, which there is not.
        _ if asked.contains(['[', '{']) => (default(), Some("it names a span or a field".into())),
        Ok(filter) => (filter, None),
        Err(problem) => (default(), Some(format!("{problem}"))),
    }
}

/// None of its layers says of a place in the code that it might be wanted some day: HTTP/2 has
/// dozens of TRACE lines for each call, and each would then be looked at when it is passed.
fn subscriber(
    queue: LogQueue,
    filter: Targets,
    exported: Option<(SdkTracer, Sampling)>,
) -> impl Subscriber + Send + Sync + 'static {
    let is_exported = exported.is_some();
    let spans = exported.map(|(tracer, sampling)| {
        // What would be done each time that a span is entered: a create enters its spans dozens of
        // times, and nothing here reads the context or the times.
        let spans = OpenTelemetryLayer::new(tracer)
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false);
        spans.with_filter(sampling)
    });
    let lines = match std::io::stderr().is_terminal() {
        true => tracing_subscriber::fmt::layer()
            .with_writer(queue)
            .log_internal_errors(false)
            .with_filter(filter.and(Libraries::default()))
            .boxed(),
        false => Lines::new(filter, is_exported, move |line: &[u8]| queue.push(line)).boxed(),
    };
    tracing_subscriber::registry().with(spans).with(lines)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing::level_filters::LevelFilter;
    use tracing::{Span, debug_span, info_span};

    use super::*;
    use crate::trace::{self, TraceParent};

    fn subscribe(filter: &str, sampler: Option<Sampler>) -> impl Subscriber + Send + Sync {
        let queue = LogQueue::start(std::io::sink(), &LOG);
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let exported = sampler.map(|sampler| (tracer, Sampling::by(sampler)));
        subscriber(queue, filter.parse().unwrap(), exported)
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_told_and_the_default_holds() {
        let debug = "warn,settlement_gateway=debug";
        for (asked, taken, is_told) in [
            ("", DEFAULT, false),
            ("off", "off", false),
            (debug, debug, false),
            ("settlement_gateway=loud", DEFAULT, true),
            ("settlement_gateway[rpc]=debug", DEFAULT, true),
        ] {
            let (filter, problem) = filter(asked);
            assert_eq!(filter, taken.parse().unwrap(), "{asked}");
            assert_eq!(problem.is_some(), is_told, "{asked}");
        }
    }

    /// A line that nothing reads costs a comparison of two numbers and nothing of the subscriber's.
    #[test]
    fn levels_that_nothing_reads_are_not_even_looked_at() {
        let most = |filter, sampler| subscribe(filter, sampler).max_level_hint();
        let all = || Some(Sampler::AlwaysOn);
        assert_eq!(most(DEFAULT, None), Some(LevelFilter::INFO));
        assert_eq!(most(DEFAULT, all()), Some(LevelFilter::DEBUG), "each call to Douyin");
        assert_eq!(most("warn", None), Some(LevelFilter::WARN));
        assert_eq!(most("warn", all()), Some(LevelFilter::DEBUG), "spans are exported anyway");
        assert_eq!(most("warn,h2=trace", None), Some(LevelFilter::TRACE));
    }

    /// OpenTelemetry's layer knows those that are exported, and nothing of the others.
    #[test]
    fn the_first_span_decides_for_those_within_it() {
        let ratio = |ratio| Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
        let parent = |flags| {
            TraceParent::parse(&format!(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"
            ))
        };
        for (sampler, trace, is_exported) in [
            (None, parent("01"), false),
            (Some(ratio(0.0)), None, false),
            (Some(ratio(0.0)), parent("00"), false),
            (Some(ratio(0.0)), parent("01"), true),
            (Some(ratio(1.0)), None, true),
            (Some(ratio(1.0)), parent("00"), false),
            (Some(ratio(1.0)), parent("01"), true),
            (Some(Sampler::AlwaysOff), parent("01"), false),
            (Some(Sampler::AlwaysOn), parent("00"), true),
        ] {
            let about = format!("{sampler:?} {trace:?}");
            let within = |first: Span| {
                let inner = first.in_scope(|| debug_span!("inner"));
                let innermost = inner.in_scope(|| debug_span!("innermost"));
                assert_eq!(inner.is_disabled(), !is_exported, "the span is made, {about}");
                [inner, innermost].map(|span| span.in_scope(trace::current).is_some())
            };
            tracing::subscriber::with_default(subscribe(DEFAULT, sampler), || {
                let call = trace::part_of(trace.as_ref(), || info_span!("call"));
                assert_eq!(within(call), [is_exported; 2], "a call, {about}");
                let later = trace::following(trace.as_ref(), || info_span!("later"));
                assert_eq!(within(later), [is_exported; 2], "later work, {about}");
                let outside = debug_span!("outside of all work");
                assert_eq!(outside.in_scope(trace::current), None, "{about}");
            });
        }
    }
}
