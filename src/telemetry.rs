//! The log and the audit. The log is text on a terminal and JSON otherwise. It goes to standard
//! error, through a queue (`log_queue`), so that standard output has only what a command prints.

pub mod audit;
mod libraries;
mod line;
mod log_queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::log_limit::limited;
use libraries::Libraries;
use line::Line;
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
            let logs = logs.fmt_fields(JsonFields::new()).event_format(Line);
            logs.finish().with(Libraries::default()).try_init()
        };
        queue
    })
}
