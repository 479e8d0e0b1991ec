//! Odd values in the fields that decide nothing. Whatever they are, the deciding fields are read as
//! without them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::douyin::callback::{self, Heard};
use crate::douyin::wire::{Answer, read, token};
use crate::settle::{Facts, Fen, Report};

/// Of a settle, in a query and in a callback.
const OF_A_SETTLE: [&str; 12] = [
    "commission",
    "event_time",
    "is_auto_settle",
    "message",
    "order_id",
    "platform_ticket",
    "rake",
    "settle_amount",
    "settle_at",
    "settle_detail",
    "settle_time",
    "wallet_settle_id",
];
/// Of an envelope.
const OF_AN_ANSWER: [&str; 5] = ["err_msg", "err_tips", "log_id", "logid", "message"];

fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9.eE+-]{0,24}".prop_map(Value::from),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})?"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Values for some fields. If a name comes twice, the last value counts.
fn odd_fields(names: &'static [&'static str]) -> impl Strategy<Value = Vec<(String, Value)>> {
    let name = prop::sample::select(names).prop_map(str::to_owned);
    prop::collection::vec((name, odd()), 0..8)
}

fn with(mut object: Value, odd: &[(String, Value)]) -> Value {
    for (name, value) in odd {
        object[name] = value.clone();
    }
    object
}

