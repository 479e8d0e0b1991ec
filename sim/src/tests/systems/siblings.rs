//! The self-operated and the industry system, where they differ from the general one.

use serde_json::json;

use super::{Developer, edited};
use crate::System;
use crate::tests::{START_MS, without};

const SIBLINGS: [System; 2] = [System::SelfOperated, System::Industry];

#[test]
fn the_create_of_a_self_operated_settle_is_answered_as_in_the_sample() {
    let said = Developer::new(System::SelfOperated).create("s1", "o1");
    let (data, extra) = (&said.body["data"], &said.body["extra"]);
    assert_eq!(said.body.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(data["inner_settle_id"].as_str().map(str::len), Some(19));
    assert_eq!((&extra["error_code"], &extra["description"]), (&json!(0), &json!("success")));
    let sub = (&extra["sub_error_code"], &extra["sub_description"]);
    assert_eq!(sub, (&json!(0), &json!("success")));
    assert_eq!(extra["now"], START_MS);
    assert!(extra["logid"].as_str().is_some_and(|id| id.len() >= 44));
}

#[test]
fn a_self_operated_refusal_has_a_sub_code_below_its_parent() {
    let said = Developer::new(System::SelfOperated).create("s1", "sim-err-23101-1");
    assert_eq!(said.body["extra"]["error_code"], 2_191_009);
    assert_eq!(said.body["extra"]["sub_error_code"], 23_101);
    assert_eq!(said.body["extra"]["sub_description"], "order does not exist");
}

#[test]
fn the_create_of_an_industry_settle_is_answered_flat() {
    let mut developer = Developer::new(System::Industry);
    let said = developer.create("s1", "o1");
    assert_eq!((&said.body["err_no"], &said.body["err_tips"]), (&json!(0), &json!("success")));
    let inner = said.body["data"]["inner_settle_id"].clone();
    assert_eq!(inner.as_str().map(str::len), Some(19));
    assert_eq!(developer.query("out_settle_no", "s1")[0]["inner_settle_id"], inner);
    let refused = developer.create("s2", "o1").body;
    assert_eq!(
        (&refused["err_no"], &refused["err_tips"]),
        (&json!(23_112), &json!("no money to settle"))
    );
}

#[test]
fn a_query_has_four_keys_and_the_time_as_settle_time() {
    for system in SIBLINGS {
        let mut developer = Developer::new(system);
        let settle_id = developer.create("s1", "o1").settle_id;
        let order_id = developer.settles()[0].order_id.clone();
        assert_eq!(developer.query("out_settle_no", "s1")[0].get("settle_time"), None);
        developer.wait();
        for (key, value) in [
            ("settle_id", settle_id.as_str()),
            ("order_id", &order_id),
            ("out_settle_no", "s1"),
            ("out_order_no", "o1"),
        ] {
            let found = developer.query(key, value);
            assert_eq!(found.len(), 1, "{key}");
            assert_eq!(found[0]["settle_time"], START_MS + 1_500);
            assert_eq!(found[0].get("settle_at"), None);
            assert_eq!(found[0].get("wallet_settle_id"), None);
        }
        // Unused keys may be empty, and the first by priority counts.
        let body = json!({
            "out_order_no": "", "out_settle_no": "s1", "order_id": "unknown", "settle_id": "",
        });
        let said = developer.ask(developer.query_path(), body);
        assert_eq!(said.body["data"], json!([]));
        let nothing = json!({ "settle_id": "" });
        assert_eq!(developer.ask(developer.query_path(), nothing).number, 23_002);
    }
}

#[test]
fn bad_fields_have_numbers_of_their_own() {
    let receivers = |text: &str| json!(text);
    for system in SIBLINGS {
        let mut developer = Developer::new(system);
        let good = developer.body("s1", "o1");
        let mut number = |body| developer.ask(developer.create_path(), body).number;
        for (name, missing) in
            [("out_order_no", 23_003), ("out_settle_no", 23_004), ("settle_desc", 23_005)]
        {
            assert_eq!(number(without(good.clone(), name)), missing, "{name}");
        }
        for (name, value, err_no) in [
            ("cp_extra", json!("x".repeat(2_049)), 23_006),
            ("settle_params", json!("x".repeat(513)), 23_007),
            ("settle_params", receivers(r#"[{"merchant_uid":"","amount":1}]"#), 23_008),
            ("settle_params", receivers(r#"[{"merchant_uid":"7","amount":0}]"#), 23_009),
            ("settle_desc", json!("x".repeat(513)), 23_010),
            ("settle_desc", json!(7), 2_100_004),
        ] {
            assert_eq!(number(edited(good.clone(), name, value)), err_no, "{name}");
        }
    }
}

#[test]
fn items_are_settled_one_by_one() {
    for system in SIBLINGS {
        let mut developer = Developer::new(system);
        let item = edited(developer.body("s1", "o1"), "item_order_id", json!("i1"));
        assert_eq!(developer.ask(developer.create_path(), item).number, 0);
        assert_eq!(developer.create("s2", "o1").number, 23_118);
        assert_eq!(developer.query("out_settle_no", "s1")[0]["item_order_id"], "i1");
    }
}
