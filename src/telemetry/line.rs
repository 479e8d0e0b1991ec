//! A line of the log as JSON: what happened with everything that its spans say, each field once and
//! none inside another. A field of an inner span stands for one of the same name further out.
//!
//! Written by hand, because the format of `tracing-subscriber` repeats the innermost span, and
//! keeps each span in an object of its own.

use std::fmt::{self, Debug, Display, Write as _};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

pub(super) struct Line;

/// The fields of a span or an event, each rendered once, as text in lines of the form
/// `"name":value`. There is no line break in a value, because JSON escapes it.
pub(super) struct Pairs;

/// Room for most lines and their pairs.
const LINE_BYTES: usize = 1024;
const PAIRS: usize = 24;

/// What happened, as the name of its pair.
const MESSAGE: &str = "\"message\"";

impl<S> FormatEvent<S, Pairs> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, Pairs>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::with_capacity(LINE_BYTES);
        Pairs.format_fields(Writer::new(&mut text), event)?;
        let mut spans = Vec::new();
        for span in context.event_scope().into_iter().flatten() {
            spans.push(span.name());
            // What a span says of a field last counts.
            if let Some(fields) = span.extensions().get::<FormattedFields<Pairs>>() {
                let last_first = fields.fields.split_inclusive('\n').rev();
                text.extend(last_first);
            }
        }
        if !spans.is_empty() {
            spans.reverse();
            writeln!(text, "\"spans\":{}", Value::from(spans))?;
        }
        let mut pairs = Vec::with_capacity(PAIRS);
        pairs.extend(text.lines().filter_map(|pair| pair.split_once(':')));
        // Of two with one name the first stays.
        pairs.sort_by_key(|(name, _)| *name);
        pairs.dedup_by_key(|(name, _)| *name);
        let is_message = |(name, _): &&(&str, &str)| *name == MESSAGE;
        let about = event.metadata();
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(about.level().as_str())?;
        writer.write_char('"')?;
        let mut add = |(name, value): &(&str, &str)| {
            [",", name, ":", value].into_iter().try_for_each(|part| writer.write_str(part))
        };
        pairs.iter().filter(is_message).try_for_each(&mut add)?;
        let target = quoted(about.target()).to_string();
        add(&("\"target\"", &target))?;
        pairs.iter().filter(|pair| !is_message(pair)).try_for_each(add)?;
        writer.write_str("}\n")
    }
}

impl<'writer> FormatFields<'writer> for Pairs {
    fn format_fields<R: RecordFields>(&self, to: Writer<'writer>, fields: R) -> fmt::Result {
        let mut rendering = Rendering { to, done: Ok(()) };
        fields.record(&mut rendering);
        rendering.done
    }

    fn add_fields(
        &self,
        known: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        self.format_fields(known.as_writer(), fields)
    }
}

/// A text as JSON. Most have nothing to escape.
fn quoted(text: &str) -> impl Display {
    let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
    fmt::from_fn(move |to| match is_plain {
        true => {
            to.write_char('"')?;
            to.write_str(text)?;
            to.write_char('"')
        }
        false => Display::fmt(&Value::from(text), to),
    })
}

struct Rendering<'writer> {
    to: Writer<'writer>,
    done: fmt::Result,
}

impl Rendering<'_> {
    fn add(&mut self, field: &Field, value: impl Display) {
        if self.done.is_ok() {
            self.done = writeln!(self.to, "\"{}\":{value}", field.name());
        }
    }
}

impl Visit for Rendering<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, quoted(&format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, quoted(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::{Level, info, info_span};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_field_is_there_once_and_the_inner_one_counts() {
        let written = Written::default();
        let to = written.clone();
        let log = tracing_subscriber::fmt()
            .with_max_level(Level::INFO)
            .fmt_fields(Pairs)
            .event_format(Line)
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            let outer =
                info_span!("outer", app_id = "tt1", number = 1, later = tracing::field::Empty);
            outer.record("later", "it is \"late\"");
            outer.record("later", "it is\n\"later\"");
            outer.in_scope(|| {
                let inner = info_span!("inner", number = 2);
                inner.in_scope(|| info!(number = 3, took_ms = 4_u64, up = true, "a \"line\""));
                info!("another");
            });
            info!(at = ?Some(1), "outside");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let [first, second, third] = lines[..] else { panic!("{text}") };
        assert!(first.starts_with("{\"timestamp\":\"2"), "{first}");
        let (_, rest) = first.split_once(",\"level\"").unwrap();
        assert_eq!(
            rest,
            ":\"INFO\",\"message\":\"a \\\"line\\\"\",\
             \"target\":\"settlement_gateway::telemetry::line::tests\",\"app_id\":\"tt1\",\
             \"later\":\"it is\\n\\\"later\\\"\",\"number\":3,\"spans\":[\"outer\",\"inner\"],\
             \"took_ms\":4,\"up\":true}"
        );
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        assert_eq!((&of(second)["number"], &of(second)["spans"][0]), (&1.into(), &"outer".into()));
        assert_eq!((&of(third)["at"], &of(third)["spans"]), (&"Some(1)".into(), &Value::Null));
    }
}
