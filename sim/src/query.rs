//! settle_query: finds settles by one of four keys and renders them.
//!
//! It changes nothing in the books and does not know tokens, envelopes or faults.

use serde_json::{Map, Value, json};

use super::answers::Refusal;
use super::books::Books;
use super::choices::{AmountForm, Choices, QueryNames};
use super::fields::{Fields, peek};
use super::rules::rake_fen;
use super::settles::{AppliedSettle, Key, Status};

/// "At least one of order id and settle id needed": the sibling list's number (§2, last line).
const KEY_NEEDED: i64 = 23_002;

/// A field of the request, and the key that its text makes.
type KeyField = (&'static str, fn(String) -> Key);

/// In the order of their priority.
const KEYS: [KeyField; 4] = [
    ("settle_id", Key::SettleId),
    ("order_id", Key::OrderId),
    ("out_settle_no", Key::OutSettleNo),
    ("out_order_no", Key::OutOrderNo),
];

/// Answers one query of the app that the token belongs to; `Ok` is the answer's `data`.
pub(super) fn settle_query(books: &Books, app_id: &str, body: &[u8]) -> Result<Value, Refusal> {
    let key = read(body, app_id, &books.choices)?;
    let found = books.visible(app_id, &key);
    let items = found.into_iter().map(|settle| item(settle, &books.choices)).collect();
    // No match is an empty array, not an error.
    Ok(Value::Array(items))
}

/// The key that counts in a body that may be anything; empty if there is none.
pub(super) fn peek_key(body: &Value) -> String {
    let keys = KEYS.iter().map(|(name, _)| peek(body, name));
    keys.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

/// With several keys only the first by priority counts; unused ones may be empty.
fn read(body: &[u8], app_id: &str, choices: &Choices) -> Result<Key, Refusal> {
    let mut listed = KEYS.map(|(name, _)| name).to_vec();
    listed.push("app_id");
    let fields = Fields::read(body, &listed)?;
    fields.app(app_id, choices)?;
    let mut key = None;
    for (name, kind) in KEYS {
        let text = fields.blankable(name, 64)?.filter(|text| !text.is_empty());
        key = key.or(text.map(kind));
    }
    key.ok_or_else(|| Refusal::new(KEY_NEEDED))
}

fn item(settle: &AppliedSettle, choices: &Choices) -> Value {
    let amount = |fen: i64| match choices.amounts {
        AmountForm::Number => json!(fen),
        AmountForm::Text => json!(fen.to_string()),
    };
    let mut item = Map::new();
    let mut put = |name: &str, value: Value| item.insert(name.to_owned(), value);
    put("settle_id", json!(settle.settle_id));
    put("order_id", json!(settle.order_id));
    put("item_order_id", json!(settle.item_order_id.as_deref().unwrap_or_default()));
    put("settle_status", json!(settle.status.word()));
    put("settle_amount", amount(settle.amount_fen));
    put("rake", amount(rake_fen(settle.amount_fen)));
    put("commission", amount(settle.commission_fen));
    put("settle_detail", json!(detail(settle, settle.status, choices.detail_separator)));
    put("cp_extra", json!(settle.cp_extra));
    // Absent until finished (an inference of §2). In milliseconds.
    if let Some(at_ms) = settle.finished_at_ms {
        put("settle_at", amount(i64::try_from(at_ms).unwrap_or(i64::MAX)));
    }
    match choices.query_names {
        QueryNames::New => {
            put("out_settle_no", json!(settle.out_settle_no));
            put("out_order_no", json!(settle.out_order_no));
            put("wallet_settle_id", json!(settle.wallet_settle_id));
            put("platform_ticket", amount(0));
        }
        QueryNames::Of2023 => {
            put("out_settle_id", json!(settle.out_settle_no));
            put("out_order_id", json!(settle.out_order_no));
        }
    }
    Value::Object(item)
}

/// Who gets what. The fee and all shares, the seller's rest included, make up the amount.
pub(super) fn detail(settle: &AppliedSettle, status: Status, separator: &str) -> String {
    if status == Status::Fail {
        return String::new();
    }
    let rest_fen = seller_fen(settle);
    let mut shares: Vec<String> = settle
        .settle_params
        .iter()
        .map(|receiver| share(&receiver.merchant_uid, receiver.amount_fen))
        .collect();
    if rest_fen > 0 {
        // The seller's merchant id does not matter here; any 20 digits do.
        shares.push(share("72789245768543296350", rest_fen));
    }
    shares.join(separator)
}

/// What is left of the amount for the seller.
pub(super) fn seller_fen(settle: &AppliedSettle) -> i64 {
    let receivers_fen: i64 = settle.settle_params.iter().map(|receiver| receiver.amount_fen).sum();
    settle.amount_fen - rake_fen(settle.amount_fen) - settle.commission_fen - receivers_fen
}

fn share(merchant_uid: &str, amount_fen: i64) -> String {
    format!("商户号{merchant_uid}-分成金额(分){amount_fen}")
}
