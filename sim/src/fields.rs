//! Reading a request body, a JSON object whose values are strings, but for a few numbers.
//!
//! It knows types, presence and length. The endpoint knows what a value means, and the system which
//! number a bad one gets.

use serde_json::{Map, Value};

use super::answers::Refusal;
use super::choices::Choices;
use super::systems::Reading;

/// The fields of one body.
pub(super) struct Fields {
    map: Map<String, Value>,
    reading: &'static Reading,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    TooLong,
    /// Of a wrong JSON type.
    NotText,
    /// Anything else.
    Bad,
}

impl Fields {
    /// Reads the body and refuses a field that the page does not list. Douyin may well ignore such
    /// a field, but here it is a misspelt one.
    pub(super) fn read(
        body: &[u8],
        listed: &[&str],
        reading: &'static Reading,
    ) -> Result<Self, Refusal> {
        let bad = |what: String| {
            Refusal::with((reading.field_number)("body", Problem::Bad), format!("body {what}"))
        };
        let value: Value =
            serde_json::from_slice(body).map_err(|error| bad(format!("is not JSON: {error}")))?;
        let Value::Object(map) = value else {
            return Err(bad("is not a JSON object".to_owned()));
        };
        match map.keys().find(|name| !listed.contains(&name.as_str())) {
            Some(name) => Err(bad(format!("has an unknown field {name}"))),
            None => Ok(Self { map, reading }),
        }
    }

    /// `app_id`, if it is there or required, must be the app that calls. The siblings of the
    /// general system do not have it.
    pub(super) fn app(&self, own_app_id: &str, choices: &Choices) -> Result<(), Refusal> {
        if !self.reading.query_listed.contains(&"app_id") {
            return Ok(());
        }
        match self.optional("app_id", 64)? {
            Some(app_id) if app_id == own_app_id => Ok(()),
            Some(_) => Err(self.problem("app_id", Problem::Bad, "is not the token's")),
            None if choices.app_id_required => {
                Err(self.problem("app_id", Problem::Missing, "is required"))
            }
            None => Ok(()),
        }
    }

    /// A field that is required, with 1 to `bytes_max` bytes of UTF-8.
    pub(super) fn required(&self, name: &str, bytes_max: usize) -> Result<String, Refusal> {
        self.optional(name, bytes_max)?
            .ok_or_else(|| self.problem(name, Problem::Missing, "is required"))
    }

    /// A field that is left out or has a real value (§8: optional parameters).
    pub(super) fn optional(&self, name: &str, bytes_max: usize) -> Result<Option<String>, Refusal> {
        match self.blankable(name, bytes_max)? {
            Some(text) if text.is_empty() => Err(self.problem(name, Problem::Missing, "is empty")),
            text => Ok(text),
        }
    }

    /// A field that may be left out or empty.
    pub(super) fn blankable(
        &self,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<String>, Refusal> {
        match self.map.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= bytes_max => Ok(Some(text.clone())),
            Some(Value::String(_)) => {
                Err(self.problem(name, Problem::TooLong, &format!("is over {bytes_max} bytes")))
            }
            // `null` counts too: leaving a parameter out is different from null.
            Some(
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_),
            ) => Err(self.problem(name, Problem::NotText, "is not a string")),
        }
    }

    pub(super) fn is_number(&self, name: &str, number: i64) -> bool {
        self.map.get(name).and_then(Value::as_i64) == Some(number)
    }

    /// With the number that the system has for this.
    pub(super) fn problem(&self, name: &str, problem: Problem, is: &str) -> Refusal {
        Refusal::with((self.reading.field_number)(name, problem), format!("{name} {is}"))
    }
}

/// The text of a field in a body that may be anything; empty if there is none.
pub(super) fn peek(body: &Value, name: &str) -> String {
    body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