/// A body whose texts are damaged as a proxy or a cut would damage them.
fn broken(body: &Value, mark: bool) -> Vec<u8> {
    let mut bytes = if mark { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
    let text = body.to_string();
    for (at, part) in text.split("BREAK").enumerate() {
        if at > 0 {
            bytes.extend_from_slice([&b"\\ud83d"[..], b"\xe5\x88", b"\x07"][at % 3]);
        }
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// The deciding fields of a report.
fn deciding(report: &Report) -> Report {
    let facts = Facts {
        out_order_no: report.facts.out_order_no.clone(),
        item_order_id: report.facts.item_order_id.clone(),
        cp_extra: report.facts.cp_extra.clone(),
        settle_status: report.facts.settle_status.clone(),
        ..Facts::default()
    };
    Report { facts, ..report.clone() }
}

fn settle(status: &str) -> Value {
    json!({
        "settle_id": "ots1", status: "SUCCESS", "out_settle_no": "no-1", "out_order_no": "order-1",
        "item_order_id": "motb1", "cp_extra": "sg1:x",
    })
}

fn heard(body: &[u8]) -> Report {
    match callback::read(None, &[], body).unwrap() {
        Heard::Settles { mut reports, .. } => reports.remove(0),
        other @ Heard::Other { .. } => panic!("{other:?}"),
    }
}

fn around(msg: &Value) -> Value {
    json!({ "type": "settle", "version": "3.0", "msg": msg.to_string() })
}

proptest! {
    #[test]
    fn a_found_settle_is_judged_as_without_its_odd_fields(odd in odd_fields(&OF_A_SETTLE)) {
        let plain = reports(&settle("settle_status")).unwrap();
        let found = reports(&json!([with(settle("settle_status"), &odd)]));
        let found = found.map(|found| found.iter().map(deciding).collect::<Vec<_>>());
        prop_assert_eq!(found, Ok(plain));
    }

    #[test]
    fn a_callback_is_heard_as_without_its_odd_fields(
        odd in odd_fields(&OF_A_SETTLE),
        beside in odd_fields(&["event_time", "nonce", "extra"]),
    ) {
        let plain = heard(around(&settle("status")).to_string().as_bytes());
        let body = with(around(&with(settle("status"), &odd)), &beside);
        prop_assert_eq!(deciding(&heard(body.to_string().as_bytes())), plain);
    }

    /// Damaged texts and a byte order mark included.
    #[test]
    fn an_answer_decides_as_without_its_odd_fields(
        odd in odd_fields(&OF_AN_ANSWER),
        extra in odd_fields(&["description", "sub_description", "logid", "now"]),
        wallet in odd(),
        mark in any::<bool>(),
        err_no in prop::sample::select(vec![0, 23102, 23111, 23000, 99_999]),
    ) {
        let data = if err_no == 0 { json!({ "settle_id": "ots1" }) } else { json!({}) };
        let plain = json!({ "err_no": err_no, "data": data });
        let plain = read(plain.to_string().as_bytes()).unwrap();
        let mut body = with(json!({ "err_no": err_no, "data": data }), &odd);
        body["extra"] = with(json!({}), &extra);
        body["note"] = json!("xBREAKyBREAKzBREAK");
        if err_no == 0 {
            body["data"]["wallet_settle_id"] = wallet;
        }
        let answer = read(&broken(&body, mark)).unwrap();
        prop_assert_eq!((answer.err_no, answer.sub_err_no), (plain.err_no, plain.sub_err_no));
        let id = |answer: &Answer| accepted_ids(&answer.data).map(|ids| ids.settle_id);
        prop_assert_eq!(id(&answer), id(&plain));
    }

    #[test]
    fn a_token_is_taken_whatever_its_life(expires_in in odd(), description in odd()) {
        let data = json!({
            "access_token": "clt.1", "expires_in": expires_in, "description": description,
        });
        let (token, life) = token(&data).unwrap();
        prop_assert_eq!(secrecy::ExposeSecret::expose_secret(&token), "clt.1");
        prop_assert!((60..=30 * 86_400).contains(&life.as_secs()));
    }

    /// It is never read as another amount than Douyin wrote.
    #[test]
    fn an_amount_is_taken_whole_or_not_at_all(
        fen in any::<i64>(), fraction in "[0-9]{1,6}", float in any::<f64>(),
    ) {
        let amount = |value: Value| {
            let found = reports(&with(settle("settle_status"), &[("rake".to_owned(), value)]));
            found.unwrap().remove(0).facts.rake.map(Fen::get)
        };
        prop_assert_eq!(amount(json!(fen)), Some(fen));
        prop_assert_eq!(amount(json!(format!(" {fen}.00 "))), Some(fen));
        let is_whole = fraction.bytes().all(|digit| digit == b'0');
        let written = amount(json!(format!("{fen}.{fraction}")));
        prop_assert_eq!(written, is_whole.then_some(fen));
        let near = i32::try_from(fen % 1_000_000).unwrap();
        prop_assert_eq!(amount(json!(f64::from(near))), Some(i64::from(near)));
        if let Some(taken) = amount(json!(float)) {
            let written = format!("{float:?}");
            let written = if float == 0.0 { "0.0" } else { &written };
            prop_assert_eq!(written, format!("{taken}.0"));
        }
    }

    /// No moment is read that a protobuf Timestamp cannot express.
    #[test]
    fn a_moment_lies_within_the_calendar(value in odd()) {
        let found = reports(&with(settle("settle_status"), &[("settle_at".to_owned(), value)]));
        if let Some(time) = found.unwrap().remove(0).facts.settle_time {
            prop_assert!((1_000_000_000_000..=253_402_300_799_999).contains(&time.as_ms()));
        }
    }
}

/// The forms that were seen or are documented.
#[test]
fn every_form_that_carries_a_value_is_taken() {
    let facts = |name: &str, value: Value| {
        reports(&with(settle("settle_status"), &[(name.to_owned(), value)]))
            .unwrap()
            .remove(0)
            .facts
    };
    for value in [json!(6), json!(6.0), json!("6"), json!(" 6 "), json!("6.0"), json!("6.00")] {
        assert_eq!(facts("rake", value.clone()).rake, Some(Fen::new(6)), "{value}");
    }
    for value in [json!(6.5), json!("6.5"), json!("6 fen"), json!(1e20), json!([6]), json!(true)] {
        assert_eq!(facts("rake", value.clone()).rake, None, "{value}");
    }
    let moment = Some(Timestamp::from_ms(1_693_540_334_000));
    for value in [
        json!(1_693_540_334_000_i64),
        json!("1693540334000"),
        json!(1_693_540_334_000.0),
        json!(1_693_540_334),
        json!("1693540334"),
        json!("2023-09-01 11:52:14"),
        json!("2023-09-01T03:52:14Z"),
    ] {
        assert_eq!(facts("settle_at", value.clone()).settle_time, moment, "{value}");
    }
    for value in [json!(0), json!(-1), json!(9e18), json!(i64::MAX), json!("soon"), json!({})] {
        assert_eq!(facts("settle_at", value.clone()).settle_time, None, "{value}");
    }
    for (value, flag) in [
        (json!("TRUE"), Some(true)),
        (json!(1.0), Some(true)),
        (json!("0"), Some(false)),
        (json!("no"), None),
        (json!(2), None),
        (json!([]), None),
    ] {
        assert_eq!(facts("is_auto_settle", value.clone()).auto_settle, flag, "{value}");
    }
    assert_eq!(facts("settle_detail", json!(17)).settle_detail.as_deref(), Some("17"));
    assert_eq!(facts("settle_detail", json!(["a", "b"])).settle_detail, None);
    assert_eq!(facts("order_id", json!("x".repeat(200))).order_id, None);
}

/// Our own `ext`, cut by Douyin within a character, must not read as another system's text.
#[test]
fn a_damaged_cp_extra_proves_nothing() {
    let body = br#"{"err_no":0,"data":[{"settle_id":"ots1","settle_status":"SUCCESS",
        "out_order_no":"order-1","cp_extra":"store \ud83d"}]}"#;
    let report = reports(&read(body).unwrap().data).unwrap().remove(0);
    assert_eq!((report.facts.cp_extra, report.facts.out_order_no), (None, None));
}

#[test]
fn what_was_repaired_is_shown_so() {
    let answer = read(br#"{"err_no":23102,"err_msg":"x\ud83d"}"#).unwrap();
    assert_eq!(answer.error(400, None, &"".into()).err_msg, "x\u{fffd}");
}

#[test]
fn an_id_of_zero_or_none_contradicts_nothing() {
    for id in [json!(null), json!(""), json!(0), json!("0"), json!("000"), json!([]), json!({})] {
        let answer =
            read(json!({ "err_no": 23102, "data": { "settle_id": id } }).to_string().as_bytes())
                .unwrap();
        assert!(!answer.names_a_settle, "{id}");
    }
    for id in [json!("ots1"), json!(7), json!(7.5), json!(true), json!(["ots1"])] {
        for data in [json!({ "settle_id": id }), json!([{ "settle_id": id }])] {
            let answer = read(json!({ "err_no": 23102, "data": data }).to_string().as_bytes());
            assert!(answer.unwrap().names_a_settle, "{id}");
        }
    }
}
