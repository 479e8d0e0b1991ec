//! The values that decide nothing, read leniently. Any JSON type that carries the value is taken. A
//! value that does not fit is left out, counted by its field, and logged once per process for each
//! field and kind. So it never keeps a settle from its end.
//!
//! What it must not know: what a field is used for.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tracing::warn;

use super::json::readable;
use super::moment;
use super::values::Fields;
use crate::clock::Timestamp;
use crate::metrics::UNREADABLE_FIELDS;
use crate::settle::{Fen, Invalid};

/// Every field that is read here; they are the labels of the count.
pub const INFORMING_FIELDS: [&str; 27] = [
    "commission",
    "cp_extra",
    "cps",
    "description",
    "err_msg",
    "err_tips",
    "error_tips",
    "event_time",
    "expires_in",
    "inner_settle_id",
    "is_auto_settle",
    "log_id",
    "logid",
    "message",
    "msg",
    "order_id",
    "platform_ticket",
    "rake",
    "service_charge",
    "settle_amount",
    "settle_at",
    "settle_detail",
    "settle_time",
    "settled_at",
    "sub_description",
    "version",
    "wallet_settle_id",
];

/// A text, or a number as it is written. Repaired places are shown.
pub(in crate::douyin) fn text(fields: &Fields, name: &'static str) -> Option<String> {
    match fields.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(readable(text)).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        value @ (Value::Bool(_) | Value::Array(_) | Value::Object(_)) => dropped(name, value),
    }
}

/// An id that decides nothing.
pub(in crate::douyin) fn id<T>(
    fields: &Fields,
    name: &'static str,
    parse: fn(String) -> Result<T, Invalid>,
) -> Option<T> {
    let value = fields.get(name)?;
    match super::values::text(fields, &[name]) {
        Ok(None) => None,
        Ok(Some(id)) => parse(id).ok().or_else(|| dropped(name, value)),
        Err(_) => dropped(name, value),
    }
}

/// Money: whole fen, never rounded.
pub(in crate::douyin) fn fen(fields: &Fields, name: &'static str) -> Option<Fen> {
    whole(fields, name).map(Fen::new)
}

/// A whole number, also as `6.0`, `"6"` or `"6.00"`.
pub(in crate::douyin) fn whole(fields: &Fields, name: &'static str) -> Option<i64> {
    let value = fields.get(name)?;
    match value {
        Value::Null => None,
        Value::String(text) if text.trim().is_empty() => None,
        Value::String(text) => whole_text(text.trim()).or_else(|| dropped(name, value)),
        Value::Number(number) => whole_number(number).or_else(|| dropped(name, value)),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => dropped(name, value),
    }
}

pub(in crate::douyin) fn flag(fields: &Fields, name: &'static str) -> Option<bool> {
    let value = fields.get(name)?;
    let number = match value {
        Value::Null => return None,
        Value::Bool(flag) => return Some(*flag),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "" => return None,
            "true" => Some(1),
            "false" => Some(0),
            text => whole_text(text),
        },
        Value::Number(number) => whole_number(number),
        Value::Array(_) | Value::Object(_) => None,
    };
    match number {
        Some(1) => Some(true),
        Some(0) => Some(false),
        Some(_) | None => dropped(name, value),
    }
}

/// A moment in milliseconds, in seconds or as a date. 0 means "not yet": some languages write a
/// missing number as 0.
pub(in crate::douyin) fn time(fields: &Fields, name: &'static str) -> Option<Timestamp> {
    let value = fields.get(name)?;
    let number = match value {
        Value::Null => return None,
        Value::String(text) if text.trim().is_empty() => return None,
        Value::String(text) => match whole_text(text.trim()) {
            Some(number) => Some(number),
            None => return moment::of_date(text.trim()).or_else(|| dropped(name, value)),
        },
        Value::Number(number) => whole_number(number),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match number {
        Some(0) => None,
        Some(number) => moment::of_number(number).or_else(|| dropped(name, value)),
        None => dropped(name, value),
    }
}

fn whole_number(number: &serde_json::Number) -> Option<i64> {
    /// From here on a float cannot hold every whole number, so it may differ from what Douyin
    /// wrote.
    const FLOAT_MAX: u64 = 1 << 53;
    if !number.is_f64() {
        return number.as_i64();
    }
    whole_text(&number.to_string()).filter(|whole| whole.unsigned_abs() < FLOAT_MAX)
}

/// Digits, perhaps with a fraction of zero.
fn whole_text(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_zero = !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
    is_zero.then(|| whole.parse().ok())?
}

/// Counts and logs that a field does not fit, without its value.
pub(in crate::douyin) fn dropped<T>(field: &'static str, value: &Value) -> Option<T> {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction or an exponent",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    UNREADABLE_FIELDS.count([field]);
    // Bounded by the number of fields and kinds. No code can panic while holding this lock.
    static TOLD: Mutex<BTreeSet<(&str, &str)>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert((field, kind)) {
        warn!(
            field,
            kind,
            "Douyin sent a field that cannot be read: it is left out, and counted from now on"
        );
    }
    None
}
