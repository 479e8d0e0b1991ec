//! The trace that work is part of (W3C Trace Context): the caller's, or that of the create which
//! recorded a settle. It goes from a call into the record, into lines of the log and to Douyin.
//! Floor 0: nothing here knows who collects traces. Where spans are exported
//! (`telemetry/export.rs`), they are part of them; everywhere else the caller's `traceparent` goes
//! on unchanged.

use std::cell::RefCell;

use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A place in a trace, as a `traceparent` of version 00.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TraceParent(Box<str>);

/// The header that names it.
pub(crate) const HEADER: &str = "traceparent";

thread_local! {
    /// While the first span of some work is made: the trace that it belongs to.
    static BEGINNING: RefCell<Option<Beginning>> = const { RefCell::new(None) };
}

/// The trace of work that begins, if it has one already.
pub(crate) type Beginning = Option<TraceParent>;

tokio::task_local! {
    /// What the work of this task is part of, by the word of a caller.
    static TOLD: Option<TraceParent>;
}

impl TraceParent {
    /// `None`: it is no `traceparent` (<https://www.w3.org/TR/trace-context/#traceparent-header>).
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.split('-');
        let mut part = |length: usize| parts.next().filter(|it| it.len() == length && is_hex(it));
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let is_over = parts.next().is_none();
        let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
        // A newer version may have more parts.
        let fits = version != "ff" && (version != "00" || is_over);
        let whole = fits && !is_zero(trace) && !is_zero(span);
        whole.then(|| Self(format!("00-{trace}-{span}-{flags}").into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> &str {
        self.part(1)
    }

    fn part(&self, at: usize) -> &str {
        self.0.split('-').nth(at).unwrap_or_default()
    }

    fn of(context: &SpanContext) -> Option<Self> {
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
        context.is_valid().then(|| Self(format!("00-{trace}-{span}-{:02x}", flags.to_u8()).into()))
    }

    pub(crate) fn context(&self) -> Option<SpanContext> {
        let trace = TraceId::from_hex(self.trace_id()).ok()?;
        let span = SpanId::from_hex(self.part(2)).ok()?;
        let flags = TraceFlags::new(u8::from_str_radix(self.part(3), 16).ok()?);
        Some(SpanContext::new(trace, span, flags, true, TraceState::NONE))
    }
}

/// Does work that is part of a trace.
pub(crate) async fn within<T>(trace: Option<TraceParent>, work: impl Future<Output = T>) -> T {
    TOLD.scope(trace, work).await
}

/// Where the work of this task is now: in a span that is exported, else where it was told.
pub(crate) fn current() -> Option<TraceParent> {
    exported(&Span::current()).or_else(|| TOLD.try_with(Clone::clone).ok().flatten())
}

/// The place of a span that is exported.
fn exported(span: &Span) -> Option<TraceParent> {
    TraceParent::of(span.context().span().span_context())
}

/// Makes the span that the work of a caller begins with, as a part of the caller's trace.
pub(crate) fn part_of(trace: Option<&TraceParent>, make: impl FnOnce() -> Span) -> Span {
    let span = first(trace, make);
    if let Some(context) = trace.and_then(TraceParent::context) {
        let parent = opentelemetry::Context::new().with_remote_span_context(context);
        // It fails if the span is not exported.
        let _ = span.set_parent(parent);
    }
    span
}

/// Makes the span that later work begins with: a trace of its own that follows from this one.
pub(crate) fn following(trace: Option<&TraceParent>, make: impl FnOnce() -> Span) -> Span {
    let span = first(trace, make);
    if let Some(context) = trace.and_then(TraceParent::context) {
        span.add_link(context);
    }
    span
}

/// `make` makes a span with the field `trace_id`, by which the log names the trace.
fn first(trace: Option<&TraceParent>, make: impl FnOnce() -> Span) -> Span {
    BEGINNING.set(Some(trace.cloned()));
    let span = make();
    BEGINNING.set(None);
    let own = trace.is_none().then(|| exported(&span)).flatten();
    if let Some(trace) = trace.or(own.as_ref()) {
        span.record("trace_id", trace.trace_id());
    }
    span
}

/// What work begins with the span that is being made. `None`: it is made within another span.
pub(crate) fn beginning() -> Option<Beginning> {
    BEGINNING.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn only_a_traceparent_is_one() {
        let good = format!("00-{ID}-00f067aa0ba902b7-01");
        let parsed = TraceParent::parse(&good).unwrap();
        assert_eq!((parsed.as_str(), parsed.trace_id()), (good.as_str(), ID));
        assert_eq!(TraceParent::of(&parsed.context().unwrap()), Some(parsed));
        let newer = format!("01-{ID}-00f067aa0ba902b7-00-more");
        assert_eq!(
            TraceParent::parse(&newer).unwrap().as_str(),
            format!("00-{ID}-00f067aa0ba902b7-00")
        );
        let zeros = "0".repeat(32);
        for wrong in [
            "",
            "00",
            &format!("00-{ID}"),
            &format!("00-{ID}-00f067aa0ba902b7"),
            &format!("00-{ID}-00f067aa0ba902b7-01-more"),
            &format!("00-{zeros}-00f067aa0ba902b7-01"),
            &format!("00-{ID}-0000000000000000-01"),
            &format!("ff-{ID}-00f067aa0ba902b7-01"),
            &good.to_uppercase(),
            &good.replace("4bf", "4b"),
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn without_an_exporter_the_callers_word_goes_on() {
        assert_eq!(current(), None);
        let told = TraceParent::parse(&format!("00-{ID}-00f067aa0ba902b7-01"));
        within(told.clone(), async { assert_eq!(current(), told) }).await;
        assert_eq!(current(), None);
    }
}
