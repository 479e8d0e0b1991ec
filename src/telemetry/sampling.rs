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
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::libraries::OURS;
use crate::trace::{self, TraceParent};

pub(super) struct Sampling(Box<dyn ShouldSample>);

/// What a span that is exported has.
struct Exported;

/// Spans of the gateway's own are exported. What happens in them is in the log, with the id of the
/// trace.
pub(super) fn may_choose(about: &Metadata<'_>) -> bool {
    about.is_span() && *about.level() <= Level::DEBUG && about.target().starts_with(OURS)
}

/// Whether a span that is made now may be exported.
pub(super) fn would_choose<S>(about: &Metadata<'_>, context: &Context<'_, S>) -> bool
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_within = || {
        let outer = context.lookup_current();
        outer.is_some_and(|outer| outer.extensions().get::<Exported>().is_some())
    };
    may_choose(about) && (trace::beginning().is_some() || is_within())
}

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
        may_choose(about)
            && match trace::beginning() {
                Some(trace) => self.chooses(trace.as_ref(), about.name()),
                None => context.lookup_current().is_some(),
            }
    }

    fn callsite_enabled(&self, about: &'static Metadata<'static>) -> Interest {
        if may_choose(about) { Interest::sometimes() } else { Interest::never() }
    }

    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Exported);
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }
}
