//! Metrics and logs. Logs are text on a terminal and JSON otherwise. They go to standard error,
//! through a queue (`log_queue`), so that standard output has only what a command prints.

pub mod audit;
mod libraries;
mod log_queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::douyin::INFORMING_FIELDS;
use crate::log_limit::limited;
use libraries::Libraries;
use log_queue::{LOG, LogQueue, StandardError};

/// The log of a process. Dropped last, so that what is queued is still written.
#[must_use]
pub struct Log(LogQueue);

impl Log {
    /// Starts logging for a process that serves. Its panics are logged too; printed as usual, they
    /// would wait for the reader of standard error.
    pub fn start() -> Self {
        let log = Self(start().clone());
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
        log
    }

    /// Says why a command failed, after what was logged before.
    pub fn complain(&self, problem: impl fmt::Display) {
        self.0.push(format!("settlement-gateway: {problem}\n").as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Starts logging. `RUST_LOG` chooses what is logged; by default information of the gateway and
/// warnings of everything else.
pub fn start() -> &'static LogQueue {
    static QUEUE: OnceLock<LogQueue> = OnceLock::new();
    QUEUE.get_or_init(|| {
        // Counts dropped lines from the first one on.
        metrics();
        let queue = LogQueue::start(StandardError, &LOG);
        let filter = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("warn,settlement_gateway=info,douyin_sim=info"));
        let logs = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(queue.clone())
            .log_internal_errors(false);
        // If something else (a test) keeps the log of this process, that stays.
        let _ = if std::io::stderr().is_terminal() {
            logs.finish().with(Libraries::default()).try_init()
        } else {
            let logs = logs.json().flatten_event(true);
            logs.finish().with(Libraries::default()).try_init()
        };
        queue
    })
}

/// The metrics of this process. Counting begins with the first call.
pub fn metrics() -> PrometheusHandle {
    static COUNTED: OnceLock<PrometheusHandle> = OnceLock::new();
    let counted = COUNTED.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let counted = recorder.handle();
        metrics::set_global_recorder(recorder).expect("no other recorder is set in this process");
        metrics::describe_counter!(
            "settlement_callbacks_total",
            "Callbacks by app and by what became of them."
        );
        metrics::describe_counter!(
            "settlement_unlisted_answers_total",
            "Answers of Douyin's by app with a number that the error table does not list."
        );
        metrics::describe_counter!(
            "settlement_calls_total",
            "Calls answered, by RPC and gRPC code; a watch counts when it ends."
        );
        metrics::describe_counter!(
            "settlement_log_lines_dropped_total",
            "Lines of the log for which there was no room, because it could not be written."
        );
        metrics::describe_counter!(
            "settlement_audit_lines_dropped_total",
            "Lines of the audit for which there was no room, because it could not be written."
        );
        metrics::describe_counter!(
            "settlement_log_lines_held_back_total",
            "Lines of the log beyond what one place may log in 10 s, which were summed up."
        );
        metrics::describe_counter!(
            "settlement_reloads_total",
            "How often the configuration was read again, by result: applied, or refused, so that \
             what was read before stays in force."
        );
        for result in ["applied", "refused"] {
            metrics::counter!("settlement_reloads_total", "result" => result).increment(0);
        }
        metrics::describe_gauge!(
            "settlement_certificate_end_seconds",
            metrics::Unit::Seconds,
            "When the first certificate in the file of this key ends, in Unix time."
        );
        metrics::describe_gauge!(
            "settlement_rehearsal",
            "1 if this gateway moves no real money, so that unsafe values were taken; else 0."
        );
        metrics::describe_gauge!(
            "settlement_store_bytes",
            metrics::Unit::Bytes,
            "Size of the database file."
        );
        metrics::describe_gauge!(
            "settlement_store_log_bytes",
            metrics::Unit::Bytes,
            "Size of the database's log, its -wal file."
        );
        // Metrics for alerts exist before their first event.
        metrics::counter!("settlement_log_lines_dropped_total").increment(0);
        metrics::counter!("settlement_audit_lines_dropped_total").increment(0);
        metrics::counter!("settlement_log_lines_held_back_total").increment(0);
        describe_connections();
        metrics::describe_counter!(
            "settlement_unreadable_fields_total",
            "Fields of Douyin's that only inform and did not fit, by field: they were left out."
        );
        for field in INFORMING_FIELDS {
            metrics::counter!("settlement_unreadable_fields_total", "field" => field).absolute(0);
        }
        metrics::describe_gauge!(
            "settlement_settles_stuck",
            "Settles that do not come to their end, by app and kind; see the runbook, Stuck."
        );
        counted
    });
    counted.clone()
}

/// Those for alerts exist from the start.
fn describe_connections() {
    metrics::describe_gauge!("settlement_grpc_connections", "Open connections to the gRPC port.");
    metrics::describe_gauge!(
        "settlement_grpc_answer_bytes",
        "Bytes of answers that callers have not taken yet."
    );
    metrics::describe_counter!(
        "settlement_connections_refused_total",
        "Connections turned away by listener and reason: full, peer (too many of one address), \
         rested (it made room for another one), silent (it did not say what it speaks)."
    );
    metrics::describe_gauge!("settlement_descriptors_used", "Open file descriptors.");
    metrics::describe_gauge!(
        "settlement_descriptors_allowed",
        "File descriptors that may be open."
    );
    for (listener, why) in [
        ("grpc", "full"),
        ("grpc", "peer"),
        ("grpc", "rested"),
        ("grpc", "silent"),
        ("callbacks", "full"),
        ("callbacks", "rested"),
        ("admin", "full"),
        ("admin", "rested"),
    ] {
        let labels = [("listener", listener), ("why", why)];
        metrics::counter!("settlement_connections_refused_total", &labels).increment(0);
    }
}
