//! What is sent, byte by byte, and how answers are read.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::douyin::wire::{read, token};
use crate::settle::content::tests::content;
use crate::settle::{
    Fen, ItemOrderId, NotifyUrl, OrderId, OutOrderNo, OutSettleNo, ReportedStatus, TradeSystem,
};

const GENERAL: Spelling = Spelling { app_id: true, passed_through: PassedThrough::Ext };
const SIBLING: Spelling = Spelling { app_id: false, passed_through: PassedThrough::CpExtra };

fn key() -> Key {
    Key {
        app_id: AppId::parse("tt1").unwrap(),
        trade_system: TradeSystem::General,
        out_settle_no: OutSettleNo::parse("no-1").unwrap(),
    }
}

/// Any other word is possible and is none of these, INIT in lower case too.
#[test]
fn four_words_are_known_to_say_where_a_settle_is() {
    use ReportedStatus::{Fail, Init, Processing, Success, Unlisted};
    let words = [
        ("INIT", Init),
        ("PROCESSING", Processing),
        ("SUCCESS", Success),
        ("FAIL", Fail),
        ("FAILED", Unlisted),
        ("init", Unlisted),
    ];
    for (word, status) in words {
        let found = reports(&json!([{ "settle_id": "ots1", "settle_status": word }])).unwrap();
        assert_eq!(found.first().map(|report| report.status), Some(status), "{word}");
    }
}

#[test]
fn a_create_leaves_out_what_is_unset_and_sends_the_receivers_as_a_string() {
    let mut content = content();
    assert_eq!(
        create_body(&GENERAL, &key(), &content, None, None),
        r#"{"app_id":"tt1","out_order_no":"order-1","out_settle_no":"no-1","#.to_owned()
            + r#""settle_desc":"store share","settle_params":"[{\"merchant_uid\":\"7001\","#
            + r#"\"amount\":120},{\"merchant_uid\":\"7002\",\"amount\":30}]"}"#
    );
    content.settle_params.clear();
    assert_eq!(
        create_body(&GENERAL, &key(), &content, None, None),
        r#"{"app_id":"tt1","out_order_no":"order-1","out_settle_no":"no-1","#.to_owned()
            + r#""settle_desc":"store share"}"#
    );
}

#[test]
fn a_create_with_everything_sends_everything() {
    let mut content = content();
    content.item_order_id = Some(ItemOrderId::parse("motb1").unwrap());
    content.settle_params.truncate(1);
    let ours = NotifyUrl::parse("https://a.example/").unwrap();
    let body = create_body(&GENERAL, &key(), &content, Some("sg1:x\"y"), Some(&ours));
    let body: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({
        "app_id": "tt1", "out_order_no": "order-1", "out_settle_no": "no-1",
        "item_order_id": "motb1", "settle_desc": "store share", "ext": "sg1:x\"y",
        "settle_params": r#"[{"merchant_uid":"7001","amount":120}]"#,
        "notify_url": "https://a.example/",
    });
    assert_eq!(body, expected);
    content.notify_url = Some(NotifyUrl::parse("https://own.example/").unwrap());
    let body = create_body(&GENERAL, &key(), &content, None, Some(&ours));
    assert!(body.ends_with(r#","notify_url":"https://own.example/"}"#), "{body}");
}

#[test]
fn a_sibling_gets_cp_extra_and_no_app() {
    let mut content = content();
    content.settle_params.clear();
    assert_eq!(
        create_body(&SIBLING, &key(), &content, Some("sg1:x"), None),
        r#"{"out_order_no":"order-1","out_settle_no":"no-1","#.to_owned()
            + r#""settle_desc":"store share","cp_extra":"sg1:x"}"#
    );
    let number = OutSettleNo::parse("no-1").unwrap();
    let query = query_body(&SIBLING, &key().app_id, QueryBy::OutSettleNo(&number));
    assert_eq!(query, r#"{"out_settle_no":"no-1"}"#);
}

/// The arithmetic that the contract tells callers: 2 bytes, and per receiver 29, its id and its
/// digits, with a comma between two.
#[test]
fn the_receivers_have_the_documented_length() {
    let params = content().settle_params;
    assert_eq!(settle_params_text(&params).len(), 2 + (29 + 4 + 3) + 1 + (29 + 4 + 2));
    assert_eq!(settle_params_text(&[]), "[]");
}

#[test]
fn a_query_sends_exactly_one_key() {
    let app_id = AppId::parse("tt1").unwrap();
    let settle_id = SettleId::parse("ots1").unwrap();
    let order_id = OrderId::parse("mot1").unwrap();
    let out_order_no = OutOrderNo::parse("order-1").unwrap();
    let out_settle_no = OutSettleNo::parse("no-1").unwrap();
    let cases = [
        (QueryBy::SettleId(&settle_id), "settle_id", "ots1"),
        (QueryBy::OrderId(&order_id), "order_id", "mot1"),
        (QueryBy::OutOrderNo(&out_order_no), "out_order_no", "order-1"),
        (QueryBy::OutSettleNo(&out_settle_no), "out_settle_no", "no-1"),
    ];
    for (by, name, value) in cases {
        let body: Value = serde_json::from_str(&query_body(&GENERAL, &app_id, by)).unwrap();
        assert_eq!(body, json!({ "app_id": "tt1", name: value }));
    }
}

#[test]
fn an_acceptance_names_its_ids_as_strings_or_numbers() {
    let ids = |data: Value| accepted_ids(&data);
    let both = ids(json!({ "settle_id": "ots1", "wallet_settle_id": 7273456075280828716_u64 }));
    let both = both.unwrap();
    assert_eq!(both.settle_id.as_str(), "ots1");
    assert_eq!(both.wallet_settle_id.unwrap().as_str(), "7273456075280828716");
    let one = ids(json!({ "settle_id": 17, "wallet_settle_id": null })).unwrap();
    assert_eq!((one.settle_id.as_str(), one.wallet_settle_id), ("17", None));
    let odd = ids(json!({ "settle_id": "ots1", "wallet_settle_id": { "no": 1 } })).unwrap();
    assert_eq!(odd.wallet_settle_id, None, "worth less than the acceptance");
    for nameless in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "settle_id": "" }),
        json!({ "settle_id": null }),
        json!({ "settle_id": true }),
        json!({ "settle_id": 0 }),
        json!({ "settle_id": "0" }),
        json!({ "settle_id": "ots\u{fdd0}" }),
        json!({ "settle_id": 1.5e300 }),
        json!({ "settle_id": "x".repeat(129) }),
    ] {
        assert_eq!(ids(nameless.clone()), None, "{nameless}");
    }
}

