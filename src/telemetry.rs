//! Metrics; and logs: for people on a terminal, JSON otherwise; to standard error, so that standard
//! output stays for what a command prints.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG` chooses what is logged; by default information of the gateway and
/// warnings of everything else.
pub fn start() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,settlement_gateway=info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (tests in one process) keeps the first.
    let _ = if std::io::stderr().is_terminal() {
        logs.try_init()
    } else {
        logs.json().flatten_event(true).try_init()
    };
}

/// What is counted in this process, to be read. Counting begins with the first call.
pub fn metrics() -> PrometheusHandle {
    static COUNTED: OnceLock<PrometheusHandle> = OnceLock::new();
    let counted = COUNTED.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let counted = recorder.handle();
        metrics::set_global_recorder(recorder).expect("nobody else counts in this process");
        metrics::describe_counter!(
            "settlement_callbacks_total",
            "Callbacks by app and by what became of them."
        );
        metrics::describe_counter!(
            "settlement_unlisted_answers_total",
            "Answers of Douyin's by app with a number that the error table does not list."
        );
        counted
    });
    counted.clone()
}
