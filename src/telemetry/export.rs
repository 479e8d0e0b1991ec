//! Exports spans by OTLP over gRPC, if `OTEL_EXPORTER_OTLP_ENDPOINT` says where to. This and the
//! other variables are OpenTelemetry's own, read by its libraries.
//!
//! It never holds anything up: spans wait in a queue with a bound, those without room are lost, and
//! the end of the process waits for the last ones for a short time only. The runtime sends them. A
//! thread that blocks on the exporter, the library's default, waits for ever where the runtime has
//! one worker.

use std::env;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio_util::task::TaskTracker;

/// Where spans go; a variable of OpenTelemetry's.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// How the process is called, unless this says otherwise.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const NAME: &str = "settlement-gateway";
/// How long the end of the process waits for the last spans.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// Sends the spans of this process.
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// `None`: nothing says where spans go. Within a runtime, which sends them.
    pub(super) fn start() -> Result<Option<Self>, ExporterBuildError> {
        if env::var_os(ENDPOINT).is_none_or(|endpoint| endpoint.is_empty()) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_tonic().build()?;
        let resource = match env::var_os(SERVICE_NAME) {
            Some(_) => Resource::builder(),
            None => Resource::builder().with_service_name(NAME),
        };
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_span_processor(BatchSpanProcessor::builder(exporter, Tokio).build());
        Ok(Some(Self(provider.build())))
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.0.tracer(NAME)
    }

    /// Sends what waits, for a limited time.
    pub(super) async fn finish(self) {
        let finished = TaskTracker::new().spawn_blocking(move || self.0.shutdown());
        // What could not be sent is lost.
        let _ = tokio::time::timeout(FINISH_MAX, finished).await;
    }
}
