//! settle_query: finds settles by one of a system's keys and renders them.
//!
//! It does not know tokens, envelopes or faults.

use serde_json::{Map, Value, json};

use super::answers::Refusal;
use super::books::Books;
use super::choices::{AmountForm, Choices, QueryNames};
use super::fields::{Fields, peek};
use super::rules::rake_fen;
use super::settles::{AppliedSettle, Key, Status};
use super::system::Account;
use super::systems::Reading;

/// "At least one of order id and settle id needed": the sibling list's number (§2, last line).
const KEY_NEEDED: i64 = 23_002;

/// A field of the request, and the key that its text makes.
pub(super) type KeyField = (&'static str, fn(String) -> Key);

/// The keys of the systems that have four, in the order of their priority.
pub(super) const FOUR_KEYS: [KeyField; 4] = [
    ("settle_id", Key::SettleId),
    ("order_id", Key::OrderId),
    ("out_settle_no", Key::OutSettleNo),
    ("out_order_no", Key::OutOrderNo),
];

/// Answers one query of an app; `Ok` is the answer's `data`.
pub(super) fn settle_query(
    books: &mut Books,
    account: Account<'_>,
    body: &[u8],
) -> Result<Value, Refusal> {
    let reading = Reading::of(account.system);
    let key = read(reading, body, account.app_id, &books.choices)?;
    let neighbour = reading.neighbour.map(|system| Account { system, ..account });
    let holder = [Some(account), neighbour].into_iter().flatten().find(|of| books.has(*of, &key));
    if let (None, None, Key::OutOrderNo(out_order_no)) = (holder, &reading.create, &key) {
        // Where the platform settles by itself, an order that no test has made begins here.
        books.see_order(account, out_order_no);
    }
    let found = books.visible(holder.unwrap_or(account), &key);
    // In most systems no match is an empty array, not an error.
    (reading.report)(&found, &books.choices)
}

/// The key that counts in a body that may be anything; empty if there is none.
pub(super) fn peek_key(reading: &Reading, body: &Value) -> String {
    let keys = reading.keys.iter().map(|(name, _)| peek(body, name));
    keys.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

/// With several keys only the first by priority counts; unused ones may be empty.
fn read(
    reading: &'static Reading,
    body: &[u8],
    app_id: &str,
    choices: &Choices,
) -> Result<Key, Refusal> {
    let mut listed: Vec<&str> = reading.keys.iter().map(|(name, _)| *name).collect();
    listed.extend(reading.query_listed);
    let fields = Fields::read(body, &listed, reading)?;
    fields.app(app_id, choices)?;
    let mut key = None;
    for (name, kind) in reading.keys {
        let text = fields.blankable(name, 64)?.filter(|text| !text.is_empty());
        key = key.or(text.map(kind));
    }
    key.ok_or_else(|| match reading.keys {
        [(name, _)] => Refusal::with((reading.rule_number)(10_000), format!("{name} is required")),
        _ => Refusal::new(KEY_NEEDED),
    })
}

/// An object of an answer. Its amounts are written as the choices say.
pub(super) struct Item {
    fields: Map<String, Value>,
    amounts: AmountForm,
}

impl Item {
    pub(super) fn new(choices: &Choices) -> Self {
        Self { fields: Map::new(), amounts: choices.amounts }
    }

    pub(super) fn put(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    pub(super) fn put_amount(&mut self, name: &str, amount: i64) {
        let value = match self.amounts {
            AmountForm::Number => json!(amount),
            AmountForm::Text => json!(amount.to_string()),
        };
        self.put(name, value);
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.fields)
    }
}

/// The array of the systems that answer one. `more` adds what is a system's own, and names the
/// field of the time at which a settle ended.
pub(super) fn items(
    settles: &[&AppliedSettle],
    choices: &Choices,
    more: fn(&AppliedSettle, &mut Item) -> &'static str,
) -> Value {
    settles.iter().map(|settle| item(settle, choices, more)).collect()
}

fn item(
    settle: &AppliedSettle,
    choices: &Choices,
    more: fn(&AppliedSettle, &mut Item) -> &'static str,
) -> Value {
    let mut item = Item::new(choices);
    item.put("settle_id", json!(settle.settle_id));
    item.put("order_id", json!(settle.order_id));
    item.put("item_order_id", json!(settle.item_order_id.as_deref().unwrap_or_default()));
    item.put("settle_status", json!(settle.status.word()));
    item.put_amount("settle_amount", settle.amount_fen);
    item.put_amount("rake", rake_fen(settle.amount_fen));
    item.put_amount("commission", settle.commission_fen);
    item.put("settle_detail", json!(detail(settle, settle.status, choices.detail_separator)));
    item.put("cp_extra", json!(settle.cp_extra));
    let mut own = Item::new(choices);
    let ended_at = more(settle, &mut own);
    // Absent until finished (an inference of §2). In milliseconds.
    if let Some(at_ms) = settle.finished_at_ms {
        item.put_amount(ended_at, i64::try_from(at_ms).unwrap_or(i64::MAX));
    }
    match choices.query_names {
        QueryNames::New => {
            item.put("out_settle_no", json!(settle.out_settle_no));
            item.put("out_order_no", json!(settle.out_order_no));
            item.fields.append(&mut own.fields);
        }
        QueryNames::Of2023 => {
            item.put("out_settle_id", json!(settle.out_settle_no));
            item.put("out_order_id", json!(settle.out_order_no));
        }
    }
    item.into_value()
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
