//! The log as lines of JSON: what happened with everything that its spans say, each field once and
//! none inside another. A field of an inner span stands for one of the same name further out.
//!
//! Written by hand, because the format of `tracing-subscriber` repeats the innermost span, keeps
//! each span in an object of its own, and takes most of the time that a line costs.

use std::cell::RefCell;
use std::fmt::{self, Debug, Write as _};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::libraries::Libraries;
use super::sampling;
use crate::clock;

/// Gives whole lines, each with its line break, to what writes them.
///
/// It chooses them itself: a filter around it would be asked again each time that a span is entered
/// and left, which a create does some twenty times.
pub(super) struct Lines<W> {
    filter: Targets,
    libraries: Libraries,
    /// Spans are exported besides. Then it lets those pass that it has no use for.
    beside_export: bool,
    write: W,
}

/// Fields as they stand in a line, `,"name":value`.
struct Fields {
    text: String,
    /// Their names, and where each ends in the text. One that was said anew later has no name.
    ends: Vec<(&'static str, usize)>,
}

/// Room for most lines, and for what most spans say: bytes and fields. A watch keeps that of its
/// span for as long as it lives.
const LINE: (usize, usize) = (1024, 24);
const SPAN: (usize, usize) = (384, 12);
/// What a line has of its own. A field of such a name is left out.
const OWN: [&str; 4] = ["timestamp", "level", "target", "spans"];

impl<W: Fn(&[u8])> Lines<W> {
    pub(super) fn new(filter: Targets, beside_export: bool, write: W) -> Self {
        Self { filter, libraries: Libraries::default(), beside_export, write }
    }

    fn wants(&self, about: &Metadata<'_>) -> bool {
        self.filter.would_enable(about.target(), about.level())
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + 'static,
{
    fn register_callsite(&self, about: &'static Metadata<'static>) -> Interest {
        match self.wants(about) {
            true => Interest::always(),
            false if self.beside_export && sampling::may_choose(about) => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, about: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.wants(about) || self.beside_export && sampling::would_choose(about, &context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        <Targets as Layer<S>>::max_level_hint(&self.filter)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !self.wants(attributes.metadata()) {
            return;
        }
        let mut fields = Fields::with_room(SPAN);
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let about = event.metadata();
        if !self.wants(about) || !self.libraries.admits(about) {
            return;
        }
        let mut line = Fields::with_room(LINE);
        line.text.push_str("{\"timestamp\":\"");
        add_time(&mut line.text);
        line.text.extend(["\",\"level\":\"", about.level().as_str(), "\",\"target\":"]);
        quote(&mut line.text, about.target());
        event.record(&mut line);
        let mut spans = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                spans.push(span.name());
                line.add_missing(fields);
            }
        }
        let mut before = ",\"spans\":[";
        for name in spans.iter().rev() {
            line.text.push_str(before);
            quote(&mut line.text, name);
            before = ",";
        }
        line.text.push_str(if spans.is_empty() { "}\n" } else { "]}\n" });
        (self.write)(line.text.as_bytes());
    }
}

impl Fields {
    fn with_room((bytes, fields): (usize, usize)) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(fields) }
    }

    /// What is said of a field last counts.
    fn add(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        let name = field.name();
        if OWN.contains(&name) {
            return;
        }
        self.ends.iter_mut().filter(|(other, _)| *other == name).for_each(|it| it.0 = "");
        self.text.extend([",\"", name, "\":"]);
        write(&mut self.text);
        self.ends.push((name, self.text.len()));
    }

