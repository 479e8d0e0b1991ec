//! The callbacks of guaranteed payment: signed in the body, with the token that the console shows
//! (6.3). The types are `settle`, and `settle_finish` for what Douyin settled by itself.
//!
//! What it must not know: HTTP, and what becomes of a settle because of a callback.

use secrecy::SecretString;
use serde_json::Value;

use super::answers::report;
use super::sign::is_of_callback;
use crate::douyin::heard::{Heard, Rejected, kind_shown, object};
use crate::douyin::signature::BadSignature;
use crate::douyin::wire::values::{Fields, parsed, shown, text};
use crate::douyin::wire::{Unreadable, json};
use crate::settle::{AppId, OutOrderNo, Report, TradeSystem};

const SIGNATURE: &str = "msg_signature";

/// The fields of a body that is signed in itself. They are not verified. `None`: it is not, or is
/// no JSON object.
pub(in crate::douyin) fn signed_part(body: &[u8]) -> Option<Fields> {
    match json::parse(body) {
        Some(Value::Object(fields)) if fields.contains_key(SIGNATURE) => Some(fields),
        Some(_) | None => None,
    }
}

/// Verifies the fields of a body, and reads them.
pub(in crate::douyin) fn hear(
    app_id: Option<&AppId>,
    token: &SecretString,
    fields: &Fields,
) -> Result<Heard, Rejected> {
    let msg = verified(fields, token)?;
    let kind = text(fields, &["type"])?.ok_or(Unreadable("type is missing"))?;
    if !["settle", "settle_finish"].contains(&kind.as_str()) {
        return Ok(Heard::Other { kind: kind_shown(&kind) });
    }
    let msg = object(msg.as_bytes(), "msg is not a JSON object")?;
    let named = parsed(text(&msg, &["app_id", "ma_app_id"])?, AppId::parse, "app_id")?;
    let reports = if kind == "settle" { vec![settle(&msg)?] } else { settled_by_itself(&msg)? };
    if named.is_some() && app_id.is_some() && named.as_ref() != app_id {
        return Err(Rejected::OtherApp);
    }
    Ok(Heard::Settles { trade_systems: vec![TradeSystem::Guaranteed], reports })
}

/// The message, if the signature is good. It covers the values without any mark between them, so a
/// piece of a message that was moved into the nonce would have the same signature: both are made of
/// letters, digits, `_` and `-` only.
fn verified(fields: &Fields, token: &SecretString) -> Result<String, BadSignature> {
    let value = |name: &'static str| {
        let text = shown(fields, name).ok().flatten();
        text.filter(|text| !text.is_empty()).ok_or(BadSignature::Missing(name))
    };
    let (timestamp, nonce, msg) = (value("timestamp")?, value("nonce")?, value("msg")?);
    let signature = value(SIGNATURE)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_plain = [&timestamp, &nonce].into_iter().all(|text| text.chars().all(plain));
    match is_plain && is_of_callback(&signature, &[&timestamp, &nonce, &msg], token) {
        true => Ok(msg),
        false => Err(BadSignature::NotByTheToken),
    }
}

/// The settle in a message of the type `settle`.
pub(super) fn settle(msg: &Fields) -> Result<Report, Unreadable> {
    report(msg, None)
}

/// The settles in a message of the type `settle_finish`. It names no number of theirs but Douyin's.
fn settled_by_itself(msg: &Fields) -> Result<Vec<Report>, Unreadable> {
    let order = text(msg, &["out_order_id", "out_order_no"])?;
    let order = parsed(order, OutOrderNo::parse, "out_order_id")?;
    let Some(Value::Array(settles)) = msg.get("auto_settle_list") else {
        return Err(Unreadable("auto_settle_list is missing"));
    };
    let one = |settle: &Value| {
        let settle = settle.as_object().ok_or(Unreadable("a settle in it is no object"))?;
        let mut report = report(settle, order.clone())?;
        report.facts.auto_settle = Some(true);
        Ok(report)
    };
    settles.iter().map(one).collect()
}
