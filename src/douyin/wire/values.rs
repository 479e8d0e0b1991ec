//! Single values of an answer, read tolerantly: numbers may come as strings and strings as numbers
//! (the official generator and the official samples disagree), and what is absent, `null` or empty
//! is unset. Whole numbers only: a float has lost digits that may be money or a name.

use serde_json::{Map, Value};

use super::Unreadable;

pub(super) type Fields = Map<String, Value>;

/// The first of the names that is set, as text.
pub(super) fn text(fields: &Fields, names: &[&'static str]) -> Result<Option<String>, Unreadable> {
    for name in names {
        match shown(fields, name)? {
            Some(text) if !text.is_empty() => return Ok(Some(text)),
            Some(_) | None => {}
        }
    }
    Ok(None)
}

/// As [`text`], but an empty text counts as one: what it says is "there is none".
pub(super) fn shown(fields: &Fields, name: &'static str) -> Result<Option<String>, Unreadable> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
        Some(Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Unreadable(name))
        }
    }
}

/// A whole number that fits into 64 bits.
pub(super) fn integer(fields: &Fields, name: &'static str) -> Result<Option<i64>, Unreadable> {
    let wrong = || Unreadable(name);
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number.as_i64().map(Some).ok_or_else(wrong),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => text.trim().parse().map(Some).map_err(|_| wrong()),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(wrong()),
    }
}

pub(super) fn flag(fields: &Fields, name: &'static str) -> Result<Option<bool>, Unreadable> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(text)) => match text.as_str() {
            "" => Ok(None),
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(Unreadable(name)),
        },
        Some(Value::Number(number)) => match number.as_i64() {
            Some(1) => Ok(Some(true)),
            Some(0) => Ok(Some(false)),
            Some(_) | None => Err(Unreadable(name)),
        },
        Some(Value::Array(_) | Value::Object(_)) => Err(Unreadable(name)),
    }
}
