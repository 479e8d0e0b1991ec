//! The callbacks of guaranteed payment (§6.3): signed inside the body, with the token that the
//! console shows.
//!
//! Like `message.rs`, it writes bytes and does not know when they are sent.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::message::message;
use crate::calendar::second;
use crate::choices::{AmountForm, CallbackFields, Choices};
use crate::query::detail;
use crate::rules::rake_fen;
use crate::settles::{AppliedSettle, Status};
use crate::signed::sha1_sign;
use crate::systems::seconds;

const SIGNATURE: &str = "msg_signature";

/// What a callback says, and its type. The platform's own settles have a form of their own.
pub(super) fn msg(
    settle: &AppliedSettle,
    status: Status,
    at_ms: u64,
    choices: &Choices,
) -> (Value, &'static str) {
    if settle.is_auto_settle {
        return (settled_by_itself(settle, status, at_ms), "settle_finish");
    }
    let all_said = choices.callback_fields != CallbackFields::Sparse;
    let mut msg = Map::new();
    let mut put = |name: &str, value: Value| msg.insert(name.to_owned(), value);
    let amount = |number: i64| match choices.callback_amounts {
        AmountForm::Number => json!(number),
        AmountForm::Text => json!(number.to_string()),
    };
    put("app_id", json!(settle.app_id));
    put("cp_settle_no", json!(settle.out_settle_no));
    if all_said || !settle.cp_extra.is_empty() {
        put("cp_extra", json!(settle.cp_extra));
    }
    put("status", json!(status.word()));
    put("rake", amount(rake_fen(settle.amount_fen)));
    put("commission", amount(settle.commission_fen));
    put("settle_detail", json!(detail(settle, status, choices.detail_separator)));
    put("settled_at", amount(seconds(at_ms)));
    put("order_id", json!(settle.order_id));
    put("channel_settle_id", json!(settle.wallet_settle_id));
    put("settle_amount", amount(settle.amount_fen));
    put("settle_no", json!(settle.settle_id));
    put("out_order_no", json!(settle.out_order_no));
    if all_said {
        put("message", json!(message(status)));
        put("is_auto_settle", json!(false));
    }
    (Value::Object(msg), "settle")
}

fn settled_by_itself(settle: &AppliedSettle, status: Status, at_ms: u64) -> Value {
    let receivers: Vec<Value> = settle
        .settle_params
        .iter()
        .map(|one| json!({ "merchant_uid": one.merchant_uid, "amount": one.amount_fen }))
        .collect();
    json!({
        "ma_app_id": settle.app_id,
        "out_order_id": settle.out_order_no,
        "auto_settle_list": [{
            "created_at": second(settle.accepted_at_ms),
            "settle_plat_no": settle.wallet_settle_id,
            "settle_no": settle.settle_id,
            "settle_info": receivers,
            "settle_status": status.word(),
            "service_charge": rake_fen(settle.amount_fen),
            "cps": settle.commission_fen,
            "settled_at": second(at_ms),
            "settle_way": "1",
        }],
    })
}

/// A body with its time, nonce and signature. What is no JSON object stays as it is.
pub(super) fn signed(body: &Bytes, timestamp: &str, nonce: &str, token: &str) -> Bytes {
    edited(body, |fields| {
        let msg = fields.get("msg").and_then(Value::as_str).unwrap_or_default();
        let signature = sha1_sign(&[timestamp, nonce, msg], token);
        fields.insert("timestamp".to_owned(), json!(timestamp));
        fields.insert("nonce".to_owned(), json!(nonce));
        fields.insert(SIGNATURE.to_owned(), json!(signature));
    })
}

/// The same body with another signature; empty: with none.
pub(super) fn with_signature(body: &Bytes, signature: &str) -> Bytes {
    edited(body, |fields| match signature {
        "" => drop(fields.remove(SIGNATURE)),
        other => drop(fields.insert(SIGNATURE.to_owned(), json!(other))),
    })
}

fn edited(body: &Bytes, edit: impl FnOnce(&mut Map<String, Value>)) -> Bytes {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
        return body.clone();
    };
    edit(&mut fields);
    Value::Object(fields).to_string().into()
}