    /// Adds those that are not here already.
    fn add_missing(&mut self, other: &Self) {
        let mut begin = 0;
        for (name, end) in &other.ends {
            let field = other.text.get(begin..*end).unwrap_or_default();
            begin = *end;
            if !name.is_empty() && self.ends.iter().all(|(known, _)| known != name) {
                self.text.push_str(field);
                self.ends.push((name, self.text.len()));
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, |to| {
            to.push('"');
            let begin = to.len();
            write(to, format_args!("{value:?}"));
            match to.get(begin..) {
                Some(text) if is_plain(text) => to.push('"'),
                _ => {
                    let text = to.split_off(begin);
                    to.pop();
                    quote(to, &text);
                }
            }
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, |to| quote(to, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |to| to.push_str(if value { "true" } else { "false" }));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |to| write(to, format_args!("{value}")));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |to| write(to, format_args!("{value}")));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, |to| write(to, format_args!("{}", Value::from(value))));
    }
}

thread_local! {
    /// The second of this thread's last line, and how it is written.
    static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

/// Adds the time of day, with microseconds. All lines of a second share most of it, which would
/// otherwise be a quarter of what a line costs.
fn add_time(to: &mut String) {
    let (seconds, nanos) = clock::time_of_a_line();
    SECOND.with_borrow_mut(|(last, written)| {
        if *last != seconds {
            let second = prost_types::Timestamp { seconds, nanos: 0 };
            (*last, *written) = (seconds, second.to_string());
        }
        to.push_str(written.trim_end_matches('Z'));
    });
    write(to, format_args!(".{:06}Z", nanos / 1_000));
}

/// Adds what a value says of itself. There is always room, so only the value can fail: then the
/// rest of it is missing.
fn write(to: &mut String, value: fmt::Arguments<'_>) {
    let _ = to.write_fmt(value);
}

/// Adds a text as JSON. Most have nothing to escape.
fn quote(to: &mut String, text: &str) {
    if is_plain(text) {
        to.extend(["\"", text, "\""]);
    } else {
        write(to, format_args!("{}", Value::from(text)));
    }
}

/// Looks at all of it without a branch, which is faster than to stop at the first byte that is odd.
fn is_plain(text: &str) -> bool {
    let is_odd = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    !text.bytes().fold(false, |odd, byte| odd | is_odd(byte))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::trace::Sampler;
    use tracing::{debug_span, info, info_span};
    use tracing_subscriber::layer::{Identity, SubscriberExt as _};

    use super::super::sampling::Sampling;
    use super::*;
    use crate::trace;

    #[test]
    fn each_field_is_there_once_and_the_inner_one_counts() {
        let written = Arc::<Mutex<String>>::default();
        let to = Arc::clone(&written);
        let lines = Lines::new(
            Targets::new().with_default(LevelFilter::INFO),
            false,
            move |line: &[u8]| {
                to.lock().unwrap().push_str(str::from_utf8(line).unwrap());
            },
        );
        let log = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(log, || {
            let outer =
                info_span!("outer", app_id = "tt1", number = 1, later = tracing::field::Empty);
            outer.record("later", "it is \"late\"");
            outer.record("later", "it is\n\"later\"");
            outer.in_scope(|| {
                let inner = info_span!("inner", number = 2);
                inner.in_scope(|| {
                    info!(number = 3, took_ms = 4_u64, up = true, share = 0.5, "a \"line\"")
                });
                info!("another");
            });
            info!(at = ?Some(1), "outside");
        });
        let text = written.lock().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let [first, second, third] = lines[..] else { panic!("{text}") };
        let (time, rest) = first.split_once("\",\"level\"").unwrap();
        let time: prost_types::Timestamp =
            time.strip_prefix("{\"timestamp\":\"").unwrap().parse().unwrap();
        let (now, _) = clock::time_of_a_line();
        assert!((now - 60..=now).contains(&time.seconds), "{first}");
        assert_eq!(
            rest,
            ":\"INFO\",\"target\":\"settlement_gateway::telemetry::line::tests\",\
             \"message\":\"a \\\"line\\\"\",\"number\":3,\
             \"took_ms\":4,\"up\":true,\"share\":0.5,\"app_id\":\"tt1\",\
             \"later\":\"it is\\n\\\"later\\\"\",\"spans\":[\"outer\",\"inner\"]}"
        );
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        assert_eq!((&of(second)["number"], &of(second)["spans"][0]), (&1.into(), &"outer".into()));
        assert_eq!((&of(third)["at"], &of(third)["spans"]), (&"Some(1)".into(), &Value::Null));
    }

    /// A call to Douyin has such a span, for the exporter alone.
    #[test]
    fn a_span_that_is_only_exported_is_in_no_line() {
        let written = Arc::<Mutex<String>>::default();
        let to = Arc::clone(&written);
        let filter = Targets::new().with_default(LevelFilter::INFO);
        let lines = Lines::new(filter, true, move |line: &[u8]| {
            to.lock().unwrap().push_str(str::from_utf8(line).unwrap());
        });
        let exporter = Identity::new().with_filter(Sampling::by(Sampler::AlwaysOn));
        let log = tracing_subscriber::registry().with(exporter).with(lines);
        tracing::subscriber::with_default(log, || {
            let call = trace::part_of(None, || info_span!("call", number = 1));
            let inner = call.in_scope(|| debug_span!("inner", hidden = 2));
            assert!(!inner.is_disabled(), "it is exported");
            inner.in_scope(|| info!("done"));
        });
        let line: Value = serde_json::from_str(&written.lock().unwrap()).unwrap();
        assert_eq!((&line["number"], &line["hidden"]), (&1.into(), &Value::Null));
        assert_eq!(line["spans"], serde_json::json!(["call"]));
    }
}
