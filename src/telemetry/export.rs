//! Exports spans by OTLP over gRPC, if `OTEL_EXPORTER_OTLP_ENDPOINT` says where to. This and the
//! other variables are OpenTelemetry's own, read by its libraries; those that name the files of TLS
//! are read here, because its libraries do not.
//!
//! It never holds anything up: spans wait in a queue with a bound, those without room are lost, and
//! the end of the process waits for the last ones for a short time only. The runtime sends them. A
//! thread that blocks on the exporter, the library's default, waits for ever where the runtime has
//! one worker.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, io};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio_util::task::TaskTracker;
use tonic::transport::{ClientTlsConfig, Identity};

use crate::douyin::way::{Authorities, BadAuthorities};
use crate::log_limit::limited;

/// Where spans go; a variable of OpenTelemetry's. `https://…` is TLS.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// The authorities that may have signed the receiver's certificate, instead of those that the
/// operating system trusts.
const AUTHORITIES: &str = "OTEL_EXPORTER_OTLP_CERTIFICATE";
/// By which the gateway shows the receiver who it is.
const CLIENT_CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
const CLIENT_KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
/// How the process is called, unless this says otherwise.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const NAME: &str = "settlement-gateway";
/// How long the end of the process waits for the last spans.
pub(super) const FINISH_MAX: Duration = Duration::from_secs(2);

/// Sends the spans of this process.
pub(super) struct Exporter(SdkTracerProvider);

/// Why nothing is exported.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("{0} cannot be read: {1}")]
    File(&'static str, io::Error),
    #[error("{AUTHORITIES} names a file that {0}")]
    Authorities(#[from] BadAuthorities),
    #[error("{CLIENT_CERTIFICATE} and {CLIENT_KEY} must both be set")]
    HalfAnIdentity,
    #[error(transparent)]
    Build(#[from] ExporterBuildError),
}

/// The library's exporter, which says nothing of what it loses.
#[derive(Debug)]
struct Told(opentelemetry_otlp::SpanExporter);

impl Exporter {
    /// `None`: nothing says where spans go. Within a runtime, which sends them.
    pub(super) fn start() -> Result<Option<Self>, Unusable> {
        let Some(endpoint) = variable(ENDPOINT) else { return Ok(None) };
        let mut exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
        if endpoint.as_encoded_bytes().starts_with(b"https://") {
            exporter = exporter.with_tls_config(tls()?);
        }
        let exporter = Told(exporter.build()?);
        let resource = match env::var_os(SERVICE_NAME) {
            Some(_) => Resource::builder(),
            None => Resource::builder().with_service_name(NAME),
        };
        let provider = SdkTracerProvider::builder()
            // It only gets spans that `Sampling` chose.
            .with_sampler(Sampler::AlwaysOn)
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

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.0.export(batch).await;
        if let Err(error) = &exported {
            limited!(Stranger, WARN, { spans, %error },
                "spans were lost: the receiver did not take them");
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

/// One that is empty counts as not set.
fn variable(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Whom the receiver must be, and who the gateway is.
fn tls() -> Result<ClientTlsConfig, Unusable> {
    let read = |name: &'static str| {
        let file = variable(name).map(PathBuf::from);
        let text = file.map(fs::read_to_string).transpose();
        text.map_err(|error| Unusable::File(name, error))
    };
    let config = match read(AUTHORITIES)? {
        Some(pem) => {
            let authorities = Authorities::parse(&pem)?.store();
            ClientTlsConfig::new().trust_anchors(authorities.roots.iter().cloned())
        }
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match (read(CLIENT_CERTIFICATE)?, read(CLIENT_KEY)?) {
        (Some(certificate), Some(key)) => Ok(config.identity(Identity::from_pem(certificate, key))),
        (None, None) => Ok(config),
        (Some(_), None) | (None, Some(_)) => Err(Unusable::HalfAnIdentity),
    }
}
