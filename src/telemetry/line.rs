//! The log as lines of JSON: what happened with everything that its spans say, each field once and
//! none inside another. A field of an inner span stands for one of the same name further out.
//!
//! Written by hand, because the format of `tracing-subscriber` repeats the innermost span, keeps
//! each span in an object of its own, and takes most of the time that a line costs.

use std::fmt::{self, Debug, Write as _};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Gives whole lines, each with its line break, to what writes them.
pub(super) struct Lines<W>(pub(super) W);

/// Fields, each with its value as JSON.
struct Said {
    values: String,
    /// The names, and where their values end. One that was said anew later is empty.
    fields: Vec<(&'static str, usize)>,
}

/// Room for most lines, and for what most spans and events say.
const LINE_BYTES: usize = 1024;
const SAID_BYTES: usize = 384;
const FIELDS: usize = 12;
/// What happened, as a field.
const MESSAGE: &str = "message";
/// What a line has of its own. A field of such a name is left out.
const OWN: [&str; 4] = ["timestamp", "level", "target", "spans"];

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut said = Said::new();
        attributes.record(&mut said);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(said);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(said) = span.extensions_mut().get_mut::<Said>() {
            values.record(said);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let about = event.metadata();
        let mut said = Said::new();
        event.record(&mut said);
        let mut line = String::with_capacity(LINE_BYTES);
        line.push_str("{\"timestamp\":\"");
        // It only fails where the line cannot be written to, and memory always can.
        let _ = SystemTime.format_time(&mut Writer::new(&mut line));
        line.push_str("\",\"level\":\"");
        line.push_str(about.level().as_str());
        line.push('"');
        let mut add = |name: &str, value: &str| {
            line.extend([",\"", name, "\":", value]);
        };
        if let Some((name, message)) = said.fields().find(|(name, _)| *name == MESSAGE) {
            add(name, message);
        }
        let mut target = String::new();
        quote(&mut target, about.target());
        add("target", &target);
        let mut named = Vec::with_capacity(OWN.len() + 2 * said.fields.len());
        named.extend(OWN.into_iter().chain([MESSAGE]));
        let mut add_all = |said: &Said| {
            for (name, value) in said.fields() {
                if !named.contains(&name) {
                    named.push(name);
                    add(name, value);
                }
            }
        };
        add_all(&said);
        let mut spans = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            spans.push(span.name());
            if let Some(said) = span.extensions().get::<Said>() {
                add_all(said);
            }
        }
        let mut before = ",\"spans\":[";
        for name in spans.iter().rev() {
            line.push_str(before);
            quote(&mut line, name);
            before = ",";
        }
        line.push_str(if spans.is_empty() { "}\n" } else { "]}\n" });
        (self.0)(line.as_bytes());
    }
}

impl Said {
    fn new() -> Self {
        let (values, fields) = (String::with_capacity(SAID_BYTES), Vec::with_capacity(FIELDS));
        Self { values, fields }
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let mut begin = 0;
        self.fields.iter().filter_map(move |(name, end)| {
            let value = self.values.get(begin..*end)?;
            begin = *end;
            (!name.is_empty()).then_some((*name, value))
        })
    }

    /// What is said of a field last counts.
    fn add(&mut self, field: &Field, write: impl FnOnce(&mut String)) {
        self.fields.iter_mut().filter(|(name, _)| *name == field.name()).for_each(|it| it.0 = "");
        write(&mut self.values);
        self.fields.push((field.name(), self.values.len()));
    }
}

impl Visit for Said {
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

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{info, info_span};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn each_field_is_there_once_and_the_inner_one_counts() {
        let written = Arc::<Mutex<String>>::default();
        let to = Arc::clone(&written);
        let lines = Lines(move |line: &[u8]| {
            to.lock().unwrap().push_str(str::from_utf8(line).unwrap());
        });
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
        assert!(first.starts_with("{\"timestamp\":\"2"), "{first}");
        let (_, rest) = first.split_once(",\"level\"").unwrap();
        assert_eq!(
            rest,
            ":\"INFO\",\"message\":\"a \\\"line\\\"\",\
             \"target\":\"settlement_gateway::telemetry::line::tests\",\"number\":3,\
             \"took_ms\":4,\"up\":true,\"share\":0.5,\"app_id\":\"tt1\",\
             \"later\":\"it is\\n\\\"later\\\"\",\"spans\":[\"outer\",\"inner\"]}"
        );
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        assert_eq!((&of(second)["number"], &of(second)["spans"][0]), (&1.into(), &"outer".into()));
        assert_eq!((&of(third)["at"], &of(third)["spans"]), (&"Some(1)".into(), &Value::Null));
    }
}
