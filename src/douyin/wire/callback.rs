//! The body of a callback (通知分账结果, 3.1 and 3.2): an envelope whose `msg` is JSON in a string.
//!
//! Read only after its signature was verified. A message whose settle or status cannot be
//! understood is refused, so that Douyin delivers it again and an operator notices; whatever else
//! does not fit is left out, and the message counts without it.

use serde_json::Value;

use super::items::{facts, parsed, settle_id, status};
use super::values::{Fields, shown, text};
use super::{Unreadable, json, lenient};
use crate::settle::{AppId, OutSettleNo, Report, TradeSystem};

/// What a callback says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    Settle(Box<SettleMessage>),
    /// Douyin announces other things at the same address: payments, refunds, withdrawals.
    Other {
        kind: String,
    },
}

/// A message of the type `settle`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettleMessage {
    /// `None`: the message names none.
    pub app_id: Option<AppId>,
    pub trade_system: TradeSystem,
    pub report: Report,
}

/// What is kept of a type that is not ours; Douyin's are short words.
const KIND_BYTES_MAX: usize = 64;

pub(in crate::douyin) fn message(body: &[u8]) -> Result<Message, Unreadable> {
    let envelope = object(body, "the body is not a JSON object")?;
    let kind = text(&envelope, &["type"])?.ok_or(Unreadable("type is missing"))?;
    if kind != "settle" {
        let kind = kind.chars().filter(|c| !c.is_control()).take(KIND_BYTES_MAX / 4).collect();
        return Ok(Message::Other { kind });
    }
    let version = lenient::text(&envelope, "version").ok_or(Unreadable("version is missing"))?;
    let trade_system = trade_system(&version)?;
    let fields = match envelope.get("msg") {
        Some(Value::String(msg)) => object(msg.as_bytes(), "msg is not a JSON object")?,
        // No page shows it so; what it means is clear all the same.
        Some(Value::Object(fields)) => fields.clone(),
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            return Err(Unreadable("msg is missing or not a text"));
        }
    };
    let app_id = parsed(text(&fields, &["app_id"])?, AppId::parse, "app_id")?;
    let report = report(&fields)?;
    Ok(Message::Settle(Box::new(SettleMessage { app_id, trade_system, report })))
}

/// 3.0 is the general trading system's. 2.0 is its siblings' on the pages and has the same form;
/// it is taken for the general one's too, because none of the siblings is served (a guess: the
/// settle notification's own page was not readable). Without a version it is guaranteed payment's,
/// which is signed and spelled differently.
fn trade_system(version: &str) -> Result<TradeSystem, Unreadable> {
    match version {
        "3.0" | "3" | "2.0" | "2" => Ok(TradeSystem::General),
        _ => Err(Unreadable("version is neither 3.0 nor 2.0")),
    }
}

/// The state is `status` here and `settle_status` in queries. The order is not named: a callback
/// shows less than a query.
fn report(fields: &Fields) -> Result<Report, Unreadable> {
    let settle_id = settle_id(fields)?;
    let word = text(fields, &["status", "settle_status"])?.ok_or(Unreadable("status"))?;
    let out_settle_no = text(fields, &["out_settle_no", "out_settle_id"])?;
    let item = shown(fields, "item_order_id")?;
    let mut facts = facts(fields, word.clone(), item.clone())?;
    // When the event was. Taken for the time of the settlement, which is a guess: it is the only
    // time in the message.
    facts.settle_time = facts.settle_time.or_else(|| lenient::time(fields, "event_time"));
    Ok(Report {
        settle_id,
        status: status(&word),
        // Of automatic settlement it is Douyin's own, which may be longer than a developer's.
        out_settle_no: parsed(out_settle_no, OutSettleNo::reported, "out_settle_no")?,
        facts,
        item,
    })
}

