//! The values that decide, read strictly. A number may come as a text and a text as a whole number
//! (the official generator and the official samples disagree). An absent, `null` or empty value is
//! unset. Anything else makes the whole message unreadable: a float may have lost digits of a
//! number, and a repaired text names nothing.

use serde_json::{Map, Value};

use super::Unreadable;
use super::json::is_damaged;
use crate::settle::Invalid;

pub(in crate::douyin) type Fields = Map<String, Value>;

/// The text under the one of these names that has one. Two names with different texts are a
/// contradiction.
pub(in crate::douyin) fn text(
    fields: &Fields,
    names: &[&'static str],
) -> Result<Option<String>, Unreadable> {
    let mut found: Option<String> = None;
    for name in names {
        let text = shown(fields, name)?.filter(|text| !text.is_empty());
        match (&found, text) {
            (Some(known), Some(text)) if *known != text => return Err(Unreadable(name)),
            (Some(_), _) | (None, None) => {}
            (None, text @ Some(_)) => found = text,
        }
    }
    Ok(found)
}

/// As [`text`], but an empty text counts as one: it says "there is none".
pub(in crate::douyin) fn shown(
    fields: &Fields,
    name: &'static str,
) -> Result<Option<String>, Unreadable> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if is_damaged(text) => Err(Unreadable(name)),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
        Some(Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Unreadable(name))
        }
    }
}

/// Parses the text, if there is one.
pub(in crate::douyin) fn parsed<T>(
    text: Option<String>,
    parse: fn(String) -> Result<T, Invalid>,
    name: &'static str,
) -> Result<Option<T>, Unreadable> {
    text.map(|text| parse(text).map_err(|_| Unreadable(name))).transpose()
}

/// A whole number that fits into 64 bits.
pub(in crate::douyin) fn integer(
    fields: &Fields,
    name: &'static str,
) -> Result<Option<i64>, Unreadable> {
    let wrong = || Unreadable(name);
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number.as_i64().map(Some).ok_or_else(wrong),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => text.trim().parse().map(Some).map_err(|_| wrong()),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => Err(wrong()),
    }
}

/// Whether the field names something. An empty text and a zero do not.
pub(in crate::douyin) fn names_something(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(is_something)
}

/// Neither empty nor zero.
pub(in crate::douyin) fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.trim().trim_matches('0').is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}
