//! Reading a request body, a JSON object whose values are all strings.
//!
//! It knows types, presence and length. The endpoint knows what a value means.

use serde_json::{Map, Value};

use super::answers::Refusal;
use super::choices::Choices;

/// "Bad parameter": fix per message.
pub(super) const PARAM_ERROR: i64 = 10_000;
/// "System busy", Douyin's answer to a wrong JSON type.
const SYSTEM_BUSY: i64 = 2_100_004;

/// The fields of one body.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads the body and refuses a field that the page does not list. Douyin may well ignore such
    /// a field, but here it is a misspelt one.
    pub(super) fn read(body: &[u8], listed: &[&str]) -> Result<Self, Refusal> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Refusal::with(PARAM_ERROR, format!("body is not JSON: {error}")))?;
        let Value::Object(map) = value else {
            return Err(Refusal::with(PARAM_ERROR, "body is not a JSON object"));
        };
        match map.keys().find(|name| !listed.contains(&name.as_str())) {
            Some(name) => Err(Refusal::with(PARAM_ERROR, format!("unknown field {name}"))),
            None => Ok(Self(map)),
        }
    }

    /// `app_id`, if it is there or required, must be the app of the token.
    pub(super) fn app(&self, token_app_id: &str, choices: &Choices) -> Result<(), Refusal> {
        match self.optional("app_id", 64)? {
            Some(app_id) if app_id == token_app_id => Ok(()),
            Some(_) => Err(Refusal::with(PARAM_ERROR, "app_id is not the token's")),
            None if choices.app_id_required => {
                Err(Refusal::with(PARAM_ERROR, "app_id is required"))
            }
            None => Ok(()),
        }
    }

    /// A field that is required, with 1 to `bytes_max` bytes of UTF-8.
    pub(super) fn required(&self, name: &str, bytes_max: usize) -> Result<String, Refusal> {
        self.optional(name, bytes_max)?
            .ok_or_else(|| Refusal::with(PARAM_ERROR, format!("{name} is required")))
    }

    /// A field that is left out or has a real value (§8: optional parameters).
    pub(super) fn optional(&self, name: &str, bytes_max: usize) -> Result<Option<String>, Refusal> {
        match self.blankable(name, bytes_max)? {
            Some(text) if text.is_empty() => {
                Err(Refusal::with(PARAM_ERROR, format!("{name} is empty")))
            }
            text => Ok(text),
        }
    }

    /// A field that may be left out or empty.
    pub(super) fn blankable(
        &self,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= bytes_max => Ok(Some(text.clone())),
            Some(Value::String(_)) => {
                Err(Refusal::with(PARAM_ERROR, format!("{name} is over {bytes_max} bytes")))
            }
            // `null` counts too: leaving a parameter out is different from null.
            Some(
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_),
            ) => Err(Refusal::with(SYSTEM_BUSY, format!("{name} is not a string"))),
        }
    }
}

/// The text of a field in a body that may be anything; empty if there is none.
pub(super) fn peek(body: &Value, name: &str) -> String {
    body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
