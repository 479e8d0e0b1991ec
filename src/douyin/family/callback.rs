//! How a callback describes a settle (通知分账结果, 3.2).

use crate::douyin::facts::{facts, settle_id, status};
use crate::douyin::wire::values::{Fields, parsed, shown, text};
use crate::douyin::wire::{Unreadable, lenient};
use crate::settle::{OutSettleNo, Report};

/// The state is `status` here and `settle_status` in queries. A callback does not name the order,
/// so it shows less than a query.
pub(in crate::douyin) fn report(fields: &Fields) -> Result<Report, Unreadable> {
    let settle_id = settle_id(fields, "settle_id")?;
    let word = text(fields, &["status", "settle_status"])?.ok_or(Unreadable("status"))?;
    let out_settle_no = text(fields, &["out_settle_no", "out_settle_id"])?;
    let item = shown(fields, "item_order_id")?;
    let mut facts = facts(fields, word.clone(), item.clone())?;
    // The time of the event. It is taken for the time of the settlement, which is a guess: it is
    // the only time in the message.
    facts.settle_time = facts.settle_time.or_else(|| lenient::time(fields, "event_time"));
    Ok(Report {
        settle_id,
        status: status(&word),
        // For automatic settlement this is Douyin's own number, which may be longer than a
        // caller's.
        out_settle_no: parsed(out_settle_no, OutSettleNo::reported, "out_settle_no")?,
        facts,
        item,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Timestamp;
    use crate::settle::{Fen, ReportedStatus};

    fn read(msg: &Value) -> Result<Report, Unreadable> {
        report(msg.as_object().unwrap())
    }

    fn shortest() -> Value {
        json!({ "status": "SUCCESS", "settle_id": "ots1" })
    }

    /// The report in the message made with openssl.
    #[test]
    fn the_documented_message_is_read_whole() {
        let body = include_bytes!("../../../tests/vectors/callback/body.json");
        let body: Value = serde_json::from_slice(body).unwrap();
        let msg = serde_json::from_str(body["msg"].as_str().unwrap()).unwrap();
        let report = read(&msg).unwrap();
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
    fn both_spellings_numbers_and_texts_are_read() {
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
        assert_eq!(read(&new).unwrap(), read(&old).unwrap());
        let bare = read(&shortest()).unwrap();
        assert_eq!((bare.out_settle_no, bare.item), (None, None));
        let empty = json!({ "status": "SUCCESS", "settle_id": "ots1", "out_settle_no": "",
            "settle_amount": "", "event_time": 0, "item_order_id": "" });
        let empty = read(&empty).unwrap();
        assert_eq!((empty.out_settle_no, empty.item.as_deref()), (None, Some("")));
        assert_eq!(empty.facts.settle_time, None);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let with = |name: &str, value: Value| {
            let mut msg = shortest();
            msg[name] = value;
            msg
        };
        let cases = [
            json!({ "status": "SUCCESS" }),
            json!({ "settle_id": "ots1" }),
            with("settle_id", json!("x".repeat(129))),
            with("out_settle_no", json!(["no-1"])),
            with("out_settle_no", json!("no-\u{fdd0}")),
            with("status", json!("SUCC\u{fdd0}")),
            with("settle_status", json!("FAIL")),
            with("cp_extra", json!([])),
        ];
        for case in cases {
            assert!(read(&case).is_err(), "{case}");
        }
    }
}