fn full_item() -> Value {
    json!({
        "settle_id": "ots1", "wallet_settle_id": "727", "out_settle_no": "no-1",
        "order_id": "mot1", "out_order_no": "order-1", "item_order_id": "motb1",
        "settle_status": "SUCCESS", "settle_amount": 20, "settle_detail": "detail", "rake": 0,
        "commission": 16, "platform_ticket": 4, "settle_at": 1693540334000_i64,
        "cp_extra": "sg1:x", "a_new_field": { "of": ["any", "kind"] },
    })
}

#[test]
fn a_found_settle_becomes_a_report() {
    let report = reports(&json!([full_item()])).unwrap().remove(0);
    assert_eq!(report.settle_id.as_str(), "ots1");
    assert_eq!(report.status, ReportedStatus::Success);
    assert_eq!(report.out_settle_no.unwrap().as_str(), "no-1");
    assert_eq!(report.item.as_deref(), Some("motb1"));
    let facts = report.facts;
    assert_eq!(facts.wallet_settle_id.unwrap().as_str(), "727");
    assert_eq!(facts.order_id.unwrap().as_str(), "mot1");
    assert_eq!(facts.out_order_no.unwrap().as_str(), "order-1");
    assert_eq!(facts.item_order_id.unwrap().as_str(), "motb1");
    assert_eq!(facts.cp_extra.as_deref(), Some("sg1:x"));
    assert_eq!(facts.settle_status.as_deref(), Some("SUCCESS"));
    assert_eq!(facts.settle_amount, Some(Fen::new(20)));
    assert_eq!((facts.rake, facts.commission), (Some(Fen::new(0)), Some(Fen::new(16))));
    assert_eq!(facts.platform_ticket, Some(Fen::new(4)));
    assert_eq!(facts.settle_detail.as_deref(), Some("detail"));
    assert_eq!(facts.settle_time, Some(Timestamp::from_ms(1_693_540_334_000)));
    assert_eq!((facts.message, facts.auto_settle), (None, None));
}

#[test]
fn whether_it_was_automatic_is_read_in_each_spelling() {
    let [yes, no] = [Some(true), Some(false)];
    for (value, read) in [
        (json!(true), yes),
        (json!("true"), yes),
        (json!("1"), yes),
        (json!(1), yes),
        (json!(false), no),
        (json!("false"), no),
        (json!("0"), no),
        (json!(0), no),
        (json!(""), None),
        (json!(null), None),
    ] {
        let mut item = full_item();
        item["is_auto_settle"] = value.clone();
        let reports = reports(&json!([item])).unwrap();
        assert_eq!(reports[0].facts.auto_settle, read, "{value}");
    }
}

