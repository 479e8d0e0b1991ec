//! A line of the log as JSON: what happened with everything that its spans say, each field once and
//! none inside another. A field of an inner span stands for one of the same name further out.
//!
//! Written by hand, because the format of `tracing-subscriber` repeats the innermost span, and
//! keeps each span in an object of its own.

use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

pub(super) struct Line;

impl<S> FormatEvent<S, JsonFields> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (mut fields, mut spans) = (Map::new(), Vec::new());
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            spans.push(Value::from(span.name()));
            let extensions = span.extensions();
            let of_span = extensions.get::<FormattedFields<JsonFields>>();
            let of_span = of_span.and_then(|fields| serde_json::from_str(&fields.fields).ok());
            fields.extend(of_span.unwrap_or_else(Map::new));
        }
        event.record(&mut Fields(&mut fields));
        let message = fields.remove("message").unwrap_or_default();
        if !spans.is_empty() {
            fields.insert("spans".to_owned(), spans.into());
        }
        let about = event.metadata();
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\",\"message\":{message}", about.level())?;
        write!(writer, ",\"target\":\"{}\"", about.target())?;
        for (name, value) in &fields {
            write!(writer, ",{}:{value}", Value::from(name.as_str()))?;
        }
        writer.write_str("}\n")
    }
}

/// The fields of an event.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
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
            .fmt_fields(JsonFields::new())
            .event_format(Line)
            .with_writer(move || to.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            let outer =
                info_span!("outer", app_id = "tt1", number = 1, later = tracing::field::Empty);
            outer.record("later", "it is \"later\"");
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
             \"later\":\"it is \\\"later\\\"\",\"number\":3,\"spans\":[\"outer\",\"inner\"],\
             \"took_ms\":4,\"up\":true}"
        );
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        assert_eq!((&of(second)["number"], &of(second)["spans"][0]), (&1.into(), &"outer".into()));
        assert_eq!((&of(third)["at"], &of(third)["spans"]), (&"Some(1)".into(), &Value::Null));
    }
}
