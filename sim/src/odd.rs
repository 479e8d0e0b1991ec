//! Odd values in the fields that decide nothing: types that no document mentions, and texts that a
//! cut or a proxy has damaged (§8: the pages and the SDKs disagree about types already).
//!
//! It knows no rule: the deciding fields stay as they are.

use bytes::Bytes;
use serde_json::{Value, json};

use super::ids;

/// The fields on which nothing may depend.
const INFORMING: [&str; 20] = [
    "commission",
    "description",
    "err_msg",
    "err_tips",
    "event_time",
    "expires_in",
    "is_auto_settle",
    "log_id",
    "logid",
    "message",
    "now",
    "order_id",
    "platform_ticket",
    "rake",
    "settle_amount",
    "settle_at",
    "settle_detail",
    "settle_time",
    "sub_description",
    "wallet_settle_id",
];
/// Is written as half an emoji, which no JSON parser takes.
const HALF: &str = "HALF-AN-EMOJI";

/// Puts an odd value into each of these fields, always the same for one `about`.
pub(super) fn make_odd(value: &mut Value, about: &str) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                match INFORMING.contains(&name.as_str()) {
                    true => *value = odd(value, about, name),
                    false => make_odd(value, about),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| make_odd(item, about)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn odd(value: &Value, about: &str, name: &str) -> Value {
    let mut rng = ids::draw(0, &["odd", about, name]);
    match rng.u8(..12) {
        0 => json!(6.0),
        1 => json!(6.5),
        2 => json!("6"),
        3 => json!(true),
        4 => json!([value]),
        5 => json!({ "value": value }),
        6 => json!("2023-09-01 11:52:14"),
        7 => json!(i64::MAX),
        8 => json!("no"),
        9 => json!(-1),
        10 => Value::Null,
        _ => json!(format!("{value}{HALF}")),
    }
}

/// As it is sent: with a byte order mark, and with damaged texts.
pub(super) fn written(body: &Value) -> Bytes {
    let body = body.to_string().replace(HALF, "\\ud83d");
    let mut bytes = b"\xef\xbb\xbf".to_vec();
    bytes.extend_from_slice(body.as_bytes());
    bytes.into()
}