#[test]
fn spellings_types_and_shapes_do_not_matter() {
    let full = reports(&json!([full_item()])).unwrap();
    assert_eq!(reports(&full_item()).unwrap(), full, "a single object is a list of one");
    let mut old = full_item();
    let fields = old.as_object_mut().unwrap();
    for (new, old) in [
        ("out_settle_no", "out_settle_id"),
        ("out_order_no", "out_order_id"),
        ("settle_at", "settle_time"),
    ] {
        let value = fields.remove(new).unwrap();
        fields.insert(old.to_owned(), value);
    }
    for name in ["settle_amount", "rake", "commission", "platform_ticket", "settle_time"] {
        let text = fields[name].to_string();
        fields.insert(name.to_owned(), json!(text));
    }
    fields.insert("wallet_settle_id".to_owned(), json!(727));
    assert_eq!(reports(&json!([old])).unwrap(), full);
}

#[test]
fn what_is_not_said_is_unset() {
    let bare = json!({ "settle_id": "ots1", "settle_status": "INIT" });
    let bare = reports(&bare).unwrap().remove(0);
    assert_eq!((bare.status, bare.item, bare.out_settle_no), (ReportedStatus::Init, None, None));
    let empty = json!({
        "settle_id": "ots1", "settle_status": "PAUSED", "wallet_settle_id": "",
        "out_settle_no": null, "order_id": "", "out_order_no": "", "item_order_id": "",
        "settle_amount": "", "rake": null, "settle_detail": "", "settle_at": 0, "cp_extra": "",
    });
    let empty = reports(&empty).unwrap().remove(0);
    assert_eq!(empty.status, ReportedStatus::Unlisted);
    assert_eq!(empty.item.as_deref(), Some(""), "Douyin says that there is no item");
    let expected = crate::settle::Facts {
        settle_status: Some("PAUSED".to_owned()),
        cp_extra: Some(String::new()),
        ..Default::default()
    };
    assert_eq!(empty.facts, expected);
}

/// As in callbacks. Else a settle that came by callback could never be queried.
#[test]
fn a_number_of_douyins_own_may_be_longer_than_a_callers() {
    let mut item = full_item();
    item["out_settle_no"] = json!("n".repeat(128));
    let report = reports(&item).unwrap().remove(0);
    assert_eq!(report.out_settle_no.unwrap().as_str().len(), 128);
}

#[test]
fn one_malformed_item_makes_the_answer_unreadable() {
    let wrong = [
        ("settle_id", json!(null)),
        ("settle_id", json!("x".repeat(129))),
        ("settle_id", json!(7.2e30)),
        ("settle_status", json!("")),
        ("out_settle_no", json!("n".repeat(129))),
        ("out_settle_no", json!(["no-1"])),
        ("settle_id", json!("0")),
        ("settle_status", json!("SUCCESS\u{fdd0}")),
        ("out_order_no", json!(true)),
        ("out_order_id", json!("another order")),
        ("item_order_id", json!(1.5)),
        ("cp_extra", json!({})),
    ];
    for (name, value) in wrong {
        let mut item = full_item();
        item[name] = value.clone();
        let data = json!([full_item(), item]);
        assert!(reports(&data).is_err(), "{name}: {value}");
    }
    assert!(reports(&json!([full_item(), 7])).is_err());
}

#[test]
fn only_an_empty_array_says_that_there_is_nothing() {
    assert_eq!(reports(&json!([])).unwrap(), []);
    for broken in [json!(null), json!(""), json!("[]"), json!(0), json!(false), json!({})] {
        assert!(reports(&broken).is_err(), "{broken}");
    }
}

/// Reads an answer as the client does.
fn read_all(content: &[u8]) {
    if let Ok(answer) = read(content) {
        let _ = (
            answer.row(Some(TradeSystem::General)),
            accepted_ids(&answer.data),
            reports(&answer.data),
        );
        let _ = (token(&answer.data).is_ok(), answer.error(200, None, &"e".into()));
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-5..5_i64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9.+-]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let name = prop::sample::select(vec![
            "err_no",
            "err_msg",
            "err_tips",
            "log_id",
            "data",
            "extra",
            "error_code",
            "logid",
            "sub_error_code",
            "description",
            "error",
            "message",
            "settle_id",
            "settle_status",
            "out_settle_no",
            "item_order_id",
            "settle_amount",
            "settle_at",
            "cp_extra",
            "access_token",
            "expires_in",
            "is_auto_settle",
            "wallet_settle_id",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.prop_map(str::to_owned), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(content in prop::collection::vec(any::<u8>(), 0..512)) {
        read_all(&content);
    }

    #[test]
    fn any_json_is_read_without_a_panic(value in any_json()) {
        read_all(value.to_string().as_bytes());
    }

    #[test]
    fn any_amount_survives_as_number_and_as_string(fen in any::<i64>()) {
        for amount in [json!(fen), json!(fen.to_string())] {
            let mut item = full_item();
            item["settle_amount"] = amount;
            let report = reports(&item).unwrap().remove(0);
            prop_assert_eq!(report.facts.settle_amount, Some(Fen::new(fen)));
        }
    }
}