fn object(bytes: &[u8], wrong: &'static str) -> Result<Fields, Unreadable> {
    // Bounded in depth by the parser, in size by the listener.
    match json::parse(bytes) {
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) | None => Err(Unreadable(wrong)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::settle::{Fen, ReportedStatus};

    const BODY: &[u8] = include_bytes!("../../../tests/vectors/callback/body.json");

    fn settle(body: &[u8]) -> SettleMessage {
        match message(body) {
            Ok(Message::Settle(settle)) => *settle,
            other => panic!("{other:?}"),
        }
    }

    fn body(version: Value, msg: Value) -> Vec<u8> {
        let msg = msg.to_string();
        serde_json::to_vec(&json!({ "version": version, "msg": msg, "type": "settle" })).unwrap()
    }

    fn shortest() -> Value {
        json!({ "status": "SUCCESS", "settle_id": "ots1" })
    }

    #[test]
    fn the_documented_message_is_read_whole() {
        let SettleMessage { app_id, trade_system, report } = settle(BODY);
        assert_eq!(trade_system, TradeSystem::General);
        assert_eq!(app_id.unwrap().as_str(), "ttcfdbb96650e33350");
        assert_eq!(report.settle_id.as_str(), "ots72735132864850025400652");
        assert_eq!(report.status, ReportedStatus::Success);
        assert_eq!(report.out_settle_no.unwrap().as_str(), "out_settle_example_1");
        assert_eq!(report.item, None);
        let facts = report.facts;
        assert_eq!(facts.order_id.unwrap().as_str(), "motb72736435031531871160652");
        assert_eq!(facts.out_order_no, None);
        assert_eq!(facts.cp_extra.as_deref(), Some(""));
        assert_eq!(facts.settle_status.as_deref(), Some("SUCCESS"));
        assert_eq!(facts.settle_amount, Some(Fen::new(20)));
        assert_eq!(facts.rake, Some(Fen::new(0)));
        assert_eq!(facts.commission, Some(Fen::new(16)));
        let detail = "商户号72789245768543296350-分成金额(分)4";
        assert_eq!(facts.settle_detail.as_deref(), Some(detail));
        assert_eq!(facts.message.as_deref(), Some("SUCCESS"));
        assert_eq!(facts.settle_time, Some(Timestamp::from_ms(1_693_540_334_000)));
        assert_eq!(facts.auto_settle, Some(false));
    }

    #[test]
    fn both_versions_both_spellings_numbers_and_texts_are_read() {
        let new = json!({
            "app_id": "tt1", "status": "FAIL", "settle_id": "ots1", "out_settle_no": "no-1",
            "settle_amount": 20, "rake": 1, "event_time": 1_693_540_334_000_i64,
            "is_auto_settle": true,
        });
        let old = json!({
            "app_id": "tt1", "settle_status": "FAIL", "settle_id": "ots1", "out_settle_id": "no-1",
            "settle_amount": "20", "rake": "1", "event_time": "1693540334000",
            "is_auto_settle": "true",
        });
        assert_eq!(settle(&body(json!("3.0"), new)), settle(&body(json!("2.0"), old)));
        let bare = settle(&body(json!("3.0"), shortest()));
        assert_eq!((bare.app_id, bare.report.out_settle_no, bare.report.item), (None, None, None));
        let empty = json!({ "status": "SUCCESS", "settle_id": "ots1", "out_settle_no": "",
            "app_id": null, "settle_amount": "", "event_time": 0, "item_order_id": "" });
        let empty = settle(&body(json!("3.0"), empty)).report;
        assert_eq!((empty.out_settle_no, empty.item.as_deref()), (None, Some("")));
        assert_eq!(empty.facts.settle_time, None);
    }

    #[test]
    fn a_message_of_another_type_is_only_named() {
        for kind in ["payment", "refund", "settle_finish", "a\nb"] {
            let body = json!({ "type": kind, "msg": "no JSON at all", "version": "9.9" });
            let read = message(&serde_json::to_vec(&body).unwrap());
            assert_eq!(read, Ok(Message::Other { kind: kind.replace('\n', "") }));
        }
    }

    /// It is logged, and whoever sends it chooses it.
    #[test]
    fn of_the_name_of_another_type_only_the_beginning_is_kept() {
        for letter in ["x", "分", "\u{1f4b0}"] {
            let body = json!({ "type": letter.repeat(99) }).to_string();
            let kept = message(body.as_bytes());
            assert_eq!(kept, Ok(Message::Other { kind: letter.repeat(16) }));
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let with = |name: &str, value: Value| {
            let mut msg = shortest();
            msg[name] = value;
            body(json!("3.0"), msg)
        };
        let cases = [
            b"".to_vec(),
            b"no JSON".to_vec(),
            b"[]".to_vec(),
            b"{}".to_vec(),
            br#"{"type":"settle"}"#.to_vec(),
            br#"{"type":"settle","version":"3.0"}"#.to_vec(),
            br#"{"type":"settle","version":"3.0","msg":"[]"}"#.to_vec(),
            br#"{"type":"settle","version":"3.0","msg":7}"#.to_vec(),
            body(json!("4.0"), shortest()),
            body(json!(null), shortest()),
            body(json!("3.0"), json!({ "status": "SUCCESS" })),
            body(json!("3.0"), json!({ "settle_id": "ots1" })),
            with("settle_id", json!("x".repeat(129))),
            with("app_id", json!({})),
            with("out_settle_no", json!(["no-1"])),
            with("out_settle_no", json!("no-\u{fdd0}")),
            with("status", json!("SUCC\u{fdd0}")),
            with("settle_status", json!("FAIL")),
            with("cp_extra", json!([])),
            format!("{}1{}", "[".repeat(500), "]".repeat(500)).into_bytes(),
        ];
        for case in cases {
            let read = message(&case);
            assert!(read.is_err(), "{}: {read:?}", String::from_utf8_lossy(&case));
        }
    }
}
