//! Chooses the spans that are exported, before they are made: most of what a span costs is to make
//! it, so a library that throws it away afterwards saves little.
//!
//! The choice is that of OpenTelemetry's own sampler (`OTEL_TRACES_SAMPLER`), made once for the
//! first span of some work. Later work for a settle is asked about with the trace of the create
//! that recorded it: so a trace that is exported tells the whole life of its settle.

use opentelemetry::trace::{SpanKind, TraceContextExt as _};
use opentelemetry_sdk::trace::{
    Config, IdGenerator as _, RandomIdGenerator, SamplingDecision, ShouldSample,
};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use crate::trace::{self, TraceParent};

pub(super) struct Sampling(Box<dyn ShouldSample>);

impl Sampling {
    /// As OpenTelemetry's variables say. By default everything that no caller excludes.
    pub(super) fn of_environment() -> Self {
        Self(Config::default().sampler)
    }

    #[cfg(test)]
    pub(super) fn by(sampler: opentelemetry_sdk::trace::Sampler) -> Self {
        Self(Box::new(sampler))
    }

    /// Whether the work is exported that begins with a span of this name, for this trace.
    fn chooses(&self, trace: Option<&TraceParent>, name: &str) -> bool {
        let before = trace.and_then(TraceParent::context);
        let id = match &before {
            Some(before) => before.trace_id(),
            None => RandomIdGenerator::default().new_trace_id(),
        };
        let before = before.map(|it| opentelemetry::Context::new().with_remote_span_context(it));
        let kind = SpanKind::Internal;
        let chosen = self.0.should_sample(before.as_ref(), id, name, &kind, &[], &[]);
        chosen.decision == SamplingDecision::RecordAndSample
    }
}

impl<S> Filter<S> for Sampling
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn enabled(&self, about: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        match trace::beginning() {
            Some(trace) => self.chooses(trace.as_ref(), about.name()),
            None => context.lookup_current().is_some(),
        }
    }

    /// It turns away no level: that is for other filters.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}
